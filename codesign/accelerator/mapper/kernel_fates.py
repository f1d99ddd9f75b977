"""Compiled: what the tiles of sparse tensors hold, and which accesses are made, gated or skipped.

The rules are those of ``model.occupancy`` and ``model.sparse``.
"""

from __future__ import annotations

from math import ceil, floor

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.kernel_memo import Zeros, look_up
from codesign.accelerator.mapper.kernel_savings import empty_probability
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray

__all__ = ["combine", "describe"]


@inner
def describe(t: IntArray, w_dense: IntArray, z: Zeros, v: int, level: int) -> None:
    """Density, instances in use, metadata of the tile of a tensor that a level holds."""
    s, w, x = z.integers, z.work_integers, z.work_numbers
    spaces, most = t[at.SPACES], s[of.MOST_RANKS]
    own, parent = level * spaces + v, w[s[of.PARENT] + level * spaces + v]
    size, ranks = w_dense[t[at.SIZE] + own], s[s[of.FORM] + own]
    known = 1 if parent >= 0 and s[s[of.FORM] + parent * spaces + v] else 0
    spread = float(w_dense[t[at.SPREAD] + level])
    x[s[of.RATIO] + own] = 1.0
    x[s[of.META_WORDS] + own] = x[s[of.META_ROOM] + own] = 0.0
    if not ranks:
        share = 1 - empty_probability(t, z, v, size) if known else 1.0
        x[s[of.DENSE] + own] = z.numbers[s[of.DENSITY] + v]
        x[s[of.AVERAGE] + own] = spread * share
        x[s[of.UNITS] + 2 * own * most] = x[s[of.UNITS] + 2 * own * most + 1] = 0.0
        return
    key = s[of.KEY]
    w[key : key + s[of.KEY_WORDS]] = 0
    w[key], w[key + 1], w[key + 2] = own, size, known
    for number in range(ranks):
        rank = own * most + number
        w[key + 3 + 2 * number] = w[s[of.FIBER] + rank]
        w[key + 4 + 2 * number] = w[s[of.UPPER] + rank - 1] if number else w[s[of.BASE] + own]
    place = look_up(z)
    if place < 0:  # anything: the mapping is scored again once it is known
        x[s[of.DENSE] + own], x[s[of.AVERAGE] + own] = 1.0, spread
        x[s[of.UNITS] + 2 * own * most : s[of.UNITS] + 2 * (own + 1) * most] = 0.0
        return
    x[s[of.DENSE] + own] = z.values[place, 0]
    x[s[of.AVERAGE] + own] = spread * z.values[place, 1]
    x[s[of.RATIO] + own] = z.values[place, 2]
    x[s[of.META_WORDS] + own] = z.values[place, 3]
    x[s[of.META_ROOM] + own] = z.values[place, 4]
    for index in range(2 * ranks):
        x[s[of.UNITS] + 2 * own * most + index] = z.values[place, of.HEAD + index]


@inner
def _count_of(t: IntArray, x_dense: FloatArray, own: int, kind: int) -> float:
    place = t[at.READS] if kind == 0 else t[at.FILLS] if kind == 1 else t[at.UPDATES]
    return float(x_dense[place + own])


@inner
def _start(t: IntArray, w_dense: IntArray, x_dense: FloatArray, z: Zeros, own: int) -> None:
    """Accesses before any saving: those of words that are not left out, and of metadata."""
    s, x = z.integers, z.work_numbers
    most, ranks = s[of.MOST_RANKS], max(1, s[s[of.FORM] + own])
    size, density = w_dense[t[at.SIZE] + own], x[s[of.DENSE] + own]
    for kind in range(3):
        count = _count_of(t, x_dense, own, kind)
        data = s[of.DATA] + 9 * own + 3 * kind
        x[data] = count - floor(count * (1 - density)) if s[s[of.FORM] + own] else count
        x[data + 1] = x[data + 2] = 0.0
        meta = s[of.META] + (3 * own + kind) * most * 6
        for index in range(2 * ranks):
            x[meta + 3 * index] = ceil(x[s[of.UNITS] + 2 * own * most + index] * count / size)
            x[meta + 3 * index + 1] = x[meta + 3 * index + 2] = 0.0


@inner
def _move(x: FloatArray, place: int, skips: int, count: float) -> None:
    x[place] -= count
    x[place + 1 + skips] += count


@inner
def _save_here(t: IntArray, z: Zeros, v: int, level: int, probability: float) -> None:
    """Gate or skip the level's own reads and updates, and the metadata that describes what the child holds."""
    s, w, x = z.integers, z.work_integers, z.work_numbers
    spaces, most = t[at.SPACES], s[of.MOST_RANKS]
    own = level * spaces + v
    skips = int(x[s[of.SAVED_SKIPS] + own])
    reads, updates = s[of.DATA] + 9 * own, s[of.DATA] + 9 * own + 6
    exact = x[reads] * probability
    _move(x, reads, skips, float(ceil(exact) if t[t[at.READ_WRITE] + v] else floor(exact)))
    _move(x, updates, skips, float(floor(x[updates] * probability)))
    ranks, child = max(1, s[s[of.FORM] + own]), w[s[of.CHILD] + own]
    if child >= 0:
        ranks = min(ranks, max(1, s[s[of.FORM] + child * spaces + v]))
    for kind in (0, 2):
        meta = s[of.META] + (3 * own + kind) * most * 6
        for index in range(2 * ranks):
            _move(x, meta + 3 * index, skips, float(floor(x[meta + 3 * index] * probability)))


@inner
def _vanish(t: IntArray, z: Zeros, v: int, level: int, probability: float) -> None:
    """What is not sent never happens at a level further in."""
    s, x = z.integers, z.work_numbers
    most, own = s[of.MOST_RANKS], level * t[at.SPACES] + v
    for kind in range(3):
        data = s[of.DATA] + 9 * own + 3 * kind
        x[data] -= floor(x[data] * probability)
        meta = s[of.META] + (3 * own + kind) * most * 6
        for index in range(2 * max(1, s[s[of.FORM] + own])):
            x[meta + 3 * index] -= floor(x[meta + 3 * index] * probability)


@inner
def combine(t: IntArray, w_dense: IntArray, x_dense: FloatArray, z: Zeros, keep: BoolArray, v: int) -> None:
    """One tensor at all levels: ``DATA`` and ``META``; ``LEADER`` is what is kept away from the compute units."""
    s, w, x = z.integers, z.work_integers, z.work_numbers
    spaces, levels = t[at.SPACES], t[at.LEVELS]
    for level in range(levels):
        if keep[level, v]:
            _start(t, w_dense, x_dense, z, level * spaces + v)
    outer = -1.0
    level = levels - 1
    while level >= 0:
        own = level * spaces + v
        if not keep[level, v] or x[s[of.SAVED] + own] < 0:
            level -= 1
            continue
        probability = x[s[of.SAVED] + own]
        here = probability
        if outer >= 0:
            here = 1 - (1 - probability) / (1 - outer) if outer < 1 else 0.0
            if here < 0:
                here, probability = 0.0, outer
        _save_here(t, z, v, level, here)
        inner = w[s[of.CHILD] + own]
        while inner >= 0:
            _vanish(t, z, v, inner, probability)
            if x[s[of.SAVED] + inner * spaces + v] >= 0:
                break
            inner = w[s[of.CHILD] + inner * spaces + v]
        outer = probability
        x[s[of.LEADER_SKIPS] + v] = x[s[of.SAVED_SKIPS] + own]
        level -= 1
    x[s[of.LEADER] + v] = -1.0 if t[t[at.READ_WRITE] + v] else outer
