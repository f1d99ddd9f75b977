"""Counts multiply-accumulates with nonzero operands by visiting every one of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from codesign.models.layers import Layer

Mask = npt.NDArray[np.bool_]


def count(layer: Layer, inputs: Mask, weights: Mask) -> tuple[int, int, int]:
    """(input nonzero, weight nonzero, both nonzero) of one sample. Padding is a zero input."""
    with_input = with_weight = with_both = 0
    for iteration in product(*(range(bound) for bound in layer.bounds)):
        i, w = _input(layer, inputs, iteration), _weight(layer, weights, iteration)
        with_input += i
        with_weight += w
        with_both += i and w
    return with_input, with_weight, with_both


def _weight(layer: Layer, weights: Mask, iteration: tuple[int, ...]) -> bool:
    _, g, m, c, _, _, r, s = iteration
    _, _, columns, channels = layer.bounds[:4]
    if layer.kind == "linear":
        return bool(weights[m, c])
    if layer.kind == "matmul":
        return bool(weights[g, c, m])
    taps = (r, s)[: weights.ndim - 2]
    if layer.kind == "conv_transposed":
        return bool(weights[(g * channels + c, m, *taps)])
    return bool(weights[(g * columns + m, c, *taps)])


def _input(layer: Layer, inputs: Mask, iteration: tuple[int, ...]) -> bool:
    n, g, _, c, p, q, r, s = iteration
    if layer.kind == "linear":
        return bool(inputs.reshape(-1, inputs.shape[-1])[n, c])
    if layer.kind == "matmul":
        return bool(inputs[g, n, c])
    channel = g * layer.bounds[3] + c
    if layer.kind == "conv_transposed":
        position = [p, q]
    else:
        position = [
            index * layer.stride[axis] + tap * layer.dilation[axis] - layer.padding[axis][0]
            for axis, (index, tap) in enumerate([(p, r), (q, s)])
        ]
    rank = len(layer.weights.shape) - 2
    spatial = inputs.shape[-rank:]
    if not all(0 <= at < size for at, size in zip(position, spatial, strict=False)):
        return False
    return bool(inputs.reshape(-1, layer.bounds[1] * layer.bounds[3], *spatial)[(n, channel, *position[:rank])])
