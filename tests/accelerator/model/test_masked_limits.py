"""Masks at their limits: nothing masked, all masked, structures that theory relates, and random masks."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from itertools import combinations, product
from math import comb, prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nest_cases import convolution, energy_table, mapped, matmul
from test_masked_against_loops import COMPUTE, OUTPUTS, extents, masked_cases, sparse_of

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.events import Event, all_digits, scalar
from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.model.survival import Survival
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.density import DENSE, FixedStructured, Hypergeometric, StructuredNM, Vectors
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import ComputeOptimization, LevelSparsity, Rank, SparseOptimizations, TensorFormat

KINDS = ("reads", "fills", "updates")


def run(architecture, problem, mapping, sparse) -> Result:
    result = evaluate(architecture, problem, mapping, energy_table(architecture), sparse)
    assert isinstance(result, Result)
    return result


def masked_with(problem: Problem, value: float, kind: str) -> Problem:
    """All words of all tensors ones (value 1) or zeros (value 0)."""

    def made(p: int, kind: str):
        if kind == "actual":
            return ActualData.of(np.full((2, *extents(problem, problem.dataspaces[p])), value == 1.0), varies=True)
        if kind == "n_m":
            return StructuredNM(int(value), 1, 0)
        return Vectors(value, 1, 0) if kind == "vector" else Hypergeometric(value)

    operand = kind if kind == "actual" else "hypergeometric"
    return dataclasses.replace(problem, densities=(made(0, operand), made(1, operand), made(OUTPUTS, kind)))


@settings(max_examples=80, deadline=None)
@given(masked_cases(), st.sampled_from(["actual", "hypergeometric", "n_m", "vector"]))
def test_a_full_mask_is_the_dense_result(case, kind):
    architecture, problem, mapping, _, savings = case
    sparse = sparse_of(problem, savings, COMPUTE)
    dense = evaluate(architecture, problem, mapping, energy_table(architecture))
    result = run(architecture, masked_with(problem, 1.0, kind), mapping, sparse)
    assert dataclasses.replace(result, warnings=()).to_json() == dense.to_json()
    assert result.warnings[0].startswith("not modelled: storing and reading the mask over ")


@settings(max_examples=80, deadline=None)
@given(masked_cases(), st.sampled_from(["actual", "hypergeometric", "n_m", "vector"]))
def test_an_empty_mask_leaves_what_waits_for_nothing(case, kind):
    architecture, problem, mapping, _, savings = case
    waiting = dict.fromkeys(savings, (OUTPUTS,))
    result = run(architecture, masked_with(problem, 0.0, kind), mapping, sparse_of(problem, waiting, COMPUTE))
    assert result.computes.actual == 0
    assert result.compute_cycles == result.computes.gated == 0
    for p, dataspace in enumerate(problem.dataspaces):
        outermost = max((level for level, target in waiting if target == p), default=-1)
        for level, row in enumerate(mapping.levels):
            if row.keep[p] and level <= outermost:
                stats = result.levels[f"level{level}"].dataspaces[dataspace.name]
                assert stats.actual_reads == stats.actual_updates == 0
                assert level == outermost or stats.actual_fills == 0


@settings(max_examples=100, deadline=None)
@given(masked_cases())
def test_work_is_conserved(case):
    architecture, problem, mapping, _, savings = case
    result = run(architecture, problem, mapping, sparse_of(problem, savings, COMPUTE))
    for level in result.levels.values():
        for stats in level.dataspaces.values():
            for kind in KINDS:
                fates = [getattr(stats, f"{fate}_{kind}") for fate in ("actual", "gated", "skipped")]
                assert min(fates) >= 0
                assert sum(fates) <= getattr(stats, f"algorithmic_{kind}")
    c = result.computes
    kept = c.kept_away_by_gating + c.kept_away_by_skipping
    assert c.actual + c.gated + c.skipped + kept == c.algorithmic
    assert min(c.actual, c.gated, c.skipped, c.kept_away_by_gating, c.kept_away_by_skipping) >= 0


def nest_of(problem: Problem, inner: dict[int, int]):
    """DRAM over a buffer; ``inner`` has the bounds of the buffer's loops."""

    def level(bounds):
        return LevelMapping(tuple(Loop(d, b, b) for d, b in enumerate(bounds)), (), (), (True,) * 3)

    inside = [inner.get(d, 1) for d in range(len(problem.bounds))]
    outside = [bound // i for bound, i in zip(problem.bounds, inside, strict=True)]
    storage = (Storage("level0", "SRAM", word_bits=8), Storage("level1", "DRAM", word_bits=8))
    architecture = Architecture("two", storage, Compute("mac", "intmac"))
    mapping = Mapping((level(inside), level(outside)))
    mapping.check(architecture, problem)
    return architecture, mapping, all_digits(build_nest(architecture, problem, mapping))


M, K, N = range(3)


def tile_of(problem, digits, dims) -> Event:
    own = tuple((i, d.bound) for i, d in enumerate(digits) if d.level == 0 and d.dimension in dims)
    return Event(OUTPUTS, own)


def every_mask(kind, shape):
    """All masks of a structure over (channels, positions), equally likely."""
    channels, positions = shape
    if isinstance(kind, StructuredNM):
        group = [set(c) for c in combinations(range(kind.m), kind.n)]
        groups = positions * (channels // kind.m)
        for choice in product(group, repeat=groups):
            mask = np.zeros(shape, bool)
            for number, ones in enumerate(choice):
                for one in ones:
                    mask[number // positions * kind.m + one, number % positions] = True
            yield mask
    elif isinstance(kind, Vectors):
        groups = channels // kind.length * positions
        for ones in combinations(range(groups), round(kind.density * groups)):
            mask = np.zeros(shape, bool)
            for one in ones:
                mask[one // positions * kind.length : (one // positions + 1) * kind.length, one % positions] = True
            yield mask
    else:
        for ones in combinations(range(channels * positions), round(kind.density * channels * positions)):
            mask = np.zeros(channels * positions, bool)
            mask[list(ones)] = True
            yield mask.reshape(shape)


@pytest.mark.parametrize(
    "kind", [Hypergeometric(0.375), StructuredNM(1, 2, 0), StructuredNM(1, 4, 0), Vectors(0.5, 2, 0)]
)
@pytest.mark.parametrize("dims", [((M,),), ((N,),), ((M, N),), ((M,), (N,)), ()])
@pytest.mark.parametrize("inner", [{M: 2, N: 2}, {M: 4, N: 1}, {M: 1, N: 2}])
def test_expected_densities_are_means_over_all_masks(kind, dims, inner):
    """Every mask of the structure is run as real data: the expectation is their mean. Pairs of tiles as well."""
    problem = dataclasses.replace(matmul((4, 1, 2)), densities=(DENSE, DENSE, kind))
    _, _, digits = nest_of(problem, inner)
    events = [tile_of(problem, digits, d) for d in dims] or [scalar(OUTPUTS)]
    total, count = Fraction(0), 0
    for mask in every_mask(kind, (4, 2)):
        real = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
        total += Survival(real, digits).none_empty(events)
        count += 1
    assert float(Survival(problem, digits).none_empty(events)) == pytest.approx(float(total / count), abs=1e-12)


def test_n_m_over_one_group_is_hypergeometric():
    """One group of all channels at one position: both draw n of m words without replacement."""
    problem = matmul((8, 2, 1))
    _, _, digits = nest_of(problem, {M: 4})
    found = [
        Survival(dataclasses.replace(problem, densities=(DENSE, DENSE, density)), digits).none_empty(
            [tile_of(problem, digits, (M,))]
        )
        for density in (StructuredNM(3, 8, 0), Hypergeometric(3 / 8))
    ]
    assert found[0] == pytest.approx(found[1]) == pytest.approx(1 - comb(4, 3) / comb(8, 3))


def test_vectors_of_one_word_are_hypergeometric_and_long_ones_come_in_whole():
    problem = matmul((8, 2, 4))
    _, _, digits = nest_of(problem, {M: 4, N: 2})
    tile = [tile_of(problem, digits, (M, N))]

    def share(density):
        return Survival(dataclasses.replace(problem, densities=(DENSE, DENSE, density)), digits).none_empty(tile)

    assert share(Vectors(0.25, 1, 0)) == pytest.approx(share(Hypergeometric(0.25)))
    # A tile of 4 channels at 2 positions is 2 vectors of the 8.
    assert share(Vectors(0.25, 4, 0)) == pytest.approx(1 - comb(6, 2) / comb(8, 2))


@pytest.mark.parametrize("conditions", [(1,), (OUTPUTS,), (1, OUTPUTS)])
def test_random_real_masks_agree_with_the_hypergeometric_model(conditions):
    """Within five standard errors of the mean over the samples; same counts, cycles and energy as expected."""
    rng = np.random.default_rng(7)
    problem = convolution((8, 8, 16, 3))
    architecture, mapping, _ = nest_of(problem, {0: 4, 1: 4, 2: 4, 3: 3})
    sparse = sparse_of(problem, {(0, 0): conditions, (1, 0): conditions, (1, 2): (OUTPUTS,)}, COMPUTE)
    densities = (0.5, 0.3, 0.1)
    samples = 64
    actual = []
    for p, (dataspace, density) in enumerate(zip(problem.dataspaces, densities, strict=True)):
        shape = extents(problem, dataspace)
        words = prod(shape)
        ones = int(np.ceil(density * words))
        mask = np.stack([rng.permutation(np.arange(words) < ones).reshape(shape) for _ in range(samples)])
        actual.append(ActualData.of(mask if p else mask[0], varies=p > 0))
    real = run(architecture, dataclasses.replace(problem, densities=tuple(actual)), mapping, sparse)
    expected = run(
        architecture,
        dataclasses.replace(problem, densities=tuple(Hypergeometric(d) for d in densities)),
        mapping,
        sparse,
    )
    # Shares of at most 1 with a variance of at most p (1 - p) / tiles; the fewest tiles of a sample are 4 x 8.
    for name, level in real.levels.items():
        for dataspace, stats in level.dataspaces.items():
            other = expected.levels[name].dataspaces[dataspace]
            for kind in KINDS:
                count = getattr(stats, f"algorithmic_{kind}")
                tolerance = 5 * 0.5 * count / np.sqrt(32 * samples) + 1
                assert abs(getattr(stats, f"actual_{kind}") - getattr(other, f"actual_{kind}")) <= tolerance
    assert real.computes.actual == pytest.approx(expected.computes.actual, rel=0.05)
    assert real.energy_pJ == pytest.approx(expected.energy_pJ, rel=0.05)
    assert real.cycles == pytest.approx(expected.cycles, rel=0.05)


def test_a_block_is_saved_only_as_a_whole():
    """B is read word by word at the compute units, two words a vector access: pairs of outputs decide."""
    mask = np.array([[True, False, False, False]])
    problem = dataclasses.replace(matmul((1, 1, 4)), densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
    architecture, mapping, _ = nest_of(problem, {N: 4})
    for block, made in ((1, 1), (2, 2), (4, 4)):
        storage = (dataclasses.replace(architecture.storage[0], block_size=block), architecture.storage[1])
        result = run(
            dataclasses.replace(architecture, storage=storage), problem, mapping, sparse_of(problem, {(0, 1): (2,)})
        )
        assert result.levels["level0"].dataspaces["B"].actual_reads == made


def test_what_gated_storage_keeps_away_from_masked_outputs_takes_its_cycle():
    problem = matmul((4, 4, 4))
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
    architecture, mapping, _ = nest_of(problem, {K: 4})
    sparse = sparse_of(problem, {(0, 0): (OUTPUTS,)})
    action = dataclasses.replace(sparse.levels[0].actions[0], kind="gating")
    result = run(architecture, problem, mapping, SparseOptimizations((LevelSparsity("level0", (action,)),)))
    assert result.computes.actual == 16
    assert result.computes.kept_away_by_gating == result.computes.idle == 48
    assert result.compute_cycles == 64
    assert result.levels["level0"].dataspaces["A"].gated_reads == 48


def test_gating_on_outputs_saves_no_time_and_skipping_does():
    problem = matmul((4, 4, 4))
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    problem = dataclasses.replace(problem, densities=(DENSE, DENSE, ActualData.of(mask, varies=False)))
    architecture, mapping, _ = nest_of(problem, {K: 4})
    found = {}
    for kind in ("gating", "skipping"):
        sparse = SparseOptimizations(compute=(ComputeOptimization("mac", kind, on="outputs"),))
        found[kind] = run(architecture, problem, mapping, sparse)
    assert found["gating"].computes.gated == found["skipping"].computes.skipped == 48
    assert found["gating"].compute_cycles == 64
    assert found["skipping"].compute_cycles == 16


@settings(max_examples=60, deadline=None)
@given(mapped(largest=5, options=False), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_compressed_actual_data_stores_what_there_is(case, seed, share):
    """Words and metadata of a compressed tensor: its fullest tile, its mean tile, by counting."""
    architecture, problem, mapping = case
    assume(all(term.coefficient > 0 for rank in problem.dataspaces[0].ranks for term in rank))
    rng = np.random.default_rng(seed)
    weights = problem.dataspaces[0]
    mask = rng.random(extents(problem, weights)) < share
    problem = dataclasses.replace(problem, densities=(ActualData.of(mask, varies=False), DENSE, DENSE))
    architecture = dataclasses.replace(
        architecture,
        storage=tuple(
            dataclasses.replace(s, metadata_width_bits=8, metadata_word_bits=4, metadata_depth=10**9)
            for s in architecture.storage
        ),
    )
    last = len(mapping.levels) - 1
    ranks = tuple(Rank("B") for _ in problem.bounds)
    sparse = SparseOptimizations((LevelSparsity(f"level{last}", (), (TensorFormat(weights.name, ranks),)),))
    result = evaluate(architecture, problem, mapping, with_metadata(architecture), sparse)
    if not isinstance(result, Result):
        return
    stats = result.levels[f"level{last}"].dataspaces[weights.name]
    assert stats.utilized_capacity == mask.sum()
    exact = Fraction(stats.algorithmic_reads * int(mask.sum()), mask.size)
    assert abs(stats.actual_reads - exact) <= Fraction(1, 2)


def with_metadata(architecture):
    from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable

    table = energy_table(architecture)
    source = table.energies[0].provenance
    extra = [
        EnergyEntry(level.name, f"metadata_{action}", 0.25, source)
        for level in architecture.storage
        for action in ("read", "write", "update")
    ]
    extra += [EnergyEntry(level.name, "decompression_count", 0.0, source) for level in architecture.storage]
    return EnergyTable((*table.energies, *extra))


def test_fixed_structure_of_outputs_empties_no_tile_with_a_whole_word():
    problem = dataclasses.replace(matmul((4, 2, 4)), densities=(DENSE, DENSE, FixedStructured(0.25)))
    _, _, digits = nest_of(problem, {M: 4})
    survival = Survival(problem, digits)
    assert survival.none_empty([tile_of(problem, digits, (M,))]) == 1
    assert survival.none_empty([scalar(OUTPUTS)]) == 0.25
