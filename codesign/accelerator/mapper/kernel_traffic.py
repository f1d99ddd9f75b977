"""Compiled: how many words cross a boundary of a perfect nest (see ``kernel`` for the rules)."""

from __future__ import annotations

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.nest import FloatArray, IntArray

__all__ = ["count_traffic"]


@inner
def _elements(t: IntArray, w: IntArray, factors: IntArray, v: int, level: int) -> int:
    """Offsets of the elements of a level's spatial group; returns the number of elements along X."""
    element, dimensions = t[at.ELEMENT], t[at.DIMENSIONS]
    count, along_x = 1, 1
    w[element] = 0
    for slot in range(t[t[at.START] + level], t[t[at.SPATIAL_END] + level]):
        for place in range(dimensions):
            d = t[t[at.LOOP_ORDER] + level * dimensions + place]
            step = w[t[at.EXTENT] + slot * dimensions + d] * t[t[at.CODE] + v * dimensions + d]
            known = count
            for index in range(1, factors[slot, d]):
                for old in range(known):
                    w[element + count] = w[element + old] + index * step
                    count += 1
        if t[t[at.SLOT_AXIS] + slot] == 0:
            along_x = count
    return along_x


@inner
def _different(w: IntArray, start: int, count: int) -> int:
    """Number of different values; puts them in order (Shell's sort: they are few)."""
    gap = count // 2
    while gap:
        for index in range(start + gap, start + count):
            value, place = w[index], index
            while place >= start + gap and w[place - gap] > value:
                w[place] = w[place - gap]
                place -= gap
            w[place] = value
        gap //= 2
    found = 1 if count else 0
    for index in range(start + 1, start + count):
        if w[index] != w[index - 1]:
            found += 1
    return found


@inner
def _groups(t: IntArray, w: IntArray, factors: IntArray, v: int, level: int) -> int:
    """Different requests of the elements of a level's spatial group; equal ones are served at once (multicast)."""
    fan, dimensions = w[t[at.FAN] + level], t[at.DIMENSIONS]
    if fan == 1 or t[t[at.NO_MULTICAST] + level * t[at.SPACES] + v]:
        return int(fan)
    start, end = t[t[at.START] + level], t[t[at.SPATIAL_END] + level]
    if not t[t[at.REGULAR] + v]:
        _elements(t, w, factors, v, level)
        return _different(w, t[at.ELEMENT], fan)
    groups = 1
    for slot in range(start, end):
        for d in range(dimensions):
            if t[t[at.MOVES] + v * dimensions + d]:
                groups *= factors[slot, d]
    for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
        a, b = t[t[at.PAIR] + 2 * r], t[t[at.PAIR] + 2 * r + 1]
        if a < 0:
            continue
        many_a = many_b = step_a = step_b = 1
        row = t[at.COEFFICIENT] + r * dimensions
        for slot in range(start, end):
            extent = t[at.EXTENT] + slot * dimensions
            if factors[slot, a] > 1:
                many_a, step_a = factors[slot, a], abs(t[row + a]) * w[extent + a]
            if factors[slot, b] > 1:
                many_b, step_b = factors[slot, b], abs(t[row + b]) * w[extent + b]
        if many_a > 1 and many_b > 1:
            common, rest = step_a, step_b
            while rest:
                common, rest = rest, common % rest
            # Values step_a*i + step_b*j coincide exactly along (i - step_b/g, j + step_a/g).
            equal = max(0, many_a - step_b // common) * max(0, many_b - step_a // common)
            groups = groups // (many_a * many_b) * (many_a * many_b - equal)
    return int(groups)


@inner
def _reachable(t: IntArray, w: IntArray, factors: IntArray, v: int, level: int) -> bool:
    """Whether two elements of the group can be ``SHIFT`` apart at all."""
    for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
        reach = 0
        for slot in range(t[t[at.START] + level], t[t[at.SPATIAL_END] + level]):
            for term in range(t[t[at.TERM_START] + r], t[t[at.TERM_START] + r + 1]):
                d = t[t[at.TERM_DIMENSION] + term]
                step = t[t[at.TERM_STEP] + term] * w[t[at.EXTENT] + slot * t[at.DIMENSIONS] + d]
                reach += step * (factors[slot, d] - 1)
        if abs(w[t[at.SHIFT] + r]) > reach:
            return False
    return True


@inner
def _fed(e: IntArray, k: int, wanted: int, width: int, height: int) -> bool:
    """Whether a mesh neighbour of element ``k`` had the offset ``wanted`` one visit before."""
    x, y, count = k % width, k // width, len(e)
    if (x > 0 and e[k - 1] == wanted) or (x + 1 < width and k + 1 < count and e[k + 1] == wanted):
        return True
    if y > 0 and e[k - width] == wanted:
        return True
    return bool(y + 1 < height and k + width < count and e[k + width] == wanted)


@inner
def _by_links(
    t: IntArray, w: IntArray, factors: IntArray, v: int, level: int, shift: int, words: int, groups: int
) -> bool:
    """Count ``words`` that each element needs after the group moved by ``shift``, if neighbours can pass some on."""
    if words == 0 or not _reachable(t, w, factors, v, level):
        return False
    along_x = _elements(t, w, factors, v, level)
    count, rest = w[t[at.FAN] + level], t[at.REST]
    width = max(t[t[at.FANOUT] + 2 * level], along_x)
    height = max(t[t[at.FANOUT] + 2 * level + 1], count // along_x)
    elements = w[t[at.ELEMENT] : t[at.ELEMENT] + count]
    left = 0
    for k in range(count):
        if not _fed(elements, k, elements[k] + shift, width, height):
            w[rest + left] = elements[k]
            left += 1
    if left == count:
        return False
    requests = left if t[t[at.NO_MULTICAST] + level * t[at.SPACES] + v] else _different(w, rest, left)
    if requests >= groups:
        return False
    sums = t[at.SUMS]
    w[sums] += words * requests
    w[sums + 1] += words * left
    w[sums + 2] += words * (count - left)
    return True


@inner
def _first_step(t: IntArray, w: IntArray, v: int, level: int, loop: int) -> int:
    """Words that a step of the innermost moving loop uncovers; sets ``GONE``."""
    d, ranks = w[t[at.DIMENSION] + loop], t[at.RANKS]
    tile = kept = 1
    for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
        by = t[t[at.COEFFICIENT] + r * t[at.DIMENSIONS] + d] * w[t[at.STRIDE] + loop]
        width = w[t[at.WIDTH] + (level - 1) * ranks + r]
        w[t[at.GONE] + r] = by
        tile *= width
        kept *= max(0, width - abs(by))
    return int(tile - kept)


@inner
def _shift(t: IntArray, w: IntArray, v: int, loop: int) -> None:
    """How far the tile moves when ``loop`` steps and all loops inside fall back: ``SHIFT``; adds to ``GONE``."""
    d = w[t[at.DIMENSION] + loop]
    for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
        by = t[t[at.COEFFICIENT] + r * t[at.DIMENSIONS] + d] * w[t[at.STRIDE] + loop]
        w[t[at.SHIFT] + r] = by - w[t[at.GONE] + r]
        w[t[at.GONE] + r] += by


@inner
def count_traffic(
    t: IntArray, w: IntArray, x: FloatArray, factors: IntArray, v: int, level: int, loops: int, held: bool
) -> None:
    """Words that leave an instance of a level towards the next inner one: ``CONTENT``, ``RECEIVED`` and ``LINKS``.

    ``held``: the next inner level keeps the tensor (or is the compute level). Where it does not, only the ratio of the
    two counts matters, since a level further in says how many words pass.
    """
    dimensions, spaces, sums = t[at.DIMENSIONS], t[at.SPACES], t[at.SUMS]
    first = w[t[at.INSIDE] + level - 1] if level else 0
    tile = w[t[at.SIZE] + (level - 1) * spaces + v] if level else 1
    reuse = level > 0 and not t[t[at.NO_REUSE] + (level - 1) * spaces + v]
    groups = _groups(t, w, factors, v, level)
    # A tile that rests between two moves leaves nothing for the neighbours to pass on. One without sliding windows
    # moves farther than any two elements of the group are apart.
    by_links = w[t[at.FAN] + level] > 1 and not t[t[at.NO_LINK] + level * spaces + v]
    by_links = by_links and (t[t[at.SLIDES] + v] > 0 or not reuse)
    moves, code = t[at.MOVES] + v * dimensions, t[at.CODE] + v * dimensions
    while reuse and first < loops and not t[moves + w[t[at.DIMENSION] + first]]:
        first += 1
        by_links = False
    if not held and not by_links:
        x[t[at.CONTENT] + level], x[t[at.RECEIVED] + level], w[t[at.LINKS] + level] = groups, w[t[at.FAN] + level], 0
        return
    if not by_links and not t[t[at.SLIDES] + v]:
        # A step moves the tile farther than it is wide, and no two steps cancel: every visit needs all of it.
        words = tile * w[t[at.AFTER] + first]
        x[t[at.CONTENT] + level], x[t[at.RECEIVED] + level] = words * groups, words * w[t[at.FAN] + level]
        w[t[at.LINKS] + level] = 0
        return
    w[sums] = w[sums + 1] = w[sums + 2] = 0
    words, fresh, gone, begin = tile, tile, 0, first
    if reuse and first < loops:
        fresh = _first_step(t, w, v, level, first)
        gone = t[code + w[t[at.DIMENSION] + first]] * w[t[at.STRIDE] + first]
        begin = first + 1
    else:
        for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
            w[t[at.GONE] + r] = 0
    step1 = gone
    same = 1 if fresh == tile else 0  # visits before a step of loop 1 that need the same shape as that step
    for loop in range(begin, loops):
        step = t[code + w[t[at.DIMENSION] + loop]] * w[t[at.STRIDE] + loop]
        times = (w[t[at.BOUND] + loop] - 1) * w[t[at.AFTER] + loop + 1]
        shift = step - gone
        gone += step
        new = tile
        if reuse:
            new = 0 if shift == 0 else fresh if shift == step1 else tile
        if by_links:
            _shift(t, w, v, loop)
            if new == fresh and _by_links(t, w, factors, v, level, shift, new * times, groups):
                new = 0
                same += times
            elif new == fresh:
                same += times
        words += new * times
    if begin > first:
        times = (w[t[at.BOUND] + first] - 1) * w[t[at.AFTER] + first + 1]
        if by_links:
            before = (w[t[at.BOUND] + first] - 1) * same
            _first_step(t, w, v, level, first)
            for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
                w[t[at.SHIFT] + r] = w[t[at.GONE] + r]
            if _by_links(t, w, factors, v, level, step1, fresh * before, groups):
                times -= before
        words += fresh * times
    x[t[at.CONTENT] + level] = w[sums] + words * groups
    x[t[at.RECEIVED] + level] = w[sums + 1] + words * w[t[at.FAN] + level]
    w[t[at.LINKS] + level] = w[sums + 2]
