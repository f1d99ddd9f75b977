"""What a tile needs anew after it moved: the set difference of two boxes, and how it compares with other deltas."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from codesign.accelerator.spec.problem import Box

__all__ = ["Delta", "full_delta", "moved_delta", "new_words", "translation"]


class Delta(NamedTuple):
    """A point set up to translation (``form``), its size, and where its reference corner lies.

    ``form`` is a tuple of boxes relative to the corner; two deltas hold translates of one set if their forms agree.
    """

    size: int
    form: tuple[Box, ...]
    corner: tuple[int, ...]


_EMPTY = Delta(0, (), ())


def full_delta(box: Box) -> Delta:
    """The whole box."""
    return _normalised([box])


def moved_delta(box: Box, last: Box) -> Delta:
    """``box`` without ``last``: rank by rank, the slice below and the slice above are peeled off."""
    left, pieces = list(box), []
    for rank, ((low, high), (last_low, last_high)) in enumerate(zip(box, last, strict=True)):
        cut_low, cut_high = max(low, last_low), min(high, last_high)
        if cut_low >= cut_high:
            return full_delta(box)
        if low < cut_low:
            pieces.append((*left[:rank], (low, cut_low), *left[rank + 1 :]))
        if cut_high < high:
            pieces.append((*left[:rank], (cut_high, high), *left[rank + 1 :]))
        left[rank] = (cut_low, cut_high)
    return _normalised(pieces)


def new_words(box: Box, shift: Sequence[int]) -> int:
    """Words of ``box`` that are not in its copy moved by ``shift``."""
    size = kept = 1
    for (low, high), by in zip(box, shift, strict=True):
        size *= high - low
        kept *= max(0, high - low - abs(by))
    return size - kept


def translation(box: Box, last: Box) -> tuple[int, ...]:
    """Difference of the centroids, rounded half away from zero as the real program does."""
    return tuple(_half_away(sum(now) - sum(before)) for now, before in zip(box, last, strict=True))


def _half_away(doubled: int) -> int:
    return (doubled + 1) // 2 if doubled >= 0 else -((1 - doubled) // 2)


def _normalised(boxes: Sequence[Box]) -> Delta:
    if not boxes:
        return _EMPTY
    corner = tuple(min(box[rank][0] for box in boxes) for rank in range(len(boxes[0])))
    form = tuple(tuple((low - at, high - at) for (low, high), at in zip(box, corner, strict=True)) for box in boxes)
    size = sum(prod(high - low for low, high in box) for box in form)
    return Delta(size, form, corner)
