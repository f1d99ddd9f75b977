"""Defended layers as work for a dual-module design: loop nests, selection, masks, against plain counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.spec.density import DENSE, Hypergeometric, StructuredNM
from codesign.errors import InputError
from codesign.models.layers import Layer, Operand
from codesign.workloads.dual_module import (
    Selection,
    dual_workload,
    expected_outputs,
    recorded_outputs,
    row_tiles,
    tile_counts,
    work_imbalance,
)


def conv(outputs: int = 16, inputs: int = 8, size: int = 6, groups: int = 1, stride: int = 1) -> Layer:
    bounds = (1, groups, outputs // groups, inputs // groups, size, size, 3, 3)
    return Layer(
        "conv",
        "conv",
        bounds,
        Operand((inputs, size * stride, size * stride)),
        Operand((outputs, inputs // groups, 3, 3), "conv.weight"),
        (outputs, size, size),
        stride=(stride, stride),
        padding=((1, 1), (1, 1)),
    )


def linear(vectors: int = 5, outputs: int = 12, inputs: int = 40) -> Layer:
    bounds = (vectors, 1, outputs, inputs, 1, 1, 1, 1)
    shape = (vectors, inputs)
    return Layer("fc", "linear", bounds, Operand(shape), Operand((outputs, inputs), "fc.weight"), (vectors, outputs))


TOP = Selection("top_k", 4)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_the_parts_of_a_convolution(groups: int) -> None:
    layer = conv(groups=groups, stride=2)
    d = 8 // groups * 9
    k = min(d, 32)
    work = dual_workload(layer, dimension=k, bits=4, selection=TOP, outputs=Hypergeometric(0.25))
    rounded = -(-k // 16) * 16
    assert work.exact.macs == layer.macs == 36 * 16 * d
    assert work.projection.macs == 36 * groups * rounded * d
    assert work.approximate.macs == 36 * 16 * rounded
    assert work.additions == pytest.approx(36 * groups * k * d / 3)
    assert work.projection.densities[0] == Hypergeometric(1 / 3)
    assert work.approximate.densities == (DENSE,) * 3
    assert (work.positions, work.neurons, work.share) == (36, 16 * 36, 0.25)
    assert work.parameter_bits == groups * k * (d * 2 + 16 // groups * 4)
    # What the projection makes is what the approximate product takes.
    sizes = [
        part.tensor_size(part.dataspace(name))
        for part, name in ((work.projection, "Outputs"), (work.approximate, "Inputs"))
    ]
    assert sizes[0] == sizes[1]


def test_a_linear_layer_selects_for_every_vector() -> None:
    work = dual_workload(linear(), dimension=16, bits=4, selection=TOP, outputs=DENSE)
    assert (work.positions, work.neurons) == (5, 60)
    assert work.projection.macs == 5 * 16 * 40
    assert [row_tiles(work.projection, count).bounds[0] for count in tile_counts(work.projection)] == [5, 1]


def test_tiles_are_rows_and_cover_the_layer() -> None:
    work = dual_workload(conv(), dimension=16, bits=4, selection=TOP, outputs=DENSE)
    for count in tile_counts(work.projection):
        assert count * row_tiles(work.projection, count).macs == work.projection.macs
    with pytest.raises(ValueError, match="must divide"):
        row_tiles(work.projection, 5)


def test_comparators() -> None:
    assert Selection("threshold").comparators(64) == 64
    assert Selection("top_k", 64).comparators(64) == 64  # everything is essential: nothing to sort
    # Two of four: finding the second largest takes the whole network of 5 but for its outermost exchanges.
    one = Selection("n_of_m", 2, 4).comparators(4)
    assert 4 + 3 <= one <= 4 + 5
    assert Selection("n_of_m", 2, 4).comparators(32) == 8 * one


@given(st.integers(1, 4), st.sampled_from([1, 2]), st.integers(0, 10**6))
def test_recorded_masks_keep_their_places(samples: int, groups: int, seed: int) -> None:
    layer = conv(outputs=4, inputs=4, size=3, groups=groups)
    mask = np.random.default_rng(seed).random((samples, *layer.outputs)) < 0.4
    mask[0, 0, 0, 0] = True
    data = recorded_outputs(layer, mask)
    assert np.array_equal(data.unpacked().reshape(mask.shape), mask)
    work = dual_workload(layer, dimension=9, bits=4, selection=TOP, outputs=data)
    assert work.share == pytest.approx(mask.mean())
    data.check_fit("Outputs", [1, groups, 4 // groups, 3, 3])


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="shape of its outputs"):
        recorded_outputs(conv(), np.ones((2, 16, 6, 5), dtype=bool))


def test_expected_densities() -> None:
    assert expected_outputs(conv(), TOP, 0.25) == StructuredNM(4, 16, 2)
    assert expected_outputs(conv(), Selection("n_of_m", 2, 4), 0.5) == StructuredNM(2, 4, 2)
    assert expected_outputs(conv(groups=8), TOP, 0.25) == Hypergeometric(0.25)
    assert expected_outputs(conv(), Selection("threshold"), 0.3) == Hypergeometric(0.3)
    assert expected_outputs(conv(), Selection("top_k", 16), 1.0) == DENSE


def test_what_has_no_approximation_is_refused() -> None:
    product = Layer("av", "matmul", (4, 1, 4, 4, 1, 1, 1, 1), Operand((1, 4, 4)), Operand((1, 4, 4)), (1, 4, 4))
    with pytest.raises(InputError, match="not modelled"):
        dual_workload(product, dimension=2, bits=4, selection=TOP, outputs=DENSE)
    with pytest.raises(InputError, match=r"1\.\.72"):
        dual_workload(conv(), dimension=73, bits=4, selection=TOP, outputs=DENSE)


def test_imbalance_of_a_mask() -> None:
    mask = np.zeros((1, 4, 2, 2), dtype=bool)
    mask[0, 0] = True  # one row of PEs does everything
    assert work_imbalance(mask, pe_rows=4, tiles=1) == 4
    assert work_imbalance(mask, pe_rows=1, tiles=2) == 1
    mask[:] = True
    assert work_imbalance(mask, pe_rows=4, tiles=2) == 1
    # Rows that are even over all positions, but not within a tile.
    mask[:] = False
    mask[0, 0, 0], mask[0, 1, 1] = True, True
    assert work_imbalance(mask, pe_rows=2, tiles=1) == 1
    assert work_imbalance(mask, pe_rows=2, tiles=2) == 2
    with pytest.raises(ValueError, match="essential"):
        work_imbalance(~mask & mask, pe_rows=2, tiles=1)
