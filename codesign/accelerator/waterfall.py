"""What becomes of the work that zeros and masks make superfluous: from MACs to cycles and energy, losses named.

Every stage is a share of the dense run. What one stage has and the next has not is a loss with a name; losses add up
exactly.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import asdict, dataclass, replace
from typing import Any

from codesign.accelerator.model.evaluation import evaluate
from codesign.accelerator.model.events import scalar
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.masked_computes import part
from codesign.accelerator.model.masked_pass import needs_masks
from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.model.ragged import Existence, share_of
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import DENSE, ActualData
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["Waterfall", "masks_known", "waterfall"]

_METADATA_COSTS = ("metadata", "compression_count")


@dataclass(frozen=True, slots=True)
class Waterfall:
    """One layer on one accelerator.

    Args:
        macs: of the dense layer.
        removable_macs: with a zero operand, or of an output that the mask leaves out: the theoretical saving.
        skipped_macs: that take no cycle on this hardware with these formats.
        lost_macs: ``removable_macs - skipped_macs`` by name.
        dense_cycles, cycles: with bandwidth and, where masks are real, with imbalance.
        lost_cycles: how many cycles are left above ``dense_cycles`` times the share of MACs that are not skipped.
        dense_energy_pJ, energy_pJ: of the run.
        lost_energy_pJ: how much is left above ``dense_energy_pJ`` times the share of MACs that are not removable.
        not_modelled: costs that are in none of the numbers.
    """

    macs: int
    removable_macs: int
    skipped_macs: int
    lost_macs: Table[str, int]
    dense_cycles: int
    cycles: float
    lost_cycles: Table[str, float]
    dense_energy_pJ: float
    energy_pJ: float
    lost_energy_pJ: Table[str, float]
    not_modelled: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields and the stages as plain data."""
        return {"stages": self.stages, **asdict(self), "not_modelled": list(self.not_modelled)}

    @property
    def stages(self) -> dict[str, float]:
        """The four stages as shares of the dense run."""
        return {
            "theoretical MACs removed": self.removable_macs / self.macs,
            "MACs skipped": self.skipped_macs / self.macs,
            "cycles saved": 1 - self.cycles / self.dense_cycles,
            "energy saved": 1 - self.energy_pJ / self.dense_energy_pJ if self.dense_energy_pJ else 0.0,
        }


def waterfall(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations,
    *,
    synchronised_at: str | None = None,
    realised: RealisedLatency | None = None,
) -> Waterfall | Infeasible:
    """The waterfall of a layer; clean semantics. Arguments and errors as of ``evaluate`` and ``realised_latency``.

    Where a tensor whose zeros save time has no actual data, imbalance is not known: it is named in ``not_modelled``.

    Args:
        realised: what ``realised_latency`` gave for this layer, where it is known already.
    """
    dense = evaluate(architecture, problem, mapping, energy)
    run = evaluate(architecture, problem, mapping, energy, sparse) if sparse else dense
    free = run
    if any(level.formats for level in sparse.levels):
        free = evaluate(architecture, problem, mapping, _without_metadata(energy), sparse)
    for answer in (dense, run, free):
        if isinstance(answer, Infeasible):
            return answer
    assert isinstance(dense, Result)
    assert isinstance(run, Result)
    assert isinstance(free, Result)
    if realised is None and masks_known(problem, sparse):
        latency = realised_latency(architecture, problem, mapping, energy, sparse, synchronised_at=synchronised_at)
        if isinstance(latency, Infeasible):
            return latency
        realised = latency
    effectual = _effectual(architecture, problem, mapping, sparse, run.computes.algorithmic)
    return _joined(problem, sparse, (dense, run, free), effectual, realised)


def _joined(
    problem: Problem,
    sparse: SparseOptimizations,
    results: tuple[Result, Result, Result],
    effectual: int,
    realised: RealisedLatency | None,
) -> Waterfall:
    dense, run, free = results
    macs = run.computes.algorithmic
    taken = run.computes.gated + run.computes.idle
    skipped = macs - run.computes.actual - taken
    busiest = run.compute_cycles if realised is None else sum(realised.realised_cycles) / len(realised.realised_cycles)
    cycles = max(float(run.cycles), busiest)
    imbalance = max(0.0, busiest - run.compute_cycles)
    not_modelled = []
    if _masks_outputs(problem, sparse):
        not_modelled.append("predictor")
    if realised is None and skipped:
        not_modelled.append("imbalance")
    return Waterfall(
        macs=macs,
        removable_macs=macs - effectual,
        skipped_macs=skipped,
        lost_macs={
            "computed in vain": run.computes.actual - effectual,
            "gated": taken,
        },
        dense_cycles=dense.cycles,
        cycles=cycles,
        lost_cycles={
            "imbalance": imbalance,
            "bandwidth": cycles - dense.cycles * (1 - skipped / macs) - imbalance,
        },
        dense_energy_pJ=dense.energy_pJ,
        energy_pJ=run.energy_pJ,
        lost_energy_pJ=_lost_energy(problem, dense, run, free, effectual / macs),
        not_modelled=tuple(not_modelled),
    )


def masks_known(problem: Problem, sparse: SparseOptimizations) -> bool:
    """Whether all zeros that matter are known bit by bit, so that realised latency is."""
    real = any(isinstance(density, ActualData) for density in problem.densities)
    sure = all(isinstance(density, ActualData) or density == DENSE for density in problem.densities)
    return real and sure and needs_masks(problem, sparse)


def _effectual(
    architecture: Architecture, problem: Problem, mapping: Mapping, sparse: SparseOptimizations, macs: int
) -> int:
    """MACs with nonzero operands whose output is wanted."""
    masks_outputs = _masks_outputs(problem, sparse)
    existence = Existence(problem, build_nest(architecture, problem, mapping))
    wanted = [i for i, dataspace in enumerate(problem.dataspaces) if masks_outputs or not dataspace.read_write]
    needed = tuple(scalar(index) for index in wanted)
    return part(macs, share_of(existence.survival, needed, existence.operations))


def _masks_outputs(problem: Problem, sparse: SparseOptimizations) -> bool:
    """Whether something waits for a mask over the outputs, which a predictor has to make."""
    spaces = zip(problem.dataspaces, problem.densities, strict=True)
    written = [dataspace.name for dataspace, density in spaces if dataspace.read_write and density != DENSE]
    if not written:
        return False
    options = [option for level in sparse.levels for action in level.actions for option in action.options]
    return any(entry.on == "outputs" for entry in sparse.compute) or any(
        name in written for option in options for name in option.condition_on
    )


def _without_metadata(energy: EnergyTable) -> EnergyTable:
    entries = tuple(
        replace(entry, energy_pJ=0.0) if any(word in entry.action for word in _METADATA_COSTS) else entry
        for entry in energy.energies
    )
    return replace(energy, energies=entries)


def _lost_energy(problem: Problem, dense: Result, run: Result, free: Result, share: float) -> dict[str, float]:
    """Energy above the ideal, in which everything shrinks with the MACs; ``free`` is the run without metadata costs."""
    written = {dataspace.name for dataspace in problem.dataspaces if dataspace.read_write}
    lost = {
        "metadata": run.energy_pJ - free.energy_pJ,
        "computes": free.computes.energy_pJ - share * dense.computes.energy_pJ,
        "operands moved in vain": 0.0,
        "dense outputs": 0.0,
    }
    for name, level in free.levels.items():
        for dataspace, stats in level.dataspaces.items():
            kind = "dense outputs" if dataspace in written else "operands moved in vain"
            lost[kind] += stats.energy_pJ - share * dense.levels[name].dataspaces[dataspace].energy_pJ
    lost["leakage and networks"] = run.energy_pJ - share * dense.energy_pJ - sum(lost.values())
    return lost
