"""The MICRO 2022 Sparseloop artifact: real masks of a pruned MobileNet-0.5 on the Eyeriss v2 PE, cycle-accurate.

Claimed here: the number of effectual computes of a pointwise layer equals the published cycles of the cycle-accurate
simulation exactly, and the cycles of a PE that skips on both operands do too. Not claimed: energies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nest_cases import SOURCE

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    Rank,
    SparseOptimizations,
    TensorFormat,
)

FOLDER = Path(__file__).parents[3] / ".." / "shared" / "reference" / "eyeriss_v2"
M, C, P, Q = range(4)

# Relative error of the hypergeometric model in percent: docs/actual_data.md has the same table.
HYPERGEOMETRIC_ERROR = {"L07": -6.66, "L13": -1.65, "L21": -3.87, "L27": -5.45}


def layer(name: str):
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the artifact's masks are not here (shared/reference/eyeriss_v2)")
    with np.load(path) as content:
        e, f, c, m = (int(content[key]) for key in "EFCM")
        inputs = np.unpackbits(content["inputs"])[: e * f * c].reshape(e, f, c)
        weights = np.unpackbits(content["weights"])[: m * c].reshape(m, c)
        return inputs, weights, int(content["cycles"])


def problem(inputs, weights, *densities) -> Problem:
    (e, f, c), m = inputs.shape, len(weights)
    spaces = (
        Dataspace("Weights", ((Term(M),), (Term(C),))),
        Dataspace("Inputs", ((Term(P),), (Term(Q),), (Term(C),))),
        Dataspace("Outputs", ((Term(M),), (Term(P),), (Term(Q),)), read_write=True),
    )
    return Problem("pointwise", tuple("MCPQ"), (m, c, e, f), spaces, (*densities, DENSE))


def processing_element(case: Problem):
    """One PE: inputs and weights in compressed scratchpads, weights fetched where the input is not zero."""
    storage = (
        Storage("spads", "regfile", word_bits=8, metadata_width_bits=8, metadata_word_bits=4),
        Storage("dram", "DRAM", word_bits=8),
    )
    architecture = Architecture("eyeriss_v2_pe", storage, Compute("mac", "intmac"))
    m, c, e, f = case.bounds

    def loops(*pairs):
        given = dict(pairs)
        return tuple(
            Loop(d, given.get(d, 1), given.get(d, 1)) for d in (*given, *(d for d in range(4) if d not in given))
        )

    keep = (True, True, True)
    mapping = Mapping(
        (LevelMapping(loops((M, m), (C, c)), (), (), keep), LevelMapping(loops((P, e), (Q, f)), (), (), keep))
    )
    mapping.check(architecture, case)
    actions = ("read", "write", "update", "metadata_read", "metadata_write", "metadata_update", "leak")
    entries = [EnergyEntry(s.name, action, 1.0, SOURCE) for s in storage for action in actions]
    table = EnergyTable((*entries, EnergyEntry("mac", "compute", 1.0, SOURCE)))
    formats = (TensorFormat("Weights", (Rank("RLE"),) * 2), TensorFormat("Inputs", (Rank("RLE"),) * 3))
    skip = ActionOptimization("skipping", (Option("Weights", ("Inputs",)),))
    compute = (ComputeOptimization("mac", "skipping"),)
    sparse = SparseOptimizations((LevelSparsity("spads", (skip,), formats),), compute)
    return architecture, mapping, table, sparse


def computes(case: Problem) -> tuple[int, int]:
    architecture, mapping, table, sparse = processing_element(case)
    result = evaluate(architecture, case, mapping, table, sparse)
    assert isinstance(result, Result)
    return result.computes.actual, result.compute_cycles


@pytest.mark.parametrize("name", HYPERGEOMETRIC_ERROR)
def test_effectual_computes_are_the_published_cycles(name):
    inputs, weights, cycles = layer(name)
    real = problem(inputs, weights, ActualData.of(weights, varies=False), ActualData.of(inputs, varies=False))
    assert computes(real) == (cycles, cycles)


@pytest.mark.parametrize("name", HYPERGEOMETRIC_ERROR)
def test_the_hypergeometric_model_misses_them_by_so_much(name):
    inputs, weights, cycles = layer(name)
    case = problem(inputs, weights, Hypergeometric(weights.mean()), Hypergeometric(inputs.mean()))
    error = (computes(case)[0] / cycles - 1) * 100
    assert error == pytest.approx(HYPERGEOMETRIC_ERROR[name], abs=0.01)
