"""The waterfall: stages of a layer that can be counted by hand, and losses that always add up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    SparseOptimizations,
)
from codesign.accelerator.waterfall import Waterfall, waterfall

M, K, N = range(3)
SKIP = SparseOptimizations(compute=(ComputeOptimization("mac", "skipping", on="outputs"),))
GATE = SparseOptimizations(compute=(ComputeOptimization("mac", "gating", on="outputs"),))


def layer(width: int = 4, bandwidth: float | None = None):
    """8 x 2 x 4: a row of PEs over the channels, two channels each in turn."""
    a = Dataspace("Weights", ((Term(M),), (Term(K),)))
    b = Dataspace("Inputs", ((Term(K),), (Term(N),)))
    z = Dataspace("Outputs", ((Term(M),), (Term(N),)), read_write=True)
    problem = Problem("layer", ("M", "K", "N"), (8, 2, 4), (a, b, z))

    def loops(**bounds):
        return tuple(Loop(d, bounds.get(name, 1), bounds.get(name, 1)) for d, name in enumerate("MKN"))

    storage = (
        Storage("pe", "regfile", mesh_x=width, word_bits=8),
        Storage("dram", "DRAM", word_bits=8, read_bandwidth=bandwidth),
    )
    keep = (True, True, True)
    mapping = Mapping(
        (
            LevelMapping(loops(K=2, N=4), (), (), keep),
            LevelMapping(loops(M=8 // width), loops(M=width), (), keep),
        )
    )
    architecture = Architecture("row", storage, Compute("mac", "intmac", mesh_x=width))
    mapping.check(architecture, problem)
    source = Provenance("made up for tests")
    actions = ("read", "write", "update", "leak")
    entries = [EnergyEntry(s.name, action, 1.0, source) for s in storage for action in actions]
    costs = {"compute": 2.0, "mac_gated": 0.0, "mac_skipped": 0.0}
    entries += [EnergyEntry("mac", action, cost, source) for action, cost in costs.items()]
    return architecture, problem, mapping, EnergyTable(tuple(entries))


def mask_of(rows) -> ActualData:
    """Whole channels."""
    mask = np.zeros((8, 4), bool)
    mask[list(rows)] = True
    return ActualData.of(mask, varies=False)


def run(sparse, *densities, **settings) -> Waterfall:
    architecture, problem, mapping, energy = layer(**settings)
    problem = dataclasses.replace(problem, densities=densities)
    found = waterfall(architecture, problem, mapping, energy, sparse)
    assert not isinstance(found, Infeasible)
    check_sums(found)
    return found


def check_sums(found: Waterfall) -> None:
    assert found.removable_macs - found.skipped_macs == sum(found.lost_macs.values())
    ideal = found.dense_cycles * (1 - found.skipped_macs / found.macs)
    assert found.cycles - ideal == pytest.approx(sum(found.lost_cycles.values()))
    ideal = found.dense_energy_pJ * (1 - found.removable_macs / found.macs)
    assert found.energy_pJ - ideal == pytest.approx(sum(found.lost_energy_pJ.values()))


def test_nothing_to_save():
    found = run(SKIP, DENSE, DENSE, mask_of(range(8)))
    assert set(found.stages.values()) == {0.0}
    assert not any(found.lost_macs.values())
    assert not any(found.lost_cycles.values())
    assert all(abs(loss) < 1e-9 for loss in found.lost_energy_pJ.values())


def test_half_of_the_channels_in_every_step():
    """Two of the four PEs idle in both steps: half of the MACs are skipped, no cycle is saved, and all is imbalance."""
    found = run(SKIP, DENSE, DENSE, mask_of([0, 1, 4, 5]))
    assert found.stages["theoretical MACs removed"] == found.stages["MACs skipped"] == 0.5
    assert found.dense_cycles == found.cycles == 16
    assert found.lost_cycles == {"imbalance": 8.0, "bandwidth": 0.0}
    assert found.not_modelled == ("predictor",)


def test_whole_steps_vanish():
    found = run(SKIP, DENSE, DENSE, mask_of([0, 1, 2, 3]))
    assert found.stages["cycles saved"] == 0.5
    assert found.lost_cycles == {"imbalance": 0.0, "bandwidth": 0.0}
    # Only computes were skipped: they cost what they should; all storage moves as in the dense run.
    assert found.lost_energy_pJ["computes"] == 0.0
    assert found.lost_energy_pJ["dense outputs"] > 0
    assert found.lost_energy_pJ["operands moved in vain"] > 0


def test_gating_saves_energy_and_no_time():
    found = run(GATE, DENSE, DENSE, mask_of([0, 1, 2, 3]))
    assert found.stages["MACs skipped"] == found.stages["cycles saved"] == 0.0
    assert found.lost_macs["gated"] == found.macs // 2
    assert found.stages["energy saved"] > 0


def test_saving_operands_and_outputs_leaves_less_behind():
    actions = tuple(
        ActionOptimization("skipping", (Option(target, ("Outputs",)),)) for target in ("Weights", "Inputs", "Outputs")
    )
    both = SparseOptimizations((LevelSparsity("pe", actions), LevelSparsity("dram", actions)), SKIP.compute)
    mask = mask_of([0, 1, 2, 3])
    some, more = run(SKIP, DENSE, DENSE, mask), run(both, DENSE, DENSE, mask)
    for name in ("dense outputs", "operands moved in vain"):
        assert more.lost_energy_pJ[name] < some.lost_energy_pJ[name]
    assert more.lost_energy_pJ["dense outputs"] == pytest.approx(0.0)


def test_a_slow_memory_takes_the_saving_away():
    found = run(SKIP, DENSE, DENSE, mask_of([0, 1, 2, 3]), bandwidth=1.0)
    fast = run(SKIP, DENSE, DENSE, mask_of([0, 1, 2, 3]))
    assert found.lost_cycles["bandwidth"] > 0
    assert found.stages["cycles saved"] < fast.stages["cycles saved"]


def test_with_densities_imbalance_is_not_known():
    found = run(SKIP, DENSE, DENSE, Hypergeometric(0.5))
    assert found.not_modelled == ("predictor", "imbalance")
    assert found.lost_cycles["imbalance"] == 0.0
