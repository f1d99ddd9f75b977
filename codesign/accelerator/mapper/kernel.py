"""The exact model of dense, perfect mappings as compiled code: one mapping in about a microsecond.

The real program (and ``codesign.accelerator.model``) walks every temporal loop outside a boundary twice: iteration 0,
and iteration 1 with weight N - 1. For a perfect nest the outcome follows without walking. Let loop 1 be the innermost
one that moves a tile, with translation t1; when loop c beyond it steps, all inner loops fall back by one step each, so
the tile moves by t_c = step_c - (sum of the inner steps). The walk's rule for sliding windows then reads: the first
visit needs the whole tile; a step of loop 1 needs what t1 uncovers; a step of loop c needs nothing where t_c = 0, what
t1 uncovers where t_c = t1, and the whole tile else. Loop c steps N_c - 1 times an iteration of the loops outside it.

Neighbours pass data on where an element needs what a mesh neighbour had one visit before, which by the same argument
depends on t1 and t_c alone.
"""

from __future__ import annotations

from math import ceil, floor, log

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.compiled import compiled, inner
from codesign.accelerator.mapper.kernel_legality import allowed, find_loops, fits
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.kernel_sparse import find_layouts, sparse_cost
from codesign.accelerator.mapper.kernel_traffic import count_traffic
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray

__all__ = ["ILLEGAL", "UNKNOWN", "evaluate_rows", "objective", "score"]

ILLEGAL = -1.0
UNKNOWN = -2.0


@inner
def _all_traffic(
    t: IntArray, w: IntArray, x: FloatArray, factors: IntArray, keep: BoolArray, v: int, loops: int
) -> None:
    """Traffic below every level, partitions and the parents' shares, before any level is bypassed."""
    levels, spaces, dimensions = t[at.LEVELS], t[at.SPACES], t[at.DIMENSIONS]
    content, received, links, held = t[at.CONTENT], t[at.RECEIVED], t[at.LINKS], t[at.HELD]
    for level in range(levels):
        alone = w[t[at.FAN] + level] == 1
        if alone and level == 0:
            x[content] = x[received] = w[t[at.AFTER]]
            w[links] = 0
        elif alone and not keep[level - 1, v]:
            # What is passed on is set by the level inside, see ``_bypass``.
            x[content + level] = x[received + level] = 1.0
            w[links + level] = 0
        else:
            count_traffic(t, w, x, factors, v, level, loops, level == 0 or bool(keep[level - 1, v]))
        w[held + level] = w[t[at.SIZE] + level * spaces + v]
    x[t[at.SHARE] + levels - 1] = 0.0
    w[t[at.PARTITION] + levels - 1] = w[held + levels - 1]
    for level in range(levels - 2, -1, -1):
        fed = w[held + level]
        if w[t[at.FAN] + level + 1] > 1:
            box = t[at.EXTENT] + t[t[at.SPATIAL_END] + level + 1] * dimensions
            fed = 1
            for r in range(t[t[at.RANK_START] + v], t[t[at.RANK_START] + v + 1]):
                width = 1
                for term in range(t[t[at.TERM_START] + r], t[t[at.TERM_START] + r + 1]):
                    width += t[t[at.TERM_STEP] + term] * (w[box + t[t[at.TERM_DIMENSION] + term]] - 1)
                fed *= width
        w[t[at.PARTITION] + level] = w[t[at.PARTITION] + level + 1] * w[held + level] // fed
        x[t[at.SHARE] + level] = x[received + level + 1] / w[t[at.FAN] + level + 1]


@inner
def _bypass(t: IntArray, w: IntArray, x: FloatArray, keep: BoolArray, v: int) -> int:
    """Levels that do not hold a tensor: the next outer one delivers in their place. Returns the outermost that does."""
    outermost = t[at.LEVELS] - 1
    while not keep[outermost, v]:
        outermost -= 1
    for level in range(outermost):
        if not keep[level, v]:
            outer = level + 1
            factor = x[t[at.CONTENT] + level] * w[t[at.FAN] + outer] / x[t[at.RECEIVED] + outer]
            x[t[at.CONTENT] + outer] *= factor
            x[t[at.RECEIVED] + outer] *= factor
            w[t[at.LINKS] + outer] = 0
    x[t[at.SHARE] + outermost] = 0.0
    return int(outermost)


@inner
def _rounded(value: float) -> float:
    """Half away from zero; counts are never negative."""
    whole = floor(value)
    return float(max(0, whole + (1 if value - whole >= 0.5 else 0)))


@inner
def _count(t: IntArray, w: IntArray, x: FloatArray, keep: BoolArray, v: int, outermost: int) -> None:
    """Reads, fills and updates of one dataspace at every level."""
    spaces = t[at.SPACES]
    for level in range(t[at.LEVELS]):
        own = level * spaces + v
        x[t[at.READS] + own] = x[t[at.FILLS] + own] = x[t[at.UPDATES] + own] = 0.0
        if level > outermost or not keep[level, v]:
            continue
        peer = 0.0
        if level < outermost and w[t[at.LINKS] + level + 1]:
            peer = w[t[at.LINKS] + level + 1] / w[t[at.SPREAD] + level]
        content = x[t[at.CONTENT] + level]
        crossing, arriving = content + peer, x[t[at.SHARE] + level] + peer
        if not t[t[at.READ_WRITE] + v]:
            x[t[at.READS] + own] = _rounded(crossing)
            x[t[at.FILLS] + own] = float(floor(arriving))
            continue
        x[t[at.UPDATES] + own] = _rounded(content)
        if not t[t[at.RMW] + own]:
            # The first partial sum of every element starts from zero: nothing is read or fetched for it.
            crossing -= w[t[at.PARTITION] + level]
            arriving -= w[t[at.PARTITION] + level] if level < outermost else 0
        x[t[at.READS] + own] = _rounded(crossing)
        x[t[at.FILLS] + own] = _rounded(arriving)


@inner
def _cycles(t: IntArray, p: FloatArray, w: IntArray, x: FloatArray, keep: BoolArray) -> float:
    """Of the slowest of compute and levels: a level stretches them where its demand exceeds a bandwidth."""
    cycles = float(w[t[at.AFTER]])
    slowest = cycles
    for level in range(t[at.LEVELS]):
        if not t[t[at.LIMITED] + level]:
            continue
        read = written = 0.0
        for v in range(t[at.SPACES]):
            own = level * t[at.SPACES] + v
            if not keep[level, v]:
                continue
            scale = p[t[at.SCALE] + own]
            read += x[t[at.READS] + own] / cycles * scale
            written += (x[t[at.FILLS] + own] + x[t[at.UPDATES] + own]) / cycles * scale
        slowdown = 1.0
        if p[t[at.READ_BANDWIDTH] + level] < read:
            slowdown = min(slowdown, p[t[at.READ_BANDWIDTH] + level] / read)
        if p[t[at.WRITE_BANDWIDTH] + level] < written:
            slowdown = min(slowdown, p[t[at.WRITE_BANDWIDTH] + level] / written)
        if p[t[at.SHARED_BANDWIDTH] + level] < read + written:
            slowdown = min(slowdown, p[t[at.SHARED_BANDWIDTH] + level] / (read + written))
        slowest = max(slowest, float(ceil(cycles / slowdown)))
    return slowest


@inner
def _energy_pJ(t: IntArray, p: FloatArray, w: IntArray, x: FloatArray, keep: BoolArray, cycles: float) -> float:
    """Accesses, address generation, leakage and computes."""
    total = p[t[at.COMPUTE_PJ]]
    for level in range(t[at.LEVELS]):
        if t[t[at.DUMMY] + level]:
            continue
        spread, block = float(w[t[at.SPREAD] + level]), t[t[at.BLOCK] + level]
        clusters = min(spread, float(t[t[at.CLUSTERS] + level]))
        for v in range(t[at.SPACES]):
            own = level * t[at.SPACES] + v
            if not keep[level, v]:
                continue
            reads, fills, updates = x[t[at.READS] + own], x[t[at.FILLS] + own], x[t[at.UPDATES] + own]
            access = ceil(reads / block) * p[t[at.READ_PJ] + level] + ceil(fills / block) * p[t[at.FILL_PJ] + level]
            access += ceil(updates / block) * p[t[at.UPDATE_PJ] + level]
            total += access / (spread / clusters) * spread
            served = updates if t[t[at.READ_WRITE] + v] else reads
            total += (served + fills) * p[t[at.ADDRESS_PJ] + level] * clusters
        used = float(w[t[at.SPREAD] + t[t[at.GATE] + level]])
        total += p[t[at.LEAK_PJ] + level] * cycles * used * p[t[at.GATE_SHARE] + level]
    return float(total)


@inner
def score(
    t: IntArray,
    p: FloatArray,
    w: IntArray,
    x: FloatArray,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
    z: Zeros | None,
) -> tuple[float, float]:
    """Energy (pJ) and cycles of one mapping; ``(ILLEGAL, ILLEGAL)`` if it is not legal.

    ``UNKNOWN`` twice where the memo of ``z`` lacks entries: they are noted there; score the mapping again.

    Args:
        t, p: integers and numbers of ``Tables``.
        w, x: working memory of ``t[WORK_INTEGERS]`` and ``t[WORK_NUMBERS]``; holds the counts afterwards.
        factors, order, keep: one row of a ``Batch``.
        z: what zeros change; None where they change nothing.
    """
    if not allowed(t, p, w, factors) or not fits(t, p, w, factors, keep, z):
        return ILLEGAL, ILLEGAL
    if z is not None:
        z.noted[0] = 0
        if not find_layouts(t, w, z, factors, order, keep):
            return (UNKNOWN, UNKNOWN) if z.noted[0] else (ILLEGAL, ILLEGAL)
    loops = find_loops(t, w, factors, order)
    for v in range(t[at.SPACES]):
        _all_traffic(t, w, x, factors, keep, v, loops)
        _count(t, w, x, keep, v, _bypass(t, w, x, keep, v))
    if z is not None:
        macs = float(w[t[at.AFTER]] * w[t[at.SPREAD]] * w[t[at.FAN]])
        found = sparse_cost(t, p, w, x, z, keep, macs)
        if z.noted[0]:
            return UNKNOWN, UNKNOWN
        return (found[0], found[1] + t[at.LATENCY]) if found[0] >= 0 else (ILLEGAL, ILLEGAL)
    cycles = _cycles(t, p, w, x, keep)
    return _energy_pJ(t, p, w, x, keep, cycles), cycles + t[at.LATENCY]


@inner
def objective(energy_pJ: float, cycles: float, energy_weight: float, cycles_weight: float) -> float:
    """Logarithm of what is minimised; infinite for an illegal mapping."""
    if energy_pJ < 0:
        return np.inf
    return energy_weight * log(max(energy_pJ, 1e-300)) + cycles_weight * log(max(cycles, 1e-300))


@compiled
def evaluate_rows(
    t: IntArray,
    p: FloatArray,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
    energy_pJ: FloatArray,
    cycles: FloatArray,
    begin: int,
    z: Zeros | None,
) -> int:
    """``score`` of every row from ``begin`` on; returns the first one whose score is ``UNKNOWN``, or their number."""
    w, x = np.zeros(t[at.WORK_INTEGERS], np.int64), np.zeros(t[at.WORK_NUMBERS])
    for row in range(begin, factors.shape[0]):
        energy_pJ[row], cycles[row] = score(t, p, w, x, factors[row], order[row], keep[row], z)
        if energy_pJ[row] == UNKNOWN:
            return row
    return int(factors.shape[0])
