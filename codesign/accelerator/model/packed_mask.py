"""Masks with 64 samples in a word: tiles of all samples are or-ed together at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.events import Digit
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["SAMPLES", "Words", "indicator", "placed", "placed_bits", "unpacked"]

SAMPLES = 64
"""Samples in a word."""

Words = npt.NDArray[np.uint64]


def placed_bits(data: ActualData, extents: Sequence[int], start: int, stop: int) -> npt.NDArray[np.bool_]:
    """Samples of a mask in the coordinates of its tensor, padding included: (samples, *extents)."""
    bits = data.unpacked(start, stop)
    order = np.argsort(data.ranks)
    bits = bits.transpose(0, *(1 + order))
    missing = [1 + rank for rank in range(len(extents)) if rank not in data.ranks]
    bits = np.expand_dims(bits, missing) if missing else bits
    if data.padding:
        bits = bits[
            (
                slice(None),
                *(
                    slice(max(0, -low), bits.shape[1 + rank] - max(0, -high) or None)
                    for rank, (low, high) in enumerate(data.padding)
                ),
            )
        ]
        bits = np.pad(bits, [(0, 0), *((max(0, low), max(0, high)) for low, high in data.padding)])
    return bits


@lru_cache(maxsize=6)  # the tensors of a layer or two: a large one takes some 100 MB
def placed(data: ActualData, extents: tuple[int, ...]) -> Words:
    """A mask in the coordinates of its tensor: (blocks of 64 samples, *extents), sample i of a block in bit i.

    A mask that does not vary has one block of words with all bits equal. Samples beyond the last are zero.
    """
    if not data.varies:
        bits = placed_bits(data, extents, 0, 1)
        return np.where(bits, np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0))
    blocks = -(-data.samples // SAMPLES)
    words = np.zeros((blocks, *extents), np.uint64)
    for block in range(blocks):
        bits = placed_bits(data, extents, block * SAMPLES, (block + 1) * SAMPLES)
        flat = bits.reshape(len(bits), -1)
        columns = np.zeros((flat.shape[1], SAMPLES // 8), np.uint8)
        packed = np.packbits(flat, axis=0, bitorder="little")
        columns[:, : len(packed)] = packed.T
        words[block] = columns.view("<u8").astype(np.uint64, copy=False).reshape(extents)
    return words


def unpacked(words: Words, start: int, stop: int) -> npt.NDArray[np.uint8]:
    """Samples of one block (without its axis) as bits: (*shape, stop - start)."""
    flat = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(*words.shape, SAMPLES // 8)
    first = start // 8
    bits = np.unpackbits(flat[..., first : -(-stop // 8)], axis=-1, bitorder="little")
    return bits[..., start - 8 * first : stop - 8 * first]


def indicator(
    words: Words, dataspace: Dataspace, digits: Sequence[Digit], merged: Mapping[int, int]
) -> tuple[Words, tuple[int, ...]]:
    """Which tiles have a one: (blocks, one axis a digit of the tensor), and the digits of the axes.

    Args:
        words: (blocks, *extents of the tensor).
        merged: values in a row of each digit that belong to the same tile. The axis of a digit has ``bound // merged``
            positions; digits that are merged as a whole have no axis.
    """
    own = [_steps(dataspace, rank, digits) for rank in range(len(dataspace.ranks))]
    widths = [1] * len(own)
    found: list[tuple[int, ...]] = [()] * len(own)
    # Ranks that shrink go first; windows that overlap keep their length.
    for rank in sorted(range(len(own)), key=lambda rank: _overlaps(own[rank], digits, words.shape[1 + rank])):
        axis = 1 + sum(widths[:rank])
        reduce = _windows if _overlaps(own[rank], digits, words.shape[axis]) else _partition
        words = reduce(words, axis, own[rank], digits, merged)
        found[rank] = tuple(i for i, _ in reversed(own[rank]) if digits[i].bound > merged.get(i, 1))
        widths[rank] = len(found[rank])
    return words, tuple(digit for part in found for digit in part)


_Steps = Sequence[tuple[int, int]]
"""Digits of a rank, innermost first, and how far each moves along it."""


def _steps(dataspace: Dataspace, rank: int, digits: Sequence[Digit]) -> _Steps:
    moves: dict[int, int] = {}
    for term in dataspace.ranks[rank]:
        moves[term.dimension] = moves.get(term.dimension, 0) + term.coefficient
    return [(i, moves[d.dimension] * d.stride) for i, d in enumerate(digits) if moves.get(d.dimension)]


def _overlaps(steps: _Steps, digits: Sequence[Digit], extent: int) -> bool:
    """Whether the digits are not the digits of the rank's own coordinate."""
    stride = 1
    for index, step in steps:
        if step != stride:
            return True
        stride *= digits[index].bound
    return stride != extent


def _partition(words: Words, axis: int, steps: _Steps, digits: Sequence[Digit], merged: Mapping[int, int]) -> Words:
    sizes: list[int] = []
    inside: list[int] = []
    for index, _ in reversed(steps):
        bound, count = digits[index].bound, merged.get(index, 1)
        if count < bound:
            sizes.append(bound // count)
        if count > 1:
            inside.append(axis + len(sizes))
            sizes.append(count)
    split = words.reshape(*words.shape[:axis], *sizes, *words.shape[axis + 1 :])
    return np.bitwise_or.reduce(split, axis=tuple(inside)) if inside else split


def _windows(words: Words, axis: int, steps: _Steps, digits: Sequence[Digit], merged: Mapping[int, int]) -> Words:
    words = np.moveaxis(words, axis, -1)
    starts = np.zeros((), np.int64)
    for index, step in reversed(steps):
        bound, count = digits[index].bound, merged.get(index, 1)
        words = _or_shifted(words, count, abs(step))
        positions = np.arange(bound // count) * count * abs(step)
        if step < 0:
            positions = positions[::-1]
        if bound > count:
            starts = starts[..., None] + positions
    words = words[..., starts]
    for offset in range(starts.ndim):
        words = np.moveaxis(words, words.ndim - starts.ndim + offset, axis + offset)
    return words


def _or_shifted(words: Words, count: int, step: int) -> Words:
    """Along the last axis, each with the ``count - 1`` that follow at distances of ``step``."""
    covered = 1
    while covered < count:
        more = min(covered, count - covered)
        words = words[..., : -more * step] | words[..., more * step :]
        covered += more
    return words
