"""Recorded masks of a layer as the actual data of its problem (see ``lowering`` for the projections)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import Density
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from codesign.masks.format import InputKind, MaskOperand
from codesign.masks.reading import MaskSet, MaskTensor
from codesign.models.layers import Layer
from codesign.workloads.lowering import problem

__all__ = ["input_data", "masked_problem"]

_Bits = npt.NDArray[np.bool_]
_Pads = tuple[tuple[int, int], ...]


def masked_problem(layer: Layer, masks: MaskSet, *, input_kind: InputKind, samples: int | None = None) -> Problem:
    """The problem of one sample whose Weights, Inputs and, where there is one, Outputs have the recorded masks.

    Args:
        layer: as it was traced when the masks were recorded.
        masks: with ``inputs`` and ``weights`` of the layer; ``outputs`` says which outputs are computed.
        samples: use the first so many; all if None.

    Raises:
        InputError: a mask is missing or damaged, or does not have the traced shape.
    """
    base = problem(layer)
    _check_bounds(layer)
    weights = masks.tensor(layer.name, "weights", None if layer.weights.constant else input_kind)
    inputs = masks.tensor(layer.name, "inputs", input_kind)
    weights.require(layer.weights.shape)
    inputs.require(layer.inputs.shape)
    found: list[Density] = [
        _weight_data(layer, weights, samples),
        _data(layer, inputs, samples, _inputs, _input_padding(layer)),
        base.densities[2],
    ]
    operand: MaskOperand = "outputs"
    if masks.has(layer.name, operand, input_kind):
        outputs = masks.tensor(layer.name, operand, input_kind)
        outputs.require(layer.outputs)
        found[2] = _data(layer, outputs, samples, _outputs, _output_padding(layer))
    return replace(base, densities=tuple(found))


def _check_bounds(layer: Layer) -> None:
    _, g, m, c, _, _, r, s = layer.bounds
    words = g * m * c * r * s
    if words != prod(layer.weights.shape):
        raise InputError(
            "not modelled: masks of a layer whose loops were padded",
            got=f"{words} weights in its loops, {prod(layer.weights.shape)} in {layer.name}",
            key="density",
        )


def input_data(layer: Layer, bits: npt.NDArray[Any]) -> ActualData:
    """Nonzero inputs (samples, *layer.inputs.shape) as the actual data of the Inputs of the layer's problem."""
    return ActualData.of(_inputs(layer, bits), varies=True, padding=_input_padding(layer))


def _weight_data(layer: Layer, tensor: MaskTensor, samples: int | None) -> ActualData:
    bits = _weights(layer, tensor.read(0, samples))
    varies = tensor.entry.sample_axis == 0
    return ActualData.of(bits if varies else bits[0], varies=varies)


def _data(
    layer: Layer,
    tensor: MaskTensor,
    samples: int | None,
    arranged: Callable[[Layer, _Bits], _Bits],
    padding: _Pads,
) -> ActualData:
    varies = tensor.entry.sample_axis == 0
    if layer.kind == "matmul":
        bits = arranged(layer, tensor.read(0, samples))
        return ActualData.of(bits if varies else bits[0], varies=varies, padding=padding)
    # The order of the elements is that of the file: its bits are taken as they are, eight times smaller than unpacked.
    shape = arranged(layer, tensor.read(0, 1)).shape[1:]
    return ActualData(tensor.packed[:samples], shape, varies, tuple(range(len(shape))), padding)


def _weights(layer: Layer, bits: _Bits) -> _Bits:
    """(samples, G, C, M, R, S)."""
    _, g, m, c, _, _, r, s = layer.bounds
    if layer.kind == "linear":
        return bits.reshape(-1, 1, m, c, 1, 1).swapaxes(2, 3)
    if layer.kind == "conv":
        return bits.reshape(-1, g, m, c, r, s).swapaxes(2, 3)
    return bits.reshape(-1, g, c, m, r, s)


def _inputs(layer: Layer, bits: _Bits) -> _Bits:
    """(samples, N, G, C, rows, columns)."""
    n, g, _, c, *_ = layer.bounds
    if layer.kind == "matmul":
        return bits.reshape(-1, g, n, c, 1, 1).swapaxes(1, 2)
    if layer.kind == "linear":
        return bits.reshape(-1, n, 1, c, 1, 1)
    rows, columns = _size(layer, layer.inputs.shape)
    return bits.reshape(-1, n, g, c, rows, columns)


def _outputs(layer: Layer, bits: _Bits) -> _Bits:
    """(samples, N, G, M, rows, columns)."""
    n, g, m, *_ = layer.bounds
    if layer.kind == "matmul":
        return bits.reshape(-1, g, n, m, 1, 1).swapaxes(1, 2)
    if layer.kind == "linear":
        return bits.reshape(-1, n, 1, m, 1, 1)
    rows, columns = _size(layer, layer.outputs)
    return bits.reshape(-1, n, g, m, rows, columns)


def _size(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of an image; a sequence has one column."""
    spatial = shape[len(shape) - (len(layer.weights.shape) - 2) :]
    return spatial[0], spatial[1] if len(spatial) > 1 else 1


def _input_padding(layer: Layer) -> _Pads:
    return _around(layer, layer.inputs.shape) if layer.kind == "conv" else ()


def _output_padding(layer: Layer) -> _Pads:
    """A transposed convolution computes a border that its padding cuts off: no output is wanted there."""
    return _around(layer, layer.outputs) if layer.kind == "conv_transposed" else ()


def _around(layer: Layer, shape: tuple[int, ...]) -> _Pads:
    """Zeros around an image up to the extent of the sliding windows; negative where they do not reach its end."""
    found = []
    for axis, size in enumerate(_size(layer, shape)):
        steps, taps = layer.bounds[4 + axis], layer.bounds[6 + axis]
        extent = (steps - 1) * layer.stride[axis] + (taps - 1) * layer.dilation[axis] + 1
        before = layer.padding[axis][0]
        found.append((before, extent - before - size))
    return ((0, 0), (0, 0), (0, 0), *found)
