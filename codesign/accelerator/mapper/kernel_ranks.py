"""Compiled: the complete nest of a mapping, and which of its loops make up each rank of a compressed layout.

The rules are those of ``model.formats``; loops of one iteration count, and where they stand matters.
"""

from __future__ import annotations

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.nest import BoolArray, IntArray

__all__ = ["complete_nest", "lay_out", "neighbours", "words_of"]


@inner
def _add(s: IntArray, w: IntArray, count: int, dimension: int, bound: int, spatial: int) -> int:
    w[s[of.DIMENSION] + count] = dimension
    w[s[of.BOUND] + count] = bound
    w[s[of.SPATIAL] + count] = spatial
    return count + 1


@inner
def _on(s: IntArray, factors: IntArray, slot: int, dimension: int) -> int:
    """Factor of a dimension (by id) in a slot; 1 where there is no slot or nothing to map."""
    d = s[s[of.POSITION] + dimension]
    return int(factors[slot, d]) if slot >= 0 and d >= 0 else 1


@inner
def _add_spatial(s: IntArray, w: IntArray, factors: IntArray, level: int, count: int) -> int:
    """Fixed ones, those on X, idle ones, those on Y, fixed ones: as ``space.split_axes`` orders them."""
    dims, slots = s[of.DIMS], s[of.SLOTS] + 3 * level
    x_slot, y_slot = s[slots], s[slots + 1]
    for place in (of.SPATIAL_INNER, of.SPATIAL_FREE, of.SPATIAL_OUTER):
        row = s[place] + level * dims
        for part in range(3 if place == of.SPATIAL_FREE else 1):
            for index in range(dims):
                d = s[row + index]
                if d < 0:
                    break
                on_x, on_y = _on(s, factors, x_slot, d), _on(s, factors, y_slot, d)
                own = 0 if on_x > 1 else 2 if on_y > 1 else 1
                if place != of.SPATIAL_FREE or own == part:
                    count = _add(s, w, count, d, on_x * on_y, 1)
    return count


@inner
def complete_nest(s: IntArray, t: IntArray, w: IntArray, factors: IntArray, order: IntArray) -> None:
    """All loops of a mapping as ``space.MapSpace.mapping`` writes them, innermost first."""
    dims, count = s[of.DIMS], 0
    for level in range(t[at.LEVELS]):
        w[s[of.FIRST] + level] = count
        if s[s[of.FANNED] + level]:
            count = _add_spatial(s, w, factors, level, count)
        slot = s[s[of.SLOTS] + 3 * level + 2]
        inner, idle = s[of.TIME_INNER] + level * dims, s[of.TIME_IDLE] + level * dims
        outer = s[of.TIME_OUTER] + level * dims
        for index in range(dims):
            if s[inner + index] < 0:
                break
            count = _add(s, w, count, s[inner + index], _on(s, factors, slot, s[inner + index]), 0)
        if slot >= 0:
            rank = t[t[at.SLOT_RANK] + slot]
            for place in range(t[at.DIMENSIONS]):
                d = order[rank, place]
                dimension = s[s[of.ACTIVE] + d]
                if not s[s[of.TIME_FIXED] + level * dims + dimension]:
                    count = _add(s, w, count, dimension, factors[slot, d], 0)
        for index in range(dims):
            if s[idle + index] < 0:
                break
            count = _add(s, w, count, s[idle + index], 1, 0)
        for index in range(dims):
            if s[outer + index] < 0:
                break
            count = _add(s, w, count, s[outer + index], _on(s, factors, slot, s[outer + index]), 0)
    w[s[of.FIRST] + t[at.LEVELS]] = count


@inner
def neighbours(t: IntArray, s: IntArray, w: IntArray, keep: BoolArray) -> None:
    """The nearest levels inside and outside that keep the same tensor."""
    spaces = t[at.SPACES]
    for v in range(spaces):
        last = -1
        for level in range(t[at.LEVELS]):
            if keep[level, v]:
                w[s[of.CHILD] + level * spaces + v] = last
                w[s[of.PARENT] + level * spaces + v] = -1
                if last >= 0:
                    w[s[of.PARENT] + last * spaces + v] = level
                last = level


@inner
def words_of(t: IntArray, s: IntArray, v: int, box: IntArray) -> int:
    """Words of a tensor in a box of iterations, over all dimensions of the problem."""
    words = 1
    for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
        width = 1
        for term in range(s[s[of.TERM_START] + r], s[s[of.TERM_START] + r + 1]):
            width += s[s[of.TERM_STEP] + term] * (box[s[s[of.TERM_DIMENSION] + term]] - 1)
        words *= width
    return int(words)


@inner
def _queue(t: IntArray, s: IntArray, w: IntArray, v: int, level: int, child: int, pretiled: bool) -> int:
    """Loops that the ranks share out, from inside, with the words of the box inside each; returns their number."""
    dims, first = s[of.DIMS], w[s[of.FIRST] + child + 1]
    box = w[s[of.EXTENT] : s[of.EXTENT] + dims]
    seen = w[s[of.SHARED] : s[of.SHARED] + dims]
    box[:], seen[:] = 1, 0
    for loop in range(first):
        box[w[s[of.DIMENSION] + loop]] *= w[s[of.BOUND] + loop]
    count = 0
    for loop in range(first, w[s[of.FIRST] + level + 1]):
        d, bound = w[s[of.DIMENSION] + loop], w[s[of.BOUND] + loop]
        inside = box[d]
        box[d] = inside * bound
        if not s[s[of.IN] + v * dims + d]:
            continue
        if not pretiled and not seen[d]:
            bound *= inside
            seen[d] = 1
        if bound > 1:
            w[s[of.QUEUE_DIMENSION] + count] = d
            w[s[of.QUEUE_BOUND] + count] = bound
            w[s[of.QUEUE_WORDS] + count] = words_of(t, s, v, box)
            count += 1
    return count


@inner
def _assign(t: IntArray, s: IntArray, w: IntArray, v: int, level: int, done: int, count: int) -> bool:
    """Give the ranks from ``done`` on their loops: fibers and the boxes of those that get one. False: loops are left.

    Loops of one iteration take part in no rank that matters, and are not in the queue.
    """
    own = level * t[at.SPACES] + v
    ranks, most, dims = s[s[of.FORM] + own], s[of.MOST_RANKS], s[of.DIMS]
    outer_first = s[s[of.OUTER_FIRST] + own]
    box = w[s[of.EXTENT] : s[of.EXTENT] + dims]
    head = 0
    for turn in range(ranks - done):
        number = ranks - 1 - turn if outer_first else done + turn
        rank = own * most + number
        box[:] = 1
        group = 0
        w[s[of.TAKEN] + 2 * number] = 0
        while head < count:
            loop = count - 1 - head if outer_first else head
            d = w[s[of.QUEUE_DIMENSION] + loop]
            if not w[s[of.TAKEN] + 2 * number]:
                group = s[s[of.GROUP] + rank * dims + d]
                if s[s[of.GROUPED] + rank] and not group:
                    break
                w[s[of.TAKEN] + 2 * number] = 1
                w[s[of.TAKEN] + 2 * number + 1] = w[s[of.QUEUE_WORDS] + loop]
                box[d] *= w[s[of.QUEUE_BOUND] + loop]
                head += 1
                if not s[s[of.GROUPED] + rank]:
                    break
            elif (group >> d) & 1:
                box[d] *= w[s[of.QUEUE_BOUND] + loop]
                head += 1
            else:
                break
        w[s[of.FIBER] + rank] = words_of(t, s, v, box)
    return head == count


@inner
def lay_out(t: IntArray, w_dense: IntArray, z: Zeros, v: int, level: int) -> bool:
    """Fibers and boxes of every rank of a tensor at a level, after those of the levels inside. False: not possible."""
    s, w = z.integers, z.work_integers
    spaces, most = t[at.SPACES], s[of.MOST_RANKS]
    own, child = level * spaces + v, w[s[of.CHILD] + level * spaces + v]
    ranks = s[s[of.FORM] + own]
    size = w_dense[t[at.SIZE] + own]
    if ranks == 0:
        w[s[of.FIBER] + own * most] = w[s[of.UPPER] + own * most] = size
        w[s[of.BASE] + own] = 1
        return True
    pretiled = child >= 0 and s[s[of.SQUEEZED] + own] and w_dense[t[at.SIZE] + child * spaces + v] > 1
    done, below = 0, 1
    if pretiled:
        inner = child * spaces + v
        done = max(1, s[s[of.FORM] + inner])
        if done > ranks:
            return False
        for number in range(done):
            if (
                s[s[of.FORM] + inner]
                and s[s[of.FORMAT] + own * most + number] != s[s[of.FORMAT] + inner * most + number]
            ):
                return False
            w[s[of.FIBER] + own * most + number] = w[s[of.FIBER] + inner * most + number]
            w[s[of.UPPER] + own * most + number] = w[s[of.UPPER] + inner * most + number]
        below = w[s[of.UPPER] + own * most + done - 1]
        w[s[of.BASE] + own] = w[s[of.BASE] + inner]
    else:
        w[s[of.BASE] + own] = 1
    if not _assign(t, s, w, v, level, done, _queue(t, s, w, v, level, child, pretiled)):
        return False
    for number in range(done, ranks):
        if w[s[of.TAKEN] + 2 * number]:
            below = w[s[of.TAKEN] + 2 * number + 1]
        w[s[of.UPPER] + own * most + number] = below
    return True
