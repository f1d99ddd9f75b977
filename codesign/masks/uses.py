"""How many multiply-accumulates each input element takes part in: with all weights, and with the nonzero ones only.

Both are arrays of integers in the shape of a layer's inputs. The multiply-accumulates of a sample whose operands are
nonzero are then one weighted sum over the sample's mask, exactly: no density is multiplied with another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codesign.models.layers import Layer

__all__ = ["input_uses"]

Counts = npt.NDArray[np.int64]


def input_uses(layer: Layer, weights: npt.NDArray[np.bool_]) -> Counts:
    """Uses of each input element by weights that are nonzero.

    Args:
        layer: one whose weights are the same for every sample.
        weights: nonzero mask of its weights, of shape ``layer.weights.shape``; all True counts every use.

    Returns:
        int64 of shape ``layer.inputs.shape``. Zero padding is no input element: its uses are not counted, but they are
        part of ``layer.macs``.
    """
    if layer.kind == "linear":
        return np.broadcast_to(weights.sum(axis=0, dtype=np.int64), layer.inputs.shape)
    if layer.kind == "matmul":
        return np.broadcast_to(weights.sum(axis=2, dtype=np.int64)[:, None, :], layer.inputs.shape)
    taps = _weights_per_tap(layer, weights)
    if layer.kind == "conv_transposed":
        counts = np.broadcast_to(taps.sum(axis=(1, 2))[:, None, None], (len(taps), *layer.bounds[4:6]))
    else:
        counts = _gathered(layer, taps)
    frames = np.broadcast_to(counts, (layer.bounds[0], *counts.shape))
    return frames.reshape(layer.inputs.shape)


def _weights_per_tap(layer: Layer, weights: npt.NDArray[np.bool_]) -> Counts:
    """(input channels of all groups, R, S): over how many output channels a tap has a nonzero weight."""
    _, groups, columns, channels, _, _, taps_r, taps_s = layer.bounds
    if layer.kind == "conv_transposed":  # (groups * channels, columns, R, S)
        scattered: Counts = weights.reshape(groups * channels, columns, taps_r, taps_s).sum(axis=1, dtype=np.int64)
        return scattered
    grouped: Counts = weights.reshape(groups, columns, channels, taps_r, taps_s).sum(axis=1, dtype=np.int64)
    return grouped.reshape(groups * channels, taps_r, taps_s)


def _gathered(layer: Layer, taps: Counts) -> Counts:
    """(input channels, H, W): the sum of ``taps`` over all windows that cover an element."""
    rows, columns = layer.bounds[4:6]
    (top, _), (left, _) = layer.padding
    spatial = (*layer.inputs.shape[len(layer.inputs.shape) - _spatial_rank(layer) :], 1)
    height, width = spatial[0], spatial[1]
    (step_r, step_s), (gap_r, gap_s) = layer.stride, layer.dilation
    reach_r = max(top + height, (rows - 1) * step_r + (taps.shape[1] - 1) * gap_r + 1)
    reach_s = max(left + width, (columns - 1) * step_s + (taps.shape[2] - 1) * gap_s + 1)
    padded = np.zeros((len(taps), reach_r, reach_s), dtype=np.int64)
    for r in range(taps.shape[1]):
        for s in range(taps.shape[2]):
            first_r, first_s = r * gap_r, s * gap_s
            window = padded[:, first_r : first_r + (rows - 1) * step_r + 1 : step_r]
            window[:, :, first_s : first_s + (columns - 1) * step_s + 1 : step_s] += taps[:, r, s, None, None]
    return padded[:, top : top + height, left : left + width]


def _spatial_rank(layer: Layer) -> int:
    return len(layer.weights.shape) - 2
