"""The sparse pass: limits, conservation, hand-computed savings, and where clean departs from compat."""

from __future__ import annotations

import dataclasses
import json
from math import ceil, floor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nest_cases import SOURCE, convolution, energy_table, mapped, matmul

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.density import DENSE, FixedStructured, Hypergeometric
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem
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

FATES = ("actual", "gated", "skipped")
KINDS = ("reads", "fills", "updates")


def dense(problem: Problem, *densities) -> Problem:
    return dataclasses.replace(problem, densities=densities)


def saving(kind: str, level: str, target: str, *conditions: str) -> LevelSparsity:
    return LevelSparsity(level, (ActionOptimization(kind, (Option(target, conditions),)),))


def sparse_table(architecture: Architecture) -> EnergyTable:
    """The dense table, with metadata actions."""
    table = energy_table(architecture)
    extra = [
        EnergyEntry(level.name, f"metadata_{action}", 0.25, SOURCE)
        for level in architecture.storage
        for action in ("read", "write", "update")
    ]
    return EnergyTable((*table.energies, *extra))


def one_buffer(problem: Problem, factors: list[tuple[int, int]], block: int = 1):
    """DRAM over a buffer over one MAC; ``factors`` of the buffer as (dimension, bound), innermost first."""
    given_factors = dict(factors)
    order = [d for d, _ in factors] + [d for d in range(len(problem.bounds)) if d not in given_factors]
    inner = tuple(Loop(d, given_factors.get(d, 1), given_factors.get(d, 1)) for d in order)
    rest = [problem.bounds[d] // given_factors.get(d, 1) for d in range(len(problem.bounds))]
    outer = tuple(Loop(d, bound, bound) for d, bound in enumerate(rest))
    keep = (True, True, True)
    storage = (
        Storage("buffer", "SRAM", word_bits=8, block_size=block),
        Storage("dram", "DRAM", word_bits=8, metadata_width_bits=64, metadata_word_bits=4),
    )
    architecture = Architecture("one_buffer", storage, Compute("mac", "intmac"))
    mapping = Mapping((LevelMapping(inner, (), (), keep), LevelMapping(outer, (), (), keep)))
    mapping.check(architecture, problem)
    return architecture, problem, mapping


def run(case, sparse, semantics="clean") -> Result:
    architecture, problem, mapping = case
    result = evaluate(architecture, problem, mapping, sparse_table(architecture), sparse, semantics=semantics)
    assert isinstance(result, Result)
    return result


@st.composite
def optimisations(draw: st.DrawFn, problem: Problem, levels: int) -> SparseOptimizations:
    names = [dataspace.name for dataspace in problem.dataspaces]
    operands = [dataspace.name for dataspace in problem.dataspaces if not dataspace.read_write]
    rows = []
    for level in range(levels):
        actions = []
        for target in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)):
            others = [name for name in operands if name != target]
            conditions = draw(st.lists(st.sampled_from(others), min_size=1, max_size=2, unique=True))
            kind = draw(st.sampled_from(["gating", "skipping"]))
            actions.append(ActionOptimization(kind, (Option(target, tuple(conditions)),)))
        if actions:
            rows.append(LevelSparsity(f"level{level}", tuple(actions)))
    compute = draw(st.lists(st.sampled_from(["gating", "skipping"]), max_size=1))
    return SparseOptimizations(tuple(rows), tuple(ComputeOptimization("mac", kind) for kind in compute))


@st.composite
def sparse_cases(draw: st.DrawFn, densities):
    architecture, problem, mapping = draw(mapped(largest=6, options=False))
    if draw(st.booleans()):  # bypass something
        rows = [
            dataclasses.replace(row, keep=tuple(draw(st.booleans()) for _ in range(3))) for row in mapping.levels[:-1]
        ]
        mapping = Mapping((*rows, mapping.levels[-1]))
    problem = dense(problem, *(draw(densities) for _ in range(3)))
    return (architecture, problem, mapping), draw(optimisations(problem, len(mapping.levels)))


ONES = st.sampled_from([FixedStructured(1.0), Hypergeometric(1.0)])
SHARES = st.builds(FixedStructured, st.floats(0, 1)) | st.builds(Hypergeometric, st.floats(0, 1))


@settings(max_examples=100, deadline=None)
@given(sparse_cases(ONES))
def test_density_one_is_dense(case_and_sparse):
    case, sparse = case_and_sparse
    assume(sparse)
    architecture, problem, mapping = case
    want = evaluate(architecture, problem, mapping, sparse_table(architecture))
    assert run(case, sparse).to_json() == want.to_json()


@settings(max_examples=150, deadline=None)
@given(sparse_cases(SHARES))
def test_accesses_are_conserved_and_never_negative(case_and_sparse):
    case, sparse = case_and_sparse
    result = run(case, sparse)
    for level in result.levels.values():
        for stats in level.dataspaces.values():
            for kind in KINDS:
                fates = [getattr(stats, f"{fate}_{kind}") for fate in FATES]
                assert min(fates) >= 0
                assert sum(fates) <= getattr(stats, f"algorithmic_{kind}")
            assert stats.energy_pJ >= 0
    computes = result.computes
    assert min(computes.actual, computes.gated, computes.skipped) >= 0
    kept_away = computes.kept_away_by_gating + computes.kept_away_by_skipping
    assert computes.actual + computes.gated + computes.skipped + kept_away == computes.algorithmic == case[1].macs
    assert 0 <= result.utilization <= 1
    architecture, problem, mapping = case
    assert result.cycles <= evaluate(architecture, problem, mapping, sparse_table(architecture)).cycles


@st.composite
def compressed_cases(draw: st.DrawFn):
    """Savings and, on one operand, layouts that grow by one rank from level to level outwards."""
    case, sparse = draw(sparse_cases(SHARES))
    architecture, problem, _ = case
    index = draw(st.integers(0, 1))
    name = problem.dataspaces[index].name
    everything = (tuple(problem.dimensions),)
    lowest = draw(st.sampled_from(["B", "CP", "RLE"]))
    start = draw(st.integers(0, len(architecture.storage) - 1))
    entries = {entry.level: entry for entry in sparse.levels}
    for level in range(start, len(architecture.storage)):
        uppers = [Rank(draw(st.sampled_from(["UOP", "UB"])), flattened_rank_ids=everything) for _ in range(3)]
        ranks = (*uppers[: level - start + 1], Rank(lowest, flattened_rank_ids=everything))
        storage = architecture.storage[level].name
        entry = entries.get(storage, LevelSparsity(storage))
        entries[storage] = dataclasses.replace(entry, formats=(TensorFormat(name, ranks, draw(st.booleans())),))
    storage = tuple(
        dataclasses.replace(level, metadata_width_bits=32, metadata_depth=1 << 30, metadata_word_bits=4)
        for level in architecture.storage
    )
    case = (dataclasses.replace(architecture, storage=storage), *case[1:])
    return case, dataclasses.replace(sparse, levels=tuple(entries.values()))


@settings(max_examples=200, deadline=None)
@given(compressed_cases(), st.sampled_from(["clean", "compat"]))
def test_compressed_runs_are_finite(case_and_sparse, semantics):
    (architecture, problem, mapping), sparse = case_and_sparse
    try:
        result = evaluate(architecture, problem, mapping, sparse_table(architecture), sparse, semantics=semantics)
    except InputError as error:
        assume("lowest ranks" not in str(error))
        raise
    assume(isinstance(result, Result))
    json.dumps(result.to_json(), allow_nan=False)
    if semantics == "clean":
        for level in result.levels.values():
            for stats in level.dataspaces.values():
                for kind in KINDS:
                    fates = [getattr(stats, f"{fate}_{kind}") for fate in FATES]
                    assert min(fates) >= 0
                    assert sum(fates) <= getattr(stats, f"algorithmic_{kind}")
        assert 0 <= result.utilization <= 1


@pytest.mark.parametrize("kind", ["gating", "skipping"])
def test_weights_wait_for_single_inputs(kind):
    """One word a block and a loop that moves the input in every step: each weight read meets one input word."""
    m, k, share = 8, 16, 0.25
    problem = dense(matmul((m, k, 1)), DENSE, FixedStructured(share), DENSE)
    case = one_buffer(problem, [(1, k), (0, m)])
    result = run(case, SparseOptimizations((saving(kind, "buffer", "A", "B"),)))
    stats = result.levels["buffer"].dataspaces["A"]
    fate = {"gating": "gated", "skipping": "skipped"}[kind]
    saved = floor(m * k * (1 - share))
    assert getattr(stats, f"{fate}_reads") == saved
    assert stats.actual_reads == m * k - saved
    # The compute behind a saved operand does not happen. Skipping saves its cycle; gating does not, except in the real
    # program, which takes the saved computes out before it looks at the compute units.
    assert result.computes.actual == m * k - saved
    assert getattr(result.computes, f"kept_away_by_{kind}") == saved
    assert result.cycles == (m * k if kind == "gating" else m * k - saved)
    assert run(case, SparseOptimizations((saving(kind, "buffer", "A", "B"),)), "compat").cycles == m * k - saved
    # Reads of the condition itself go on.
    assert result.levels["buffer"].dataspaces["B"].actual_reads == m * k


def test_a_block_is_saved_only_as_a_whole():
    """Four words a block: the read is saved only if four inputs are zero."""
    m, k, share, block = 8, 64, 0.25, 4
    problem = dense(matmul((m, k, 1)), DENSE, Hypergeometric(share), DENSE)
    case = one_buffer(problem, [(1, k), (0, m)], block=block)
    result = run(case, SparseOptimizations((saving("skipping", "buffer", "A", "B"),)))
    zeros = k - ceil(share * k)
    empty = 1.0
    for drawn in range(block):
        empty *= (zeros - drawn) / (k - drawn)
    stats = result.levels["buffer"].dataspaces["A"]
    assert stats.skipped_reads == floor(m * k * empty)


def test_a_stationary_target_waits_for_the_whole_tile_it_meets():
    """DRAM sends a weight tile once per input tile: it is saved only if that whole tile is empty."""
    m, k, n, inner_n, share = 4, 4, 8, 2, 0.5
    problem = dense(matmul((m, k, n)), DENSE, Hypergeometric(share), DENSE)
    case = one_buffer(problem, [(2, inner_n)])
    result = run(case, SparseOptimizations((saving("skipping", "dram", "A", "B"),)))
    words = k * n
    zeros = words - ceil(share * words)
    # The loop over m is the innermost at DRAM: while it runs, each weight meets the inner_n inputs of the buffer.
    empty = zeros / words * (zeros - 1) / (words - 1)
    stats = result.levels["dram"].dataspaces["A"]
    assert stats.skipped_reads == floor(stats.algorithmic_reads * empty)


def test_compute_gating_keeps_the_time_and_skips_nothing():
    share_a, share_b = 0.5, 0.25
    problem = dense(matmul((8, 8, 8)), FixedStructured(share_a), FixedStructured(share_b), DENSE)
    case = one_buffer(problem, [(0, 8), (1, 8), (2, 8)])
    result = run(case, SparseOptimizations(compute=(ComputeOptimization("mac", "gating"),)))
    assert result.computes.gated == floor(problem.macs * (1 - share_a * share_b))
    assert result.computes.actual == problem.macs - result.computes.gated
    assert result.compute_cycles == problem.macs
    assert any("compute_gated" in warning for warning in result.warnings)


def bitmask(dataspace: str, level: str = "dram") -> LevelSparsity:
    everything = ("M", "K", "N")
    return LevelSparsity(level, (), (TensorFormat(dataspace, (Rank("B", flattened_rank_ids=(everything,)),)),))


def test_a_bitmask_costs_one_bit_a_word_and_saves_the_zeros():
    m, k, n, share = 8, 8, 2, 0.5
    problem = dense(matmul((m, k, n)), FixedStructured(share), DENSE, DENSE)
    architecture, problem, mapping = one_buffer(problem, [])
    mapping = Mapping((dataclasses.replace(mapping.levels[0], keep=(False, True, True)), mapping.levels[1]))
    result = run((architecture, problem, mapping), SparseOptimizations((bitmask("A"),)))
    stats = result.levels["dram"].dataspaces["A"]
    assert stats.utilized_capacity == m * k * share
    assert stats.actual_reads == stats.algorithmic_reads * share
    table = sparse_table(architecture)
    dram = table.actions("dram")
    words = stats.algorithmic_reads
    width = architecture.storage[1].metadata_width_bits
    assert stats.energy_pJ == pytest.approx(words * share * dram["read"] + ceil(words / width) * dram["metadata_read"])


def test_more_loops_than_ranks_is_illegal():
    problem = dense(matmul((8, 8, 2)), FixedStructured(0.5), DENSE, DENSE)
    architecture, problem, mapping = one_buffer(problem, [(0, 4), (1, 4)])
    form = LevelSparsity("dram", (), (TensorFormat("A", (Rank("CP"),)),))
    result = evaluate(architecture, problem, mapping, sparse_table(architecture), SparseOptimizations((form,)))
    assert isinstance(result, Infeasible)
    assert (result.level, result.dataspace, result.unit) == ("dram", "A", "compression ranks")


def test_metadata_must_fit_its_storage():
    problem = dense(matmul((8, 8, 1)), FixedStructured(0.5), DENSE, DENSE)
    architecture, problem, mapping = one_buffer(problem, [(0, 8), (1, 8)])
    depth, width = 2, 16
    buffer = dataclasses.replace(
        architecture.storage[0], size_words=1000, metadata_depth=depth, metadata_width_bits=width
    )
    architecture = dataclasses.replace(architecture, storage=(buffer, architecture.storage[1]))
    sparse = SparseOptimizations((bitmask("A", "buffer"),))
    result = evaluate(architecture, problem, mapping, sparse_table(architecture), sparse)
    assert isinstance(result, Infeasible)
    assert (result.level, result.demand, result.capacity) == ("buffer", 8 * 8, depth * width)
    assert result.unit == "metadata bits"


def test_a_smaller_inner_saving_is_clamped_and_said():
    """Outputs saved on A further out and on B inside: the real program wraps around where B is denser than A."""
    problem = dense(matmul((4, 4, 4)), Hypergeometric(0.25), FixedStructured(0.75), DENSE)
    case = one_buffer(problem, [])
    further_out = 12 * 11 * 10 * 9 / (16 * 15 * 14 * 13)  # a column of four words of A, of which 12 in 16 are zero
    assert further_out > 1 - 0.75
    sparse = SparseOptimizations((saving("skipping", "dram", "Z", "A"), saving("skipping", "buffer", "Z", "B")))
    clean, compat = run(case, sparse), run(case, sparse, "compat")
    assert compat.levels["buffer"].dataspaces["Z"].skipped_updates > 1 << 63
    assert compat.warnings == ()
    (warning,) = clean.warnings
    assert "buffer: Z" in warning
    assert clean.levels["buffer"].dataspaces["Z"].skipped_updates == 0


def test_bad_input_names_what_is_wrong():
    case = one_buffer(dense(matmul((2, 2, 2)), DENSE, FixedStructured(0.5), DENSE), [])
    with pytest.raises(InputError, match="bufer"):
        run(case, SparseOptimizations((saving("gating", "bufer", "A", "B"),)))
    with pytest.raises(InputError, match="dataspace of the problem"):
        run(case, SparseOptimizations((saving("gating", "buffer", "A", "C"),)))
    with pytest.raises(InputError, match="being written"):
        run(case, SparseOptimizations((saving("gating", "buffer", "A", "Z"),)), "compat")
    with pytest.raises(InputError, match="being written"):
        run(case, SparseOptimizations(compute=(ComputeOptimization("mac", "gating", on="outputs"),)), "compat")
    with pytest.raises(InputError, match="the compute level"):
        run(case, SparseOptimizations(compute=(ComputeOptimization("macs", "gating"),)))
    with pytest.raises(InputError, match="dataspace of the problem"):
        run(case, SparseOptimizations((LevelSparsity("dram", (), (TensorFormat("C", (Rank("CP"),)),)),)))
    with pytest.raises(ValueError, match="semantics"):
        run(case, SparseOptimizations(), "dirty")
    up_side_down = TensorFormat("A", (Rank("CP"), Rank("UOP")))
    with pytest.raises(InputError, match="above an uncompressed"):
        run(case, SparseOptimizations((LevelSparsity("dram", (), (up_side_down,)),)))


def test_three_operands_are_not_modelled():
    problem = convolution((2, 2, 2, 2))
    mask = dataclasses.replace(problem.dataspaces[0], name="Mask")
    problem = Problem("masked", problem.dimensions, problem.bounds, (*problem.dataspaces, mask))
    architecture, _, mapping = one_buffer(convolution((2, 2, 2, 2)), [])
    mapping = Mapping(tuple(dataclasses.replace(row, keep=(True,) * 4) for row in mapping.levels))
    with pytest.raises(InputError, match="two read-only"):
        run((architecture, problem, mapping), SparseOptimizations((saving("gating", "buffer", "Weights", "Inputs"),)))
