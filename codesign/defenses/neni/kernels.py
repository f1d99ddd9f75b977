"""Inner loops of an inference pass on a CPU: rounding, selection and putting the output together, each value read once.

PyTorch needs a dozen passes over memory for the same, which take as long as the cheap products themselves. Results are
those of ``quantization``, ``selection`` and ``gradients.combine``, bit for bit (but for the sign of a zero code).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.accelerator.mapper.compiled import compiled
from codesign.defenses.neni.networks import comparators

__all__ = ["Pairs", "merge_above", "merge_largest", "network_of", "round_samples"]

_Floats = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.int64]

_MAGNITUDE = np.int32(0x7FFFFFFF)
_ROUNDER = np.float32(12582912.0)
"""1.5 * 2^23: a float32 of magnitude below 2^22 plus and minus it is rounded to the nearest even integer."""
_BLOCK = 16384
"""Values of all channels that are selected from at a time: they stay in the cache, and each channel's are in a row."""


@compiled
def round_samples(values: _Floats, limit: np.float32, floor: np.float32, scales: _Floats) -> None:
    """Integer codes of each row, in place, and the scale of each: its largest magnitude over ``limit``.

    Args:
        values: (samples, values of a sample).
        limit: the largest code, below 2^22.
        floor: the smallest magnitude that a scale is made of.
        scales: (samples,), written.
    """
    samples, count = values.shape
    bits = values.view(np.int32)
    for i in range(samples):
        top = np.int32(0)
        for j in range(count):  # magnitudes of floats are ordered as their bits are
            top = max(top, bits[i, j] & _MAGNITUDE)
        bits_of_top = np.array([top], np.int32)
        scale = max(bits_of_top.view(np.float32)[0], floor) / limit
        scales[i] = scale
        factor = np.float32(1) / scale
        for j in range(count):
            values[i, j] = (values[i, j] * factor + _ROUNDER) - _ROUNDER


@lru_cache(maxsize=256)
def network_of(size: int, kept: int) -> Pairs:
    """The comparators that find the value of rank ``kept`` and the one below it (``kept`` < ``size``)."""
    return np.array(comparators(size, (size - kept - 1, size - kept)), np.int64).reshape(-1, 2)


@compiled
def merge_largest(
    mixed: _Floats, gains: _Floats, offsets: _Floats, exact: _Floats, pairs: Pairs, size: int, kept: int
) -> bool:
    """z' in the place of ``exact``: it stays where z~ = ``mixed * gain + offset`` is among the ``kept`` largest.

    Args:
        mixed, exact: (samples, channels, positions).
        gains: (samples,); offsets: (channels,).
        pairs: from ``network_of``.
        size: consecutive channels of a group.
        kept: of each group, less than ``size``; of equal values the first.

    Returns:
        False if a value is NaN, which has no rank: ``exact`` is spoilt then.
    """
    samples, channels, positions = mixed.shape
    width = min(positions, max(64, _BLOCK // channels))
    scores = np.empty((channels, width), np.float32)
    sorting = np.zeros((size, width), np.float32)
    last, after = size - kept, size - kept - 1
    for i in range(samples):
        for start in range(0, positions, width):
            count = min(width, positions - start)
            odd = 0
            for c in range(channels):
                gain, offset = gains[i], offsets[c]
                for j in range(count):
                    value = mixed[i, c, start + j] * gain
                    value = value + offset
                    scores[c, j] = value
                    odd += value != value
            if odd:
                return False
            for base in range(0, channels, size):
                sorting[:, :count] = scores[base : base + size, :count]
                for number in range(len(pairs)):
                    low, high = pairs[number]
                    for j in range(count):
                        first, second = sorting[low, j], sorting[high, j]
                        sorting[low, j] = first if first < second else second
                        sorting[high, j] = second if first < second else first
                ties = 0
                for j in range(count):
                    ties += sorting[last, j] == sorting[after, j]
                for c in range(base, base + size):
                    for j in range(count):
                        value = scores[c, j]
                        own = exact[i, c, start + j]
                        exact[i, c, start + j] = own if value >= sorting[last, j] else value
                if ties:
                    for j in range(count):
                        edge = sorting[last, j]
                        if edge == sorting[after, j]:
                            places = kept
                            for c in range(base, base + size):
                                places -= scores[c, j] > edge
                            for c in range(base, base + size):
                                if scores[c, j] == edge:
                                    if places <= 0:
                                        exact[i, c, start + j] = scores[c, j]
                                    places -= 1
    return True


@compiled
def merge_above(mixed: _Floats, gains: _Floats, offsets: _Floats, exact: _Floats, threshold: np.float32) -> bool:
    """z' in the place of ``exact``: it stays where ``mixed * gain + offset`` is above the threshold.

    Always True: a NaN is not above it, here as in PyTorch.

    Args:
        mixed, exact: (samples, channels, positions).
        gains: (samples,); offsets: (channels,).
    """
    samples, channels, positions = mixed.shape
    for i in range(samples):
        for c in range(channels):
            gain, offset = gains[i], offsets[c]
            for j in range(positions):
                value = mixed[i, c, j] * gain
                value = value + offset
                own = exact[i, c, j]
                exact[i, c, j] = own if value > threshold else value
    return True
