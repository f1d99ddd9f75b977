"""The exact model of dense, perfect mappings as compiled code: one mapping in about a microsecond.

The real program (and ``codesign.accelerator.model``) walks every temporal loop outside a boundary twice: iteration 0,
and iteration 1 with weight N - 1. For a perfect nest the outcome follows without walking. Let loop 1 be the innermost one
that moves a tile, with translation t1; when loop c beyond it steps, all inner loops fall back by one step each, so
the tile moves by t_c = step_c - (sum of the inner steps). The walk's rule for sliding windows then reads: the first
visit needs the whole tile; a step of loop 1 needs what t1 uncovers; a step of loop c needs nothing where t_c = 0, what
t1 uncovers where t_c = t1, and the whole tile else. Loop c steps N_c - 1 times an iteration of the loops outside it.

Neighbours pass data on where an element needs what a mesh neighbour had one visit before, which by the same argument
depends on t1 and t_c alone.
"""

from __future__ import annotations

from math import ceil, floor, log
from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper.compiled import compiled
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray
from codesign.accelerator.mapper.tables import Tables

__all__ = ["ILLEGAL", "Scratch", "evaluate_rows", "objective", "score", "scratch_of"]

ILLEGAL = -1.0


class Scratch(NamedTuple):
    """Working memory of one thread; also where the counts of the mapping scored last are."""

    extent: IntArray
    """(S + 1, D) iterations inside each slot, and inside the end."""
    size: IntArray
    width: IntArray
    """(L, V) and (L, R) words and widths of the tiles."""
    spread: IntArray
    fan: IntArray
    inside: IntArray
    """(L,) copies in use, children in use, temporal loops inside the end of a level."""
    bound: IntArray
    dimension: IntArray
    stride: IntArray
    after: IntArray
    """Temporal loops, innermost first; iterations of a loop and all outside it."""
    content: FloatArray
    received: FloatArray
    links: IntArray
    partition: IntArray
    held: IntArray
    share: FloatArray
    """(L,) of one dataspace at a time, as in ``model.accesses``."""
    reads: FloatArray
    fills: FloatArray
    updates: FloatArray
    """(L, V)"""
    element: IntArray
    linked: BoolArray
    rest: IntArray
    """Elements of a spatial group."""
    shift: IntArray
    gone: IntArray
    """(R,) how far a tile moves at once, and how far all inner loops have moved it."""
    sums: IntArray
    """(3,) words times requests, words times elements, words by neighbours."""


@compiled
def scratch_of(t: Tables) -> Scratch:
    """Memory for ``score``."""
    slots, dimensions = t.slot_level.shape[0], t.bounds.shape[0]
    levels, spaces, ranks = t.no_reuse.shape[0], t.no_reuse.shape[1], t.coefficient.shape[0]
    loops = slots * dimensions + 1
    return Scratch(
        np.ones((slots + 1, dimensions), np.int64),
        np.zeros((levels, spaces), np.int64),
        np.zeros((levels, ranks), np.int64),
        np.ones(levels, np.int64),
        np.ones(levels, np.int64),
        np.zeros(levels, np.int64),
        np.ones(loops, np.int64),
        np.zeros(loops, np.int64),
        np.ones(loops, np.int64),
        np.ones(loops + 1, np.int64),
        np.zeros(levels),
        np.zeros(levels),
        np.zeros(levels, np.int64),
        np.zeros(levels, np.int64),
        np.zeros(levels, np.int64),
        np.zeros(levels),
        np.zeros((levels, spaces)),
        np.zeros((levels, spaces)),
        np.zeros((levels, spaces)),
        np.zeros(t.most_elements, np.int64),
        np.zeros(t.most_elements, np.bool_),
        np.zeros(t.most_elements, np.int64),
        np.zeros(ranks, np.int64),
        np.zeros(ranks, np.int64),
        np.zeros(3, np.int64),
    )


@compiled
def _ordered(t: Tables, level: int, factors: IntArray) -> bool:
    """Whether a permutation and split exist that put the loops of a level on the axes where they are."""
    split, inner, free = t.split[level, 1], t.split[level, 2], t.split[level, 3]
    start, end = t.level_start[level], t.level_spatial_end[level]
    on_x = on_y = 0
    for slot in range(start, end):
        for d in range(t.bounds.shape[0]):
            if factors[slot, d] > 1 and t.loop_place[level, d] == -1:
                if t.slot_axis[slot] == 0:
                    on_x += 1
                else:
                    on_y += 1
    first, last = (split, split) if split >= 0 else (0, t.split[level, 4])
    for at in range(first, last + 1):
        room = min(max(at - inner, 0), free)
        if on_x > room or on_y > free - room:
            continue
        good = True
        for slot in range(start, end):
            for d in range(t.bounds.shape[0]):
                place = t.loop_place[level, d]
                if factors[slot, d] > 1 and place != -1:
                    rank = place if place >= 0 else inner + free - 2 - place
                    good = good and ((rank < at) == (t.slot_axis[slot] == 0))
        if good:
            return True
    return False


@compiled
def _allowed(t: Tables, factors: IntArray, s: Scratch) -> bool:
    """Fan-outs, factor limits, axes; fills ``fan`` and ``spread``."""
    levels, dimensions = t.dummy.shape[0], t.bounds.shape[0]
    parallel = 1
    for level in range(levels - 1, -1, -1):
        s.spread[level] = parallel
        s.fan[level] = 1
        start, middle, end = t.level_start[level], t.level_spatial_end[level], t.level_end[level]
        for slot in range(start, middle):
            used = 1
            for d in range(dimensions):
                used *= factors[slot, d]
            if used > t.fanout[level, t.slot_axis[slot]]:
                return False
            s.fan[level] *= used
        parallel *= s.fan[level]
        if middle - start == 2:
            for d in range(dimensions):
                if factors[start, d] > 1 and factors[start + 1, d] > 1:
                    return False
        for kind in range(2):
            first, last = (start, middle) if kind == 0 else (middle, end)
            if first == last:
                continue
            for d in range(dimensions):
                value = 1
                for slot in range(first, last):
                    value *= factors[slot, d]
                if value < t.lower[level, kind, d] or value > t.upper[level, kind, d]:
                    return False
        if t.split[level, 0] and middle > start and not _ordered(t, level, factors):
            return False
    return parallel >= t.least_instances


@compiled
def _fits(t: Tables, factors: IntArray, keep: BoolArray, s: Scratch) -> bool:
    """Extents and tiles of all levels, and whether what is kept fits."""
    slots, dimensions = factors.shape
    levels, spaces = keep.shape
    for slot in range(slots):
        for d in range(dimensions):
            s.extent[slot + 1, d] = s.extent[slot, d] * factors[slot, d]
    for level in range(levels):
        end = t.level_end[level]
        kept = 0
        for v in range(spaces):
            words = 1
            for r in range(t.rank_start[v], t.rank_start[v + 1]):
                width = 1
                for d in range(dimensions):
                    width += abs(t.coefficient[r, d]) * (s.extent[end, d] - 1)
                s.width[level, r] = width
                words *= width
            s.size[level, v] = words
            if keep[level, v]:
                kept += words
        if kept > t.capacity[level] or kept < t.least[level]:
            return False
    return True


@compiled
def _loops(t: Tables, factors: IntArray, order: IntArray, s: Scratch) -> int:
    """The temporal loops of more than one iteration; returns their number."""
    count = 0
    for level in range(t.dummy.shape[0]):
        for slot in range(t.level_spatial_end[level], t.level_end[level]):
            rank = t.slot_rank[slot]
            for place in range(order.shape[1]):
                d = order[rank, place]
                if factors[slot, d] > 1:
                    s.bound[count] = factors[slot, d]
                    s.dimension[count] = d
                    s.stride[count] = s.extent[slot, d]
                    count += 1
        s.inside[level] = count
    s.after[count] = 1
    for loop in range(count - 1, -1, -1):
        s.after[loop] = s.after[loop + 1] * s.bound[loop]
    return count


@compiled
def _elements(t: Tables, factors: IntArray, v: int, level: int, s: Scratch) -> int:
    """Offsets of the elements of a level's spatial group; returns the number of elements along X."""
    count, along_x = 1, 1
    s.element[0] = 0
    for slot in range(t.level_start[level], t.level_spatial_end[level]):
        for place in range(t.bounds.shape[0]):
            d = t.loop_order[level, place]
            step = s.extent[slot, d] * t.code[v, d]
            known = count
            for index in range(1, factors[slot, d]):
                for old in range(known):
                    s.element[count] = s.element[old] + index * step
                    count += 1
        if t.slot_axis[slot] == 0:
            along_x = count
    return along_x


@compiled
def _different(s: Scratch, count: int) -> int:
    """Different values among the first entries of ``rest``."""
    ordered = np.sort(s.rest[:count])
    found = 1 if count else 0
    for index in range(1, count):
        if ordered[index] != ordered[index - 1]:
            found += 1
    return int(found)


@compiled
def _groups(t: Tables, factors: IntArray, v: int, level: int, s: Scratch) -> int:
    """Different requests of the elements of a level's spatial group; equal ones are served at once (multicast)."""
    fan = s.fan[level]
    if t.no_multicast[level, v] or fan == 1:
        return int(fan)
    start, end = t.level_start[level], t.level_spatial_end[level]
    if not t.regular[v]:
        _elements(t, factors, v, level, s)
        s.rest[:fan] = s.element[:fan]
        return _different(s, fan)
    groups = 1
    for slot in range(start, end):
        for d in range(t.bounds.shape[0]):
            if t.moves[v, d]:
                groups *= factors[slot, d]
    for r in range(t.rank_start[v], t.rank_start[v + 1]):
        a, b = t.pair[r, 0], t.pair[r, 1]
        if a < 0:
            continue
        many_a = many_b = 1
        step_a = step_b = 0
        for slot in range(start, end):
            if factors[slot, a] > 1:
                many_a, step_a = factors[slot, a], abs(t.coefficient[r, a]) * s.extent[slot, a]
            if factors[slot, b] > 1:
                many_b, step_b = factors[slot, b], abs(t.coefficient[r, b]) * s.extent[slot, b]
        if many_a > 1 and many_b > 1:
            x, y = step_a, step_b
            while y:
                x, y = y, x % y
            # Values step_a*i + step_b*j coincide exactly along (i - step_b/g, j + step_a/g).
            equal = max(0, many_a - step_b // x) * max(0, many_b - step_a // x)
            groups = groups // (many_a * many_b) * (many_a * many_b - equal)
    return groups


@compiled
def _reachable(t: Tables, factors: IntArray, v: int, level: int, s: Scratch) -> bool:
    """Whether two elements of the group can be ``shift`` apart at all."""
    for r in range(t.rank_start[v], t.rank_start[v + 1]):
        reach = 0
        for slot in range(t.level_start[level], t.level_spatial_end[level]):
            for d in range(t.bounds.shape[0]):
                reach += abs(t.coefficient[r, d]) * s.extent[slot, d] * (factors[slot, d] - 1)
        if abs(s.shift[r]) > reach:
            return False
    return True


@compiled
def _linked(
    t: Tables, factors: IntArray, v: int, level: int, shift: int, groups: int, s: Scratch
) -> tuple[int, int, int]:
    """(elements fed by a neighbour, requests left, elements left) after ``shift``; zeros where that is of no use."""
    along_x = _elements(t, factors, v, level, s)
    count = s.fan[level]
    width = max(t.fanout[level, 0], along_x)
    height = max(t.fanout[level, 1], count // along_x)
    found = left = 0
    for k in range(count):
        x, y = k % width, k // width
        wanted = s.element[k] + shift
        fed = (
            (x > 0 and s.element[k - 1] == wanted)
            or (x + 1 < width and k + 1 < count and s.element[k + 1] == wanted)
            or (y > 0 and s.element[k - width] == wanted)
            or (y + 1 < height and k + width < count and s.element[k + width] == wanted)
        )
        if fed:
            found += 1
        else:
            s.rest[left] = s.element[k]
            left += 1
    if found == 0:
        return 0, 0, 0
    requests = left if t.no_multicast[level, v] else _different(s, left)
    if requests >= groups:
        return 0, 0, 0
    return found, requests, left


@compiled
def _by_links(
    t: Tables, factors: IntArray, v: int, level: int, shift: int, words: int, groups: int, s: Scratch
) -> bool:
    """Count ``words`` that each element needs after the group moved by ``shift``, if neighbours can pass some on."""
    if words == 0 or not _reachable(t, factors, v, level, s):
        return False
    found, requests, left = _linked(t, factors, v, level, shift, groups, s)
    s.sums[0] += words * requests
    s.sums[1] += words * left
    s.sums[2] += words * found
    return found > 0


@compiled
def _traffic(t: Tables, factors: IntArray, v: int, level: int, loops: int, s: Scratch) -> None:
    """Words that leave an instance of a level towards the next inner one: ``content``, ``received`` and ``links``."""
    first = s.inside[level - 1] if level else 0
    tile = s.size[level - 1, v] if level else 1
    reuse = level > 0 and not t.no_reuse[level - 1, v]
    groups = _groups(t, factors, v, level, s)
    # A tile that rests between two moves leaves nothing for the neighbours to pass on.
    by_links = s.fan[level] > 1 and not t.no_link[level, v]
    while reuse and first < loops and not t.moves[v, s.dimension[first]]:
        first += 1
        by_links = False
    ranks = range(t.rank_start[v], t.rank_start[v + 1])
    s.sums[:] = 0
    words, fresh, gone, step1, first_d = tile, tile, 0, 0, 0
    for r in ranks:
        s.gone[r] = 0
    if reuse and first < loops:
        first_d = s.dimension[first]
        kept = 1
        for r in ranks:
            s.gone[r] = t.coefficient[r, first_d] * s.stride[first]
            kept *= max(0, s.width[level - 1, r] - abs(s.gone[r]))
        fresh = tile - kept
        gone = step1 = t.code[v, first_d] * s.stride[first]
    same = 1 if fresh == tile else 0  # visits before a step of loop 1 that need the same shape as that step
    for loop in range(first + 1 if reuse else first, loops):
        d = s.dimension[loop]
        step = t.code[v, d] * s.stride[loop]
        times = (s.bound[loop] - 1) * s.after[loop + 1]
        shift = step - gone
        new = tile
        if reuse:
            new = 0 if shift == 0 else fresh if shift == step1 else tile
        for r in ranks:
            by = t.coefficient[r, d] * s.stride[loop]
            s.shift[r] = by - s.gone[r]
            s.gone[r] += by
        gone += step
        linked = by_links and new == fresh and _by_links(t, factors, v, level, shift, new * times, groups, s)
        words += 0 if linked else new * times
        same += times if new == fresh else 0
    if reuse and first < loops:
        times, before = (s.bound[first] - 1) * s.after[first + 1], (s.bound[first] - 1) * same
        for r in ranks:
            s.shift[r] = t.coefficient[r, first_d] * s.stride[first]
        linked = by_links and _by_links(t, factors, v, level, step1, fresh * before, groups, s)
        words += fresh * (times - before if linked else times)
    s.content[level] = s.sums[0] + words * groups
    s.received[level] = s.sums[1] + words * s.fan[level]
    s.links[level] = s.sums[2]


@compiled
def _column(t: Tables, factors: IntArray, keep: BoolArray, v: int, loops: int, s: Scratch) -> None:
    """Reads, fills and updates of one dataspace at every level, as ``model.accesses`` counts them."""
    levels = keep.shape[0]
    for level in range(levels):
        if s.fan[level] == 1 and level == 0:
            s.content[0], s.received[0], s.links[0] = s.after[0], s.after[0], 0
        elif s.fan[level] == 1 and not keep[level - 1, v]:
            # What is passed on is set by the level inside, see below.
            s.content[level], s.received[level], s.links[level] = 1.0, 1.0, 0
        else:
            _traffic(t, factors, v, level, loops, s)
        s.held[level] = s.size[level, v]
    s.partition[levels - 1] = s.held[levels - 1]
    for level in range(levels - 2, -1, -1):
        fed = s.held[level]
        if s.fan[level + 1] > 1:
            inside = t.level_spatial_end[level + 1]
            fed = 1
            for r in range(t.rank_start[v], t.rank_start[v + 1]):
                width = 1
                for d in range(factors.shape[1]):
                    width += abs(t.coefficient[r, d]) * (s.extent[inside, d] - 1)
                fed *= width
        s.partition[level] = s.partition[level + 1] * s.held[level] // fed
        s.share[level] = s.received[level + 1] / s.fan[level + 1]
    s.share[levels - 1] = 0.0
    outermost = levels - 1
    while not keep[outermost, v]:
        outermost -= 1
    for level in range(outermost + 1):
        if keep[level, v]:
            continue
        outer = level + 1  # every level outside is still there
        factor = s.content[level] * s.fan[outer] / s.received[outer]
        s.content[outer] *= factor
        s.received[outer] *= factor
        s.links[outer] = 0
        s.held[level] = 0
    s.share[outermost] = 0.0
    for level in range(levels):
        s.reads[level, v] = s.fills[level, v] = s.updates[level, v] = 0.0
        if level > outermost or not keep[level, v]:
            continue
        peer = 0.0
        if level < outermost and s.links[level + 1]:
            peer = s.links[level + 1] / s.spread[level]
        crossing, arriving = s.content[level] + peer, s.share[level] + peer
        if not t.read_write[v]:
            s.reads[level, v] = _rounded(crossing)
            s.fills[level, v] = floor(arriving)
            continue
        s.updates[level, v] = _rounded(s.content[level])
        if not t.rmw[level, v]:
            # The first partial sum of every element starts from zero: nothing is read or fetched for it.
            crossing -= s.partition[level]
            arriving -= s.partition[level] if level < outermost else 0
        s.reads[level, v] = max(0.0, _rounded(crossing))
        s.fills[level, v] = max(0.0, _rounded(arriving))


@compiled
def _rounded(value: float) -> float:
    """Half away from zero, of what is not negative."""
    whole = floor(value)
    return float(whole + (1 if value - whole >= 0.5 else 0))


@compiled
def _cycles(t: Tables, s: Scratch) -> float:
    """Of the slowest of compute and levels: a level stretches them where its demand exceeds a bandwidth."""
    cycles = float(s.after[0])
    slowest = cycles
    for level in range(t.dummy.shape[0]):
        read = written = 0.0
        for v in range(t.scale.shape[1]):
            read += s.reads[level, v] / cycles * t.scale[level, v]
            written += (s.fills[level, v] + s.updates[level, v]) / cycles * t.scale[level, v]
        slowdown = 1.0
        if t.read_bandwidth[level] < read:
            slowdown = min(slowdown, t.read_bandwidth[level] / read)
        if t.write_bandwidth[level] < written:
            slowdown = min(slowdown, t.write_bandwidth[level] / written)
        if t.shared_bandwidth[level] < read + written:
            slowdown = min(slowdown, t.shared_bandwidth[level] / (read + written))
        slowest = max(slowest, float(ceil(cycles / slowdown)))
    return slowest


@compiled
def _energy_pJ(t: Tables, cycles: float, s: Scratch) -> float:
    """Accesses, address generation, leakage and computes."""
    total = t.compute_pJ
    for level in range(t.dummy.shape[0]):
        if t.dummy[level]:
            continue
        spread, block = float(s.spread[level]), t.block[level]
        clusters = float(min(s.spread[level], t.clusters[level]))
        for v in range(t.scale.shape[1]):
            reads, fills, updates = s.reads[level, v], s.fills[level, v], s.updates[level, v]
            access = ceil(reads / block) * t.read_pJ[level] + ceil(fills / block) * t.fill_pJ[level]
            access += ceil(updates / block) * t.update_pJ[level]
            total += access / (spread / clusters) * spread
            served = updates if t.read_write[v] else reads
            total += (served + fills) * t.address_pJ[level] * clusters
        used = float(max(1, s.spread[t.gate[level]]))
        total += t.leak_pJ[level] * cycles * used * t.gate_share[level]
    return total


@compiled
def score(t: Tables, factors: IntArray, order: IntArray, keep: BoolArray, s: Scratch) -> tuple[float, float]:
    """Energy (pJ) and cycles of one mapping; ``(ILLEGAL, ILLEGAL)`` if it is not legal.

    Args:
        factors, order, keep: one row of a ``Batch``.
    """
    if not _allowed(t, factors, s) or not _fits(t, factors, keep, s):
        return ILLEGAL, ILLEGAL
    loops = _loops(t, factors, order, s)
    for v in range(keep.shape[1]):
        _column(t, factors, keep, v, loops, s)
    cycles = _cycles(t, s)
    return _energy_pJ(t, cycles, s), cycles + t.latency


@compiled
def objective(energy_pJ: float, cycles: float, energy_weight: float, cycles_weight: float) -> float:
    """Logarithm of what is minimised; infinite for an illegal mapping."""
    if energy_pJ < 0:
        return np.inf
    return energy_weight * log(max(energy_pJ, 1e-300)) + cycles_weight * log(cycles)


@compiled
def evaluate_rows(
    t: Tables, factors: IntArray, order: IntArray, keep: BoolArray, energy_pJ: FloatArray, cycles: FloatArray
) -> None:
    """``score`` of every row of a batch."""
    s = scratch_of(t)
    for row in range(factors.shape[0]):
        energy_pJ[row], cycles[row] = score(t, factors[row], order[row], keep[row], s)
