"""Ranks of compressed layouts and their metadata, against matrices with all arrangements of the nonzeros."""

from __future__ import annotations

from itertools import combinations, product
from math import ceil

import pytest
from nest_cases import matmul

from codesign.accelerator.model.density_models import density_models
from codesign.accelerator.model.formats import RanksExceededError, layout_of, uncompressed
from codesign.accelerator.model.metadata import tile_metadata
from codesign.accelerator.model.saf import CompleteLoop
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import Rank, TensorFormat
from codesign.errors import InputError

ROWS, COLUMNS, NONZEROS = 3, 4, 4
DRAM = Storage("dram", "DRAM", metadata_width_bits=32, metadata_word_bits=5)
M, K, N = range(3)


def problem() -> Problem:
    plain = matmul((ROWS, COLUMNS, 2))
    density = Hypergeometric(NONZEROS / (ROWS * COLUMNS))
    return Problem(plain.name, plain.dimensions, plain.bounds, plain.dataspaces, (density, DENSE, DENSE))


def loops(*pairs: tuple[int, int]) -> list[CompleteLoop]:
    """Temporal loops (dimension, bound), innermost first."""
    return [CompleteLoop(d, bound, False) for d, bound in pairs]


def layout(ranks, own, *, inner=(), child=None, outer_to_inner=True, storage=DRAM):
    case = problem()
    form = TensorFormat("A", tuple(ranks), outer_to_inner)
    return layout_of(form, storage, case, case.dataspaces[0], list(inner), own, child)


def units(form):
    case = problem()
    model = density_models(case, compat=False)[0]
    ranks = tile_metadata(form, case.dataspaces[0], model, ROWS * COLUMNS, [NONZEROS])
    return [(rank.metadata[0], rank.payload[0]) for rank in ranks]


def expected_filled_rows() -> float:
    cells = list(product(range(ROWS), range(COLUMNS)))
    arrangements = list(combinations(cells, NONZEROS))
    return sum(len({row for row, _ in places}) for places in arrangements) / len(arrangements)


BY_ROWS = loops((N, 2), (K, COLUMNS), (M, ROWS))  # the loop over n is no loop of A


def test_coordinates_of_rows_and_columns():
    """Offsets of the rows over coordinates of the columns (CSR): one offset a row and one more.

    Sparseloop charges every row that is not empty the average row's nonzeros, rounded up.
    """
    form = layout([Rank("UOP"), Rank("CP")], BY_ROWS)
    columns, rows = units(form)
    assert rows == (0.0, ROWS + 1)
    average_row = ceil(NONZEROS / ROWS)
    assert columns == (pytest.approx(expected_filled_rows() * average_row), 0.0)


def test_run_lengths_of_one_flattened_rank_count_the_nonzeros():
    form = layout([Rank("RLE", flattened_rank_ids=(("M", "K"),))], BY_ROWS)
    assert units(form) == [(pytest.approx(NONZEROS), 0.0)]


def test_run_lengths_below_another_rank_are_discounted_twice():
    """Sparseloop multiplies the rows that are not empty by the average row, in which the empty ones count too: less
    than the true number of nonzeros. Kept, as there is no wrap or crash in it; the true number is NONZEROS."""
    form = layout([Rank("UOP"), Rank("RLE")], BY_ROWS)
    columns, _ = units(form)
    assert columns[0] == pytest.approx(NONZEROS * expected_filled_rows() / ROWS)


def test_compressed_rows_hold_only_the_ones_that_are_not_empty():
    form = layout([Rank("RLE"), Rank("B")], BY_ROWS)
    columns, rows = units(form)
    assert rows == (pytest.approx(expected_filled_rows()),) * 2
    # The bitmask below is charged for all rows that the fibers above may have, less the share of empty ones.
    assert columns == (pytest.approx(expected_filled_rows() * COLUMNS), 0.0)


def test_a_flattened_bitmask_has_one_bit_a_word():
    form = layout([Rank("B", flattened_rank_ids=(("M", "K"),))], BY_ROWS)
    assert units(form) == [(ROWS * COLUMNS, 0.0)]
    assert form.ranks[0].metadata_bits == 1
    assert form.ranks[0].payload_bits == DRAM.metadata_word_bits


def test_word_bits_grow_until_they_divide_the_metadata_width():
    form = layout([Rank("CP", metadata_word_bits=5, flattened_rank_ids=(("M", "K"),))], BY_ROWS)
    assert form.ranks[0].metadata_bits == 8  # 5, 6, 7 do not divide 32
    with pytest.raises(InputError, match="width of 32"):
        layout([Rank("CP", metadata_word_bits=33, flattened_rank_ids=(("M", "K"),))], BY_ROWS)


@pytest.mark.parametrize("outer_to_inner", [True, False])
def test_every_rank_takes_one_loop(outer_to_inner):
    form = layout([Rank("UOP"), Rank("CP")], BY_ROWS, outer_to_inner=outer_to_inner)
    assert [rank.fiber for rank in form.ranks] == [COLUMNS, ROWS]


def test_spare_ranks_stay_empty_at_the_far_end():
    three = [Rank("UOP"), Rank("UOP"), Rank("CP")]
    assert [rank.fiber for rank in layout(three, BY_ROWS).ranks] == [1, COLUMNS, ROWS]
    assert [rank.fiber for rank in layout(three, BY_ROWS, outer_to_inner=False).ranks] == [COLUMNS, ROWS, 1]


def test_too_few_ranks():
    with pytest.raises(RanksExceededError):
        layout([Rank("CP")], BY_ROWS)


def test_inner_loops_are_folded_into_the_first_loop_of_their_dimension():
    form = layout([Rank("UOP"), Rank("CP")], loops((K, 2), (M, ROWS)), inner=loops((K, 2)))
    assert [rank.fiber for rank in form.ranks] == [COLUMNS, ROWS]


def test_the_lowest_ranks_of_a_compressed_level_are_those_of_its_child():
    case = problem()
    child = uncompressed(case.dataspaces[0], (1, COLUMNS, 1))
    inner = loops((K, COLUMNS))
    form = layout([Rank("UOP"), Rank("CP")], loops((M, ROWS)), inner=inner, child=child)
    assert [rank.fiber for rank in form.ranks] == [COLUMNS, ROWS]
    with pytest.raises(RanksExceededError):
        layout([Rank("CP")], loops((M, ROWS)), inner=inner, child=child)
    packed = layout([Rank("B")], inner)
    with pytest.raises(InputError, match="lowest ranks"):
        layout([Rank("UOP"), Rank("CP")], loops((M, ROWS)), inner=inner, child=packed)
