"""Executes a traced layer as the loop nest that its fields describe, one multiply-accumulate at a time.

If the result is the operator's own, the bounds, stride, dilation, padding and groups are right, and so is the count.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from torch import Tensor

from codesign.models.execution import run
from codesign.models.layers import Layer
from codesign.models.tracing import GraphTrace, Site

Values = npt.NDArray[np.float64]


def operands(graph: GraphTrace, images: Tensor) -> tuple[list[Tensor], list[tuple[Site, Tensor, Tensor]]]:
    """The model's outputs and, for every layer, its inputs and weights."""
    seen: list[tuple[Site, Tensor, Tensor]] = []

    def visit(site: Site, inputs: Tensor, weights: Tensor) -> None:
        seen.append((site, inputs.clone(), weights.clone()))

    return run(graph, images, visit), seen


def execute(layer: Layer, inputs: Values, weights: Values) -> tuple[Values, int]:
    """(outputs of one sample, multiply-accumulates counted one by one)."""
    if layer.kind == "linear":
        return _linear(layer, inputs, weights)
    if layer.kind == "matmul":
        return _matmul(layer, inputs, weights)
    return _convolution(layer, inputs, weights)


def _linear(layer: Layer, inputs: Values, weights: Values) -> tuple[Values, int]:
    n_bound, _, m_bound, c_bound = layer.bounds[:4]
    vectors, outputs, macs = inputs.reshape(-1, inputs.shape[-1]), np.zeros((n_bound, m_bound)), 0
    for n, m, c in product(range(n_bound), range(m_bound), range(c_bound)):
        outputs[n, m] += vectors[n, c] * weights[m, c]
        macs += 1
    return outputs.reshape(layer.outputs), macs


def _matmul(layer: Layer, inputs: Values, weights: Values) -> tuple[Values, int]:
    n_bound, g_bound, m_bound, c_bound = layer.bounds[:4]
    outputs, macs = np.zeros((g_bound, n_bound, m_bound)), 0
    for g, n, m, c in product(range(g_bound), range(n_bound), range(m_bound), range(c_bound)):
        outputs[g, n, m] += inputs[g, n, c] * weights[g, c, m]
        macs += 1
    return outputs.reshape(layer.outputs), macs


def _convolution(layer: Layer, inputs: Values, weights: Values) -> tuple[Values, int]:
    frames, groups, columns, channels, rows, cols, taps_r, taps_s = layer.bounds
    if len(layer.weights.shape) == 3:  # 1-D: one column
        inputs, weights = inputs[..., None], weights[..., None]
    spatial = layer.outputs[len(layer.outputs) - (len(layer.weights.shape) - 2) :]
    out_rows, out_cols = (*spatial, 1)[:2]
    inputs = inputs.reshape(frames, groups * channels, *inputs.shape[-2:])
    outputs, macs = np.zeros((frames, groups * columns, out_rows, out_cols)), 0
    (top, _), (left, _) = layer.padding
    transposed = layer.kind == "conv_transposed"
    loops = (frames, groups, columns, channels, rows, cols, taps_r, taps_s)
    for n, g, m, c, p, q, r, s in product(*(range(bound) for bound in loops)):
        macs += 1
        i = p * layer.stride[0] + r * layer.dilation[0] - top
        j = q * layer.stride[1] + s * layer.dilation[1] - left
        here, there = (g * channels + c, g * columns + m)
        if transposed:
            if 0 <= i < out_rows and 0 <= j < out_cols:
                outputs[n, there, i, j] += inputs[n, here, p, q] * weights[here, m, r, s]
        elif 0 <= i < inputs.shape[2] and 0 <= j < inputs.shape[3]:
            outputs[n, there, p, q] += inputs[n, here, i, j] * weights[there, c, r, s]
    return outputs.reshape(layer.outputs), macs
