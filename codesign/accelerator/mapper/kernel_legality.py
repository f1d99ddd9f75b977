"""Compiled: whether one mapping is legal, its tiles and its loops.

Arguments of all compiled functions: ``t`` and ``p``, the task's integers and numbers (``tables.Tables``); ``w`` and
``x``, working memory for integers and numbers (``layout`` says what is where); one row of a ``Batch``.
"""

from __future__ import annotations

from math import ceil

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray

__all__ = ["allowed", "find_loops", "fits"]


@inner
def _ordered(t: IntArray, level: int, factors: IntArray) -> bool:
    """Whether a permutation and split exist that put the loops of a level on the axes where they are."""
    limits = t[at.SPLIT] + 5 * level
    split, inner, free = t[limits + 1], t[limits + 2], t[limits + 3]
    places = t[at.LOOP_PLACE] + level * t[at.DIMENSIONS]
    start, end = t[t[at.START] + level], t[t[at.SPATIAL_END] + level]
    on_x = on_y = 0
    for slot in range(start, end):
        for d in range(t[at.DIMENSIONS]):
            if factors[slot, d] > 1 and t[places + d] == -1:
                if t[t[at.SLOT_AXIS] + slot] == 0:
                    on_x += 1
                else:
                    on_y += 1
    first, last = (split, split) if split >= 0 else (0, t[limits + 4])
    for cut in range(first, last + 1):
        room = min(max(cut - inner, 0), free)
        good = on_x <= room and on_y <= free - room
        for slot in range(start, end):
            for d in range(t[at.DIMENSIONS]):
                place = t[places + d]
                if good and factors[slot, d] > 1 and place != -1:
                    rank = place if place >= 0 else inner + free - 2 - place
                    good = (rank < cut) == (t[t[at.SLOT_AXIS] + slot] == 0)
        if good:
            return True
    return False


@inner
def _within_limits(t: IntArray, level: int, kind: int, first: int, last: int, factors: IntArray) -> bool:
    """The factors of a level's spatial (kind 0) or temporal slots against their limits."""
    dimensions = t[at.DIMENSIONS]
    row = (2 * level + kind) * dimensions
    for d in range(dimensions):
        value = 1
        for slot in range(first, last):
            value *= factors[slot, d]
        if value < t[t[at.LOWER] + row + d] or value > t[t[at.UPPER] + row + d]:
            return False
    return True


@inner
def allowed(t: IntArray, p: FloatArray, w: IntArray, factors: IntArray) -> bool:
    """Fan-outs, factor limits, axes; sets ``FAN`` and ``SPREAD``."""
    dimensions = t[at.DIMENSIONS]
    parallel = 1
    for level in range(t[at.LEVELS] - 1, -1, -1):
        start, middle, end = t[t[at.START] + level], t[t[at.SPATIAL_END] + level], t[t[at.END] + level]
        fan = 1
        for slot in range(start, middle):
            used = 1
            for d in range(dimensions):
                used *= factors[slot, d]
            if used > t[t[at.FANOUT] + 2 * level + t[t[at.SLOT_AXIS] + slot]]:
                return False
            fan *= used
        w[t[at.SPREAD] + level], w[t[at.FAN] + level] = parallel, fan
        parallel *= fan
        if middle - start == 2:
            for d in range(dimensions):
                if factors[start, d] > 1 and factors[start + 1, d] > 1:
                    return False
        if middle > start:
            if not _within_limits(t, level, 0, start, middle, factors):
                return False
            if t[t[at.SPLIT] + 5 * level] and not _ordered(t, level, factors):
                return False
        if end > middle and not _within_limits(t, level, 1, middle, end, factors):
            return False
    return bool(parallel >= p[t[at.LEAST_INSTANCES]])


@inner
def most_nonzeros(s: IntArray, q: FloatArray, v: int, words: int) -> int:
    """Largest number of nonzeros of a tile of a sparse tensor."""
    if s[s[of.KIND] + v] == of.DRAWN:
        return int(min(words, s[s[of.NONZEROS] + v]))
    most: int = ceil(words * q[s[of.FIXED_DENSITY] + v])
    return most


@inner
def fits(t: IntArray, p: FloatArray, w: IntArray, factors: IntArray, keep: BoolArray, z: Zeros | None) -> bool:
    """Extents and tiles of all levels, and whether what is kept fits; with ``z``, as far as layouts leave zeros out."""
    dimensions, spaces, ranks = t[at.DIMENSIONS], t[at.SPACES], t[at.RANKS]
    extent, starts, terms = t[at.EXTENT], t[at.RANK_START], t[at.TERM_START]
    for d in range(dimensions):
        inside = 1
        w[extent + d] = 1
        for slot in range(t[at.SLOTS]):
            inside *= factors[slot, d]
            w[extent + (slot + 1) * dimensions + d] = inside
    for level in range(t[at.LEVELS]):
        box = extent + t[t[at.END] + level] * dimensions
        kept = 0
        for v in range(spaces):
            words = 1
            for r in range(t[starts + v], t[starts + v + 1]):
                width = 1
                for term in range(t[terms + r], t[terms + r + 1]):
                    width += t[t[at.TERM_STEP] + term] * (w[box + t[t[at.TERM_DIMENSION] + term]] - 1)
                w[t[at.WIDTH] + level * ranks + r] = width
                words *= width
            w[t[at.SIZE] + level * spaces + v] = words
            if z is not None and keep[level, v] and z.integers[z.integers[of.SQUEEZED] + level * spaces + v]:
                kept += most_nonzeros(z.integers, z.numbers, v, words)
            elif keep[level, v]:
                kept += words
        if kept > p[t[at.CAPACITY] + level] or kept < p[t[at.LEAST] + level]:
            return False
    return True


@inner
def find_loops(t: IntArray, w: IntArray, factors: IntArray, order: IntArray) -> int:
    """The temporal loops of more than one iteration; returns their number."""
    dimensions, count = t[at.DIMENSIONS], 0
    for level in range(t[at.LEVELS]):
        for slot in range(t[t[at.SPATIAL_END] + level], t[t[at.END] + level]):
            rank = t[t[at.SLOT_RANK] + slot]
            for place in range(dimensions):
                d = order[rank, place]
                if factors[slot, d] > 1:
                    w[t[at.BOUND] + count] = factors[slot, d]
                    w[t[at.DIMENSION] + count] = d
                    w[t[at.STRIDE] + count] = w[t[at.EXTENT] + slot * dimensions + d]
                    count += 1
        w[t[at.INSIDE] + level] = count
    iterations = 1
    w[t[at.AFTER] + count] = 1
    for loop in range(count - 1, -1, -1):
        iterations *= w[t[at.BOUND] + loop]
        w[t[at.AFTER] + loop] = iterations
    return count
