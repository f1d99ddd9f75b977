"""Masks in nests with imperfect loops, and what of it is not modelled. The counts themselves are compared with a loop
simulator in ``test_masked_against_loops``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mask_simulator import operations
from nest_cases import convolution, energy_table, matmul
from test_imbalance import SKIP_MASKED, counted
from test_masked_against_loops import COMPUTE, OUTPUTS, extents, masked_cases, sparse_of

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.reordering import best_order
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    Rank,
    SparseOptimizations,
    TensorFormat,
)
from codesign.errors import InputError


@settings(max_examples=120, deadline=None)
@given(masked_cases(perfect=False), st.integers(0, 2))
def test_the_busiest_instance_makes_the_step_in_imperfect_loops_too(case, further):
    architecture, problem, mapping, masks, _ = case
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, problem.densities[OUTPUTS]))
    loops, _ = operations(problem, mapping)
    level = max((lv for lv, spatial, _, bound, _ in loops if spatial and bound > 1), default=0)
    level = min(level + further, len(mapping.levels) - 1)
    found = realised_latency(
        architecture, problem, mapping, energy_table(architecture), SKIP_MASKED, synchronised_at=f"level{level}"
    )
    assert isinstance(found, RealisedLatency)
    want = counted(problem, mapping, masks[OUTPUTS], level)
    assert found.realised_cycles == tuple(realised for _, realised in want)
    assert found.expected_cycles == pytest.approx(tuple(expected for expected, _ in want))


@settings(max_examples=80, deadline=None)
@given(masked_cases(perfect=False))
def test_a_full_mask_over_imperfect_loops_is_the_dense_result(case):
    architecture, problem, mapping, _, savings = case
    dense = evaluate(architecture, problem, mapping, energy_table(architecture))
    full = dataclasses.replace(
        problem,
        densities=tuple(
            ActualData.of(np.ones((2, *extents(problem, dataspace)), bool), varies=True)
            for dataspace in problem.dataspaces
        ),
    )
    try:
        result = evaluate(architecture, full, mapping, energy_table(architecture), sparse_of(problem, savings, COMPUTE))
    except InputError as error:
        assume(not error.rule.startswith("not modelled: masks "))
        raise
    assert isinstance(result, Result)
    assert dataclasses.replace(result, warnings=()).to_json() == dense.to_json()


def imperfect(bounds, inner, outer_order=None):
    """A buffer holds tiles of ``inner``; the outermost level runs what is left."""
    problem = matmul(bounds)
    first = tuple(Loop(d, size, (bounds[d] - 1) % size + 1) for d, size in enumerate(inner))
    rest = [Loop(d, left, left) for d, size in enumerate(inner) for left in (-(-bounds[d] // size),)]
    outer = tuple(rest[d] for d in outer_order or range(3))
    keep = (True, True, True)
    mapping = Mapping((LevelMapping(first, (), (), keep), LevelMapping(outer, (), (), keep)))
    storage = (Storage("level0", "SRAM", word_bits=8), Storage("level1", "DRAM", word_bits=8))
    architecture = Architecture("plain", storage, Compute("mac", "intmac"))
    mapping.check(architecture, problem)
    return architecture, problem, mapping


def test_cycles_of_imperfect_loops_shrink_with_the_work():
    """Five rows in tiles of two: three of the six rows that the nest could have are wanted, of five that there are."""
    architecture, problem, mapping = imperfect((5, 2, 3), (2, 2, 3))
    mask = np.zeros((5, 3), bool)
    mask[[0, 3, 4]] = True
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
    skip = SparseOptimizations(compute=(ComputeOptimization("mac", "skipping", on="outputs"),))
    result = evaluate(architecture, problem, mapping, energy_table(architecture), skip)
    assert isinstance(result, Result)
    dense = evaluate(architecture, problem, mapping, energy_table(architecture))
    assert result.computes.actual * 5 == dense.computes.actual * 3
    assert result.compute_cycles == -(-dense.compute_cycles * 3 // 5)


MASK_Z = ActualData.of(np.ones((5, 3), bool), varies=False)


@pytest.mark.parametrize(
    ("densities", "order", "formats", "said"),
    [
        ((Hypergeometric(0.5), DENSE, MASK_Z), None, (), "the density of A beside masks in a nest with imperfect"),
        ((DENSE, DENSE, Hypergeometric(0.5)), None, (), "the density of Z beside masks"),
        (
            (DENSE, DENSE, MASK_Z), None, (TensorFormat("A", (Rank("UOP"), Rank("CP"))),),
            "masks with A compressed in a nest with imperfect loops",
        ),
        ((DENSE, DENSE, MASK_Z), (2, 0, 1), (), None),
    ],
)  # fmt: skip
def test_what_imperfect_loops_cannot_have(densities, order, formats, said):
    architecture, problem, mapping = imperfect((5, 2, 3), (2, 2, 3), order)
    problem = dataclasses.replace(problem, densities=densities)
    skip = SparseOptimizations(
        (LevelSparsity("level0", formats=formats),), (ComputeOptimization("mac", "skipping", on="outputs"),)
    )
    if said is None:
        assert isinstance(evaluate(architecture, problem, mapping, energy_table(architecture), skip), Result)
        return
    with pytest.raises(InputError, match=f"not modelled: {said}"):
        evaluate(architecture, problem, mapping, energy_table(architecture), skip)


def test_a_sliding_window_over_imperfect_loops_is_refused():
    problem = convolution((1, 1, 5, 3))
    loops = (Loop(0, 1, 1), Loop(1, 1, 1), Loop(2, 2, 1), Loop(3, 3, 3))
    rest = (Loop(0, 1, 1), Loop(1, 1, 1), Loop(2, 3, 3), Loop(3, 1, 1))
    keep = (True, True, True)
    mapping = Mapping((LevelMapping(loops, (), (), keep), LevelMapping(rest, (), (), keep)))
    storage = (Storage("level0", "SRAM", word_bits=8), Storage("level1", "DRAM", word_bits=8))
    architecture = Architecture("plain", storage, Compute("mac", "intmac"))
    inputs = ActualData.of(np.ones((1, 7), bool), varies=False)
    problem = dataclasses.replace(problem, densities=(DENSE, inputs, DENSE))
    skip = SparseOptimizations(
        (LevelSparsity("level0", (ActionOptimization("skipping", (Option("Weights", ("Inputs",)),)),)),)
    )
    with pytest.raises(InputError, match=r"masks of Inputs with imperfect loops over a sliding window \(got P\)"):
        evaluate(architecture, problem, mapping, energy_table(architecture), skip)


@settings(max_examples=60, deadline=None)
@given(masked_cases(perfect=False))
def test_channels_of_imperfect_loops_are_ordered_without_losing_one(case):
    architecture, problem, mapping, _, _ = case
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, problem.densities[OUTPUTS]))
    table = energy_table(architecture)
    before = realised_latency(architecture, problem, mapping, table, SKIP_MASKED)
    found = best_order(architecture, problem, mapping, table, SKIP_MASKED, before)
    if found is not None:
        assert found[1].expected_cycles == pytest.approx(before.expected_cycles)
