"""Realised latency against a plain count of the work of every instance in every step."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_simulator import operations, point
from nest_cases import energy_table, matmul
from test_masked_against_loops import COMPUTE, OUTPUTS, masked_cases, sparse_of

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.reordering import best_order, reordered_channels
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
    SparseOptimizations,
)
from codesign.errors import InputError

SKIP_MASKED = SparseOptimizations(compute=(ComputeOptimization("mac", "skipping", on="outputs"),))


def counted(problem, mapping, mask, level):
    """(expected, realised) cycles of every sample where only operations with a one in the output mask take a cycle."""
    loops, steps = operations(problem, mapping)
    outputs = problem.dataspaces[OUTPUTS]
    instances = int(np.prod([bound for _, spatial, _, bound, _ in loops if spatial]))
    found = []
    for sample in mask:
        work: Counter = Counter()
        for step in steps:
            if sample[point(problem, outputs, step.vector)]:
                when = tuple(i for i, loop in zip(step.indices, loops, strict=True) if not loop[1] and loop[0] >= level)
                who = tuple(i for i, loop in zip(step.indices, loops, strict=True) if loop[1])
                work[when, who] += 1
        longest: Counter = Counter()
        for (when, _), cycles in work.items():
            longest[when] = max(longest[when], cycles)
        found.append((sum(work.values()) / instances, sum(longest.values())))
    return found


@settings(max_examples=120, deadline=None)
@given(masked_cases(), st.integers(0, 2))
def test_the_busiest_instance_makes_the_step(case, further):
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
    assert found.imbalance >= 1 - 1e-9


@settings(max_examples=60, deadline=None)
@given(masked_cases())
def test_expected_cycles_are_those_of_the_engine(case):
    architecture, problem, mapping, _, savings = case
    sparse = sparse_of(problem, savings, COMPUTE)
    sparse = dataclasses.replace(sparse, compute=tuple(entry for entry in sparse.compute if entry.on == "outputs"))
    found = realised_latency(architecture, problem, mapping, energy_table(architecture), sparse)
    result = evaluate(architecture, problem, mapping, energy_table(architecture), sparse)
    assert isinstance(result, Result)
    assert isinstance(found, RealisedLatency)
    mean = sum(found.expected_cycles) / len(found.expected_cycles)
    assert result.compute_cycles == pytest.approx(mean, abs=1.5)
    assert all(r >= e - 1e-9 for r, e in zip(found.realised_cycles, found.expected_cycles, strict=True))


def rows(channels: int, columns: int, width: int):
    """``width`` rows, one output channel each at a time; a channel's outputs one after the other."""
    problem = matmul((channels, 1, columns))

    def loops(**bounds):
        return tuple(Loop(d, bounds.get(name, 1), bounds.get(name, 1)) for d, name in enumerate("MKN"))

    storage = (
        Storage("level0", "regfile", mesh_x=width, word_bits=8),
        Storage("level1", "DRAM", word_bits=8),
    )
    architecture = Architecture("rows", storage, Compute("mac", "intmac", mesh_x=width))
    keep = (True, True, True)
    mapping = Mapping(
        (
            LevelMapping(loops(N=columns), (), (), keep),
            LevelMapping(loops(M=channels // width), loops(M=width), (), keep),
        )
    )
    mapping.check(architecture, problem)
    return architecture, problem, mapping


def test_reordering_channels_wins_back_what_imbalance_lost():
    """Half of the channels have all outputs, half none, in turn: every step waits for a full channel. Sorted, half of
    the steps vanish: the expected latency is reached."""
    channels, columns, width = 16, 8, 4
    architecture, problem, mapping = rows(channels, columns, width)
    mask = np.zeros((3, channels, columns), bool)
    mask[:, ::2] = True
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=True)))
    table = energy_table(architecture)
    before = realised_latency(architecture, problem, mapping, table, SKIP_MASKED)
    sorted_ = reordered_channels(architecture, problem, mapping)
    after = realised_latency(architecture, sorted_, mapping, table, SKIP_MASKED)
    assert before.realised_cycles == (channels // width * columns,) * 3
    assert before.imbalance == 2.0
    assert after.realised_cycles == (channels // width * columns // 2,) * 3
    assert after.imbalance == 1.0
    assert after.expected_cycles == before.expected_cycles


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_sorted_steps_never_take_longer(seed, share):
    """One channel an instance and step: sorting minimises the sum of the steps' maxima."""
    architecture, problem, mapping = rows(12, 5, 3)
    mask = np.random.default_rng(seed).random((2, 12, 5)) < share
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=True)))
    table = energy_table(architecture)
    before = realised_latency(architecture, problem, mapping, table, SKIP_MASKED)
    after = realised_latency(
        architecture, reordered_channels(architecture, problem, mapping), mapping, table, SKIP_MASKED
    )
    assert all(a <= b for a, b in zip(after.realised_cycles, before.realised_cycles, strict=True))
    assert after.expected_cycles == before.expected_cycles


def test_what_cannot_be_said_is_an_error():
    architecture, problem, mapping = rows(4, 2, 2)
    table = energy_table(architecture)
    expected = dataclasses.replace(problem, densities=(DENSE, DENSE, Hypergeometric(0.5)))
    with pytest.raises(InputError, match="only a density for Z"):
        realised_latency(architecture, expected, mapping, table, SKIP_MASKED)
    mask = ActualData.of(np.ones((4, 2), bool), varies=False)
    real = dataclasses.replace(problem, densities=(DENSE, DENSE, mask))
    with pytest.raises(InputError, match="outside all loops in space"):
        realised_latency(architecture, real, mapping, table, SKIP_MASKED, synchronised_at="level0")
    with pytest.raises(InputError, match="a storage level"):
        realised_latency(architecture, real, mapping, table, SKIP_MASKED, synchronised_at="glb")
    with pytest.raises(InputError, match="ordered by the actual mask of a tensor"):
        reordered_channels(architecture, expected, mapping)
    with pytest.raises(InputError, match="no such dimension"):
        reordered_channels(architecture, real, mapping, dimension="C")
    assert reordered_channels(architecture, real, mapping) == real  # without zeros, every order is the same
    holes = np.array([[True], [False], [True], [True]])
    weights, some = ActualData.of(holes, varies=False), ActualData.of(np.repeat(holes, 2, 1), varies=False)
    with pytest.raises(InputError, match="A and Z have masks over"):
        reordered_channels(architecture, dataclasses.replace(real, densities=(weights, DENSE, some)), mapping)


SKIP_INPUTS = SparseOptimizations(
    levels=(LevelSparsity("level0", (ActionOptimization("skipping", (Option("A", ("B",)),)),)),)
)


def inner_channels(channels: int, width: int, columns: int = 6):
    """Input channels K side by side on ``width`` instances, the others one after the other; weights wait for inputs."""
    problem = matmul((2, channels, columns))

    def loops(**bounds):
        return tuple(Loop(d, bounds.get(name, 1), bounds.get(name, 1)) for d, name in enumerate("MKN"))

    storage = (Storage("level0", "regfile", mesh_x=width, word_bits=8), Storage("level1", "DRAM", word_bits=8))
    mapping = Mapping(
        (
            LevelMapping(loops(M=2, K=channels // width, N=columns), (), (), (True, True, True)),
            LevelMapping(loops(), loops(K=width), (), (True, True, True)),
        )
    )
    architecture = Architecture("row", storage, Compute("mac", "intmac", mesh_x=width))
    mapping.check(architecture, problem)
    return architecture, problem, mapping


def test_input_channels_are_ordered_too():
    """Four channels with all their inputs and four with none: two full ones on the same instance double its work."""
    architecture, problem, mapping = inner_channels(8, 4)
    mask = np.zeros((2, 8, 6), bool)
    mask[:, [0, 2, 4, 6]] = True  # instances are the outer digit of K: channels 0 and 1 share one, and so on
    mask[1] = np.roll(mask[1], 1, axis=0)
    inputs = ActualData.of(mask, varies=True)
    case = dataclasses.replace(problem, densities=(DENSE, inputs, DENSE))
    table = energy_table(architecture)
    before = realised_latency(architecture, case, mapping, table, SKIP_INPUTS)
    assert before.waits_for == ("B",)
    found = best_order(architecture, case, mapping, table, SKIP_INPUTS, before)
    assert found is not None
    dimension, after = found
    assert dimension == "K"
    assert after.expected_cycles == before.expected_cycles
    assert after.realised_cycles == (2 * 6, 2 * 6)
    assert after.imbalance == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.booleans())
def test_an_order_moves_work_and_keeps_it(seed, share, weights_too):
    """Zeros of weights that save no time do not stand in the way of an order of the inputs."""
    architecture, problem, mapping = inner_channels(8, 2)
    rng = np.random.default_rng(seed)
    inputs = ActualData.of(rng.random((3, 8, 6)) < share, varies=True)
    weights = ActualData.of(rng.random((2, 8)) < share, varies=False) if weights_too else DENSE
    case = dataclasses.replace(problem, densities=(weights, inputs, DENSE))
    table = energy_table(architecture)
    before = realised_latency(architecture, case, mapping, table, SKIP_INPUTS)
    _, after = best_order(architecture, case, mapping, table, SKIP_INPUTS, before)
    assert after.expected_cycles == before.expected_cycles
    assert all(a >= e - 1e-9 for a, e in zip(after.realised_cycles, after.expected_cycles, strict=True))


def test_nothing_to_order():
    """Time waits for two masks over the channels, or channels are not side by side."""
    architecture, problem, mapping = inner_channels(8, 2)
    both = SparseOptimizations(compute=(ComputeOptimization("mac", "skipping", on="outputs"),))
    mask = np.zeros((2, 6), bool)
    mask[0] = True
    case = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
    table = energy_table(architecture)
    before = realised_latency(architecture, case, mapping, table, both)
    assert best_order(architecture, case, mapping, table, both, before) is None  # outputs have no K
