"""Problems against loops that really run: multiply-accumulates, tensor sizes, and what identical layers share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.spec.density import DENSE, Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.problem import Problem
from codesign.models.layers import Layer, LayerKind, Operand
from codesign.workloads.lowering import DIMENSIONS, problem, shape_key

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def layer(
    bounds: dict[str, int],
    kind: LayerKind = "conv",
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    parameter: str | None = "weight",
) -> Layer:
    sizes = tuple(bounds.get(name, 1) for name in DIMENSIONS)
    n, g, m, c, p, q, r, s = sizes
    return Layer(
        "layer", kind, (n, g, m, c, p, q, r, s), Operand((g * c, p, q)), Operand((g * m, c, r, s), parameter),
        (g * m, p, q), stride, dilation,
    )  # fmt: skip


def points(given_problem: Problem) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Coordinates of every dataspace at every iteration."""
    for index in product(*(range(bound) for bound in given_problem.bounds)):
        yield tuple(
            tuple(sum(term.coefficient * index[term.dimension] for term in rank) for rank in dataspace.ranks)
            for dataspace in given_problem.dataspaces
        )


def convolution(
    shape: dict[str, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Weight, input and output elements of a grouped convolution as a textbook writes it, N G M C P Q R S."""
    for n, g, m, c, p, q, r, s in product(*(range(shape.get(name, 1)) for name in DIMENSIONS)):
        row, column = p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1]
        yield (g, c, m, r, s), (n, g, c, row, column), (n, g, m, p, q)


SHAPES = st.fixed_dictionaries({name: st.integers(1, 3) for name in "GMCPQRS"})


@given(SHAPES, PAIR, PAIR)
def test_a_convolution_touches_the_elements_of_the_textbook_loop(shape, stride, dilation):
    lowered = problem(layer(shape, stride=stride, dilation=dilation))
    assert list(points(lowered)) == list(convolution(shape, stride, dilation))
    assert lowered.macs == sum(1 for _ in convolution(shape, stride, dilation))


@given(SHAPES, PAIR, PAIR)
def test_tensor_sizes_are_the_extents_of_what_is_touched(shape, stride, dilation):
    lowered = problem(layer(shape, stride=stride, dilation=dilation))
    for index, dataspace in enumerate(lowered.dataspaces):
        touched = [point[index] for point in points(lowered)]
        box = prod(1 + max(axis) - min(axis) for axis in zip(*touched, strict=True))
        assert lowered.tensor_size(dataspace) == box


def test_the_input_extent_is_derived_from_the_output():
    lowered = problem(layer({"C": 3, "M": 8, "P": 112, "Q": 112, "R": 7, "S": 7}, stride=(2, 2)))
    rows = (7 - 1) * 1 + (112 - 1) * 2 + 1
    assert lowered.tensor_size(lowered.dataspace("Inputs")) == 3 * rows * rows
    assert rows == 224 + 3 + 2  # padded by 3 and 3; the kernel never reaches the last row


@given(SHAPES, PAIR, PAIR)
def test_a_transposed_convolution_scatters_every_input_pixel(shape, stride, dilation):
    lowered = problem(layer(shape, "conv_transposed", stride, dilation))
    expected = []
    for n, g, m, c, p, q, r, s in product(*(range(shape.get(name, 1)) for name in DIMENSIONS)):
        row, column = p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1]
        expected.append(((g, c, m, r, s), (n, g, c, p, q), (n, g, m, row, column)))
    assert list(points(lowered)) == expected
    extent = (shape["R"] - 1) * dilation[0] + (shape["P"] - 1) * stride[0] + 1
    columns = (shape["S"] - 1) * dilation[1] + (shape["Q"] - 1) * stride[1] + 1
    assert lowered.tensor_size(lowered.dataspace("Outputs")) == shape["G"] * shape["M"] * extent * columns


def test_dataspaces_come_in_timeloops_order_and_only_the_outputs_are_written():
    lowered = problem(layer({"M": 2}))
    assert [(d.name, d.read_write) for d in lowered.dataspaces] == [
        ("Weights", False), ("Inputs", False), ("Outputs", True),
    ]  # fmt: skip
    assert lowered.dimensions == ("N", "G", "M", "C", "P", "Q", "R", "S")


def test_attention_scores_of_vit_b16():
    lowered = problem(layer({"G": 8 * 12, "N": 197, "C": 64, "M": 197}, "matmul", parameter=None))
    assert lowered.macs == 8 * 12 * 197 * 64 * 197
    sizes = [lowered.tensor_size(dataspace) for dataspace in lowered.dataspaces]
    assert sizes == [96 * 64 * 197, 96 * 197 * 64, 96 * 197 * 197]


def test_a_linear_layer_over_tokens_reads_its_weights_once():
    lowered = problem(layer({"N": 197, "C": 768, "M": 3072}, "linear"), batch=8)
    sizes = [lowered.tensor_size(dataspace) for dataspace in lowered.dataspaces]
    assert sizes == [768 * 3072, 8 * 197 * 768, 8 * 197 * 3072]


@pytest.mark.parametrize(
    ("kind", "parameter", "grown"),
    [("conv", "weight", "N"), ("linear", "weight", "N"), ("matmul", None, "G"), ("matmul", "weight", "N")],
)
def test_a_batch_shares_weights_but_not_activations(kind, parameter, grown):
    single = layer({"N": 5, "G": 3, "C": 4, "M": 2}, kind, parameter=parameter)
    one, many = problem(single), problem(single, batch=7)
    ratios = {name: many.bounds[i] // one.bounds[i] for i, name in enumerate(DIMENSIONS)}
    assert ratios == {name: 7 if name == grown else 1 for name in DIMENSIONS}


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_without_samples_is_refused(batch):
    with pytest.raises(ValueError, match="batch must be at least 1"):
        problem(layer({"M": 2}), batch=batch)


def test_measured_densities_become_hypergeometric_and_models_pass_through():
    lowered = problem(layer({"M": 2}), input_density=0.4, weight_density=FixedStructured(0.5))
    assert lowered.densities == (FixedStructured(0.5), Hypergeometric(0.4), DENSE)
    assert problem(layer({"M": 2}), weight_density=Banded(1)).densities[0] == Banded(1)
    assert problem(layer({"M": 2}), input_density=1.0, weight_density=1).densities == (DENSE,) * 3
    assert problem(layer({"M": 2}), input_density=0).densities[1] == Hypergeometric(0.0)


@pytest.mark.parametrize("density", [-0.1, 1.5])
def test_a_density_outside_0_to_1_is_refused(density):
    with pytest.raises(ValueError, match=r"density must be in \[0, 1\]"):
        problem(layer({"M": 2}), input_density=density)


def test_identical_layers_share_a_key_whatever_their_name():
    one = layer({"M": 8, "C": 4, "P": 6, "R": 3})
    assert shape_key(problem(one)) == shape_key(problem(replace(one, name="other", module="block")))


def test_a_coefficient_of_a_single_iteration_does_not_matter():
    pointwise = layer({"M": 8, "C": 4, "P": 6, "Q": 6}, stride=(2, 2))
    assert shape_key(problem(pointwise)) == shape_key(problem(replace(pointwise, dilation=(3, 3))))
    one_pixel = layer({"M": 8, "R": 3, "S": 3}, stride=(2, 2))
    assert shape_key(problem(one_pixel)) == shape_key(problem(replace(one_pixel, stride=(1, 1))))


@pytest.mark.parametrize(
    "other",
    [
        layer({"M": 8, "C": 4, "P": 6, "Q": 7, "R": 3}),
        layer({"M": 8, "C": 4, "P": 7, "Q": 6, "R": 3}, stride=(2, 1)),
        layer({"M": 8, "C": 4, "P": 7, "Q": 6, "R": 3}, dilation=(2, 1)),
        layer({"M": 8, "C": 4, "P": 7, "Q": 6, "R": 3}, kind="conv_transposed"),
        layer({"M": 8, "C": 4, "P": 7, "Q": 6, "S": 3}),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(other):
    assert shape_key(problem(layer({"M": 8, "C": 4, "P": 7, "Q": 6, "R": 3}))) != shape_key(problem(other))


def test_densities_are_a_part_of_the_key_unless_only_the_nest_is_asked_for():
    dense, sparse = problem(layer({"M": 8})), problem(layer({"M": 8}), input_density=0.5)
    assert shape_key(dense) != shape_key(sparse)
    assert shape_key(dense, densities=False) == shape_key(sparse, densities=False)
    assert shape_key(sparse) != shape_key(problem(layer({"M": 8}), weight_density=0.5))
    assert shape_key(sparse) != shape_key(problem(layer({"M": 8}), input_density=FixedStructured(0.5)))
