"""Density models against combinatorics, explicit matrices and sampled limits."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import ceil, comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_cases import convolution, matmul
from scipy import stats

from codesign.accelerator.model.density_models import density_models
from codesign.accelerator.model.hypergeometric import (
    empty_probabilities,
    empty_probability,
    occupancy_probabilities,
)
from codesign.accelerator.spec.density import DENSE, Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError


def with_density(problem: Problem, *densities) -> Problem:
    return Problem(problem.name, problem.dimensions, problem.bounds, problem.dataspaces, densities)


def model(size: int, density, *, compat: bool = False):
    """Density model of a vector-like tensor: the A operand of a matrix product with one column."""
    return density_models(with_density(matmul((size, 1, 1)), density, DENSE, DENSE), compat=compat)[0]


@given(st.integers(1, 60), st.data())
def test_occupancies_are_binomial_ratios(population, data):
    nonzeros = data.draw(st.integers(0, population))
    tile = data.draw(st.integers(1, population))
    first, probabilities = occupancy_probabilities(population, nonzeros, tile)
    exact = {
        k: Fraction(comb(nonzeros, k) * comb(population - nonzeros, tile - k), comb(population, tile))
        for k in range(max(0, tile - population + nonzeros), min(tile, nonzeros) + 1)
    }
    assert {first + i: p for i, p in enumerate(probabilities)} == {k: float(p) for k, p in exact.items()}
    assert empty_probability(population, nonzeros, tile) == pytest.approx(float(exact.get(0, 0)), rel=1e-15)


def test_occupancies_of_a_large_tile_agree_with_scipy():
    population, nonzeros, tile = 4_000_000, 1_300_000, 1_000_000
    first, probabilities = occupancy_probabilities(population, nonzeros, tile)
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)
    counts = np.arange(first, first + len(probabilities))
    assert (counts * np.array(probabilities)).sum() == pytest.approx(tile * nonzeros / population, rel=1e-12)
    middle = slice(len(counts) // 2 - 1000, len(counts) // 2 + 1000)
    want = stats.hypergeom(population, nonzeros, tile).pmf(counts[middle])
    np.testing.assert_allclose(np.array(probabilities)[middle], want, rtol=1e-6)


@given(st.integers(2, 80), st.data())
def test_empty_probabilities_in_a_row(population, data):
    tile = data.draw(st.integers(1, population))
    first = data.draw(st.integers(0, population - 1))
    count = data.draw(st.integers(1, population - first))
    got = empty_probabilities(population, first, count, tile)
    want = [float(Fraction(comb(population - k, tile), comb(population, tile))) for k in range(first, first + count)]
    assert got == pytest.approx(want, rel=1e-14)


def test_a_product_of_very_many_factors_is_integrated():
    # 200,000 nonzeros among 10^9 words; a tile of 150,000 misses them all with about exp(-30).
    exact = stats.hypergeom(10**9, 200_000, 150_000).logpmf(0)
    assert np.log(empty_probability(10**9, 200_000, 150_000)) == pytest.approx(exact, rel=1e-6)


def test_a_distribution_too_wide_to_enumerate_is_refused():
    with pytest.raises(InputError, match="not modelled"):
        occupancy_probabilities(10**24, 5 * 10**23, 10**23)


@given(st.integers(1, 200), st.floats(0, 1))
def test_fixed_structured_has_the_two_integers_around_the_expectation(tile, density):
    fixed = model(tile, FixedStructured(density))
    occupancies = fixed.occupancies((tile, 1))
    expected = sum(k * p for k, p in zip(*occupancies, strict=True))
    assert expected == pytest.approx(tile * density)
    assert sum(occupancies.probabilities) == pytest.approx(1)
    assert max(occupancies.counts) == fixed.most((tile, 1)) == ceil(tile * density)
    assert fixed.empty((tile, 1)) == pytest.approx(max(0, 1 - tile * density))


def test_hypergeometric_tiles_against_all_arrangements():
    size, nonzeros, tile = 7, 3, 4
    arrangements = list(combinations(range(size), nonzeros))
    inside = [sum(place < tile for place in arrangement) for arrangement in arrangements]
    hyper = model(size, Hypergeometric(nonzeros / size))
    for count, probability in zip(*hyper.occupancies((tile, 1)), strict=True):
        assert probability == pytest.approx(inside.count(count) / len(arrangements))
    assert hyper.least((tile, 1)) == min(inside)
    assert hyper.most((tile, 1)) == max(inside)


@settings(max_examples=60)
@given(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 15))
def test_band_against_the_matrix(rows, columns, width):
    size = 16
    matrix = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= width
    banded = density_models(with_density(matmul((size, size, 1)), Banded(width), DENSE, DENSE), compat=False)[0]
    assert banded.density == pytest.approx(matrix.mean())
    tiles = matrix.reshape(size // rows, rows, size // columns, columns).sum(axis=(1, 3))
    values, positions = np.unique(tiles, return_counts=True)
    occupancies = banded.occupancies((rows, columns))
    assert list(occupancies.counts) == list(values)
    assert list(occupancies.probabilities) == pytest.approx(list(positions / tiles.size))
    assert banded.empty((rows, columns)) == pytest.approx((tiles == 0).mean())
    assert (banded.least((rows, columns)), banded.most((rows, columns))) == (tiles.min(), tiles.max())


@given(st.sampled_from([1, 2, 4]), st.integers(0, 16))
def test_band_as_the_real_program_samples_it(tile, width):
    """Exact for square tiles as long as the rows at the top and at the bottom do not meet; else more than certain."""
    size = 16
    problem = with_density(matmul((size, size, 1)), Banded(width), DENSE, DENSE)
    exact, sampled = (density_models(problem, compat=compat)[0].occupancies((tile, tile)) for compat in (False, True))
    groups, warm = size // tile, ceil(width / tile)
    if 2 * warm <= groups or warm >= groups:
        assert dict(zip(*sampled, strict=True)) == pytest.approx(dict(zip(*exact, strict=True)))
    else:
        assert sum(sampled.probabilities) > 1


def test_a_band_needs_a_square_matrix():
    with pytest.raises(InputError, match="square"):
        density_models(with_density(matmul((4, 8, 2)), Banded(1), DENSE, DENSE), compat=False)
    with pytest.raises(InputError, match="square"):
        density_models(with_density(convolution((2, 2, 2, 2)), Banded(1), DENSE, DENSE), compat=False)


def test_the_real_programs_wrapped_minimum_is_only_in_compat_mode():
    """8 words, 6 nonzeros: a tile of 5 holds at least 3; the real program takes 0 for it."""
    assert model(8, Hypergeometric(6 / 8)).least((5, 1)) == 3
    assert model(8, Hypergeometric(6 / 8), compat=True).least((5, 1)) == 0
    size = 49  # 1 / 49 * 49 < 1 in doubles: no occupancy is left
    assert 1 / size * size < 1
    assert model(50, Hypergeometric(1.0), compat=True).occupancies((size, 1)).counts == ()
    assert list(model(50, Hypergeometric(1.0)).occupancies((size, 1)).counts) == [size]
