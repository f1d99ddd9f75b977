"""Tile occupancies of real masks against looking at every tile, sliding windows and padding included."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_cases import convolution, divisors

from codesign.accelerator.model.actual_data import actual_tiles
from codesign.accelerator.spec.actual_data import ActualData
from codesign.errors import InputError


@st.composite
def boxed(draw):
    problem = convolution([draw(st.integers(1, 6)) for _ in range(4)], draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    return problem, [draw(st.sampled_from(divisors(bound))) for bound in problem.bounds]


@settings(max_examples=150, deadline=None)
@given(boxed(), st.integers(0, 2), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_every_tile_of_the_nest_is_counted(case, index, samples, seed):
    problem, box = case
    dataspace = problem.dataspaces[index]
    whole = dataspace.tile([0] * 4, [bound - 1 for bound in problem.bounds])
    mask = np.random.default_rng(seed).random((samples, *(high - low for low, high in whole))) < 0.4
    found = actual_tiles(ActualData.of(mask, varies=True), problem, dataspace, box)
    counts: Counter = Counter()
    used = [d in dataspace.dimensions for d in range(4)]
    steps = [range(0, b, e) if u else (0,) for b, e, u in zip(problem.bounds, box, used, strict=True)]
    for start in product(*steps):
        tile = dataspace.tile(start, [s + e - 1 for s, e in zip(start, box, strict=True)])
        part = mask[(slice(None), *(slice(low, high) for low, high in tile))]
        counts.update(part.reshape(samples, -1).sum(axis=1).tolist())
    assert list(found.counts) == sorted(counts)
    assert found.probabilities == pytest.approx([counts[k] / counts.total() for k in found.counts])
    assert prod(high - low for low, high in whole) * samples == mask.size


def test_padding_and_order_of_axes_place_the_mask():
    problem = convolution((2, 1, 4, 3))  # Inputs: 2 channels, 6 wide
    rng = np.random.default_rng(0)
    inner = rng.random((5, 4, 2)) < 0.5  # samples, width, channels
    placed = np.zeros((5, 2, 6), bool)
    placed[:, :, 1:5] = inner.transpose(0, 2, 1)
    padded = ActualData.of(inner, varies=True, ranks=(1, 0), padding=((0, 0), (1, 1)))
    plain = ActualData.of(placed, varies=True)
    inputs = problem.dataspaces[1]
    for box in ([1, 1, 1, 1], [2, 1, 2, 3], [2, 1, 4, 3]):
        assert actual_tiles(padded, problem, inputs, box) == actual_tiles(plain, problem, inputs, box)
    wide = rng.random((5, 2, 9)) < 0.5
    cropped = ActualData.of(wide, varies=True, padding=((0, 0), (-2, -1)))
    same = ActualData.of(wide[:, :, 2:8], varies=True)
    assert actual_tiles(cropped, problem, inputs, [2, 1, 2, 3]) == actual_tiles(same, problem, inputs, [2, 1, 2, 3])


def test_masks_are_compared_by_content():
    bits = np.random.default_rng(0).random((3, 4)) < 0.5
    one, two = ActualData.of(bits, varies=False), ActualData.of(bits.astype(float) * 7, varies=False)
    assert one == two
    assert hash(one) == hash(two)
    assert one != ActualData.of(~bits, varies=False)
    assert one != ActualData.of(bits, varies=True)
    assert one.sha256[:16] in repr(one)


def test_a_mask_that_does_not_fit_names_both_shapes():
    data = ActualData.of(np.ones((3, 4), bool), varies=False)
    data.check_fit("Weights", (3, 4))
    with pytest.raises(InputError, match=r"Weights.*\[4, 3\].*\[3, 4\]"):
        data.check_fit("Weights", (4, 3))
    with pytest.raises(InputError, match="more axes"):
        data.check_fit("Weights", (3,))
    with pytest.raises(InputError, match="NaN"):
        ActualData.of(np.array([1.0, np.nan]), varies=False)
    with pytest.raises(InputError, match="empty"):
        ActualData.of(np.zeros((0, 4)), varies=True)
    with pytest.raises(ValueError, match="one rank an axis"):
        ActualData.of(np.ones((3, 4)), varies=False, ranks=(0, 0))
