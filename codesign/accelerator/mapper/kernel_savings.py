"""Compiled: with which probability accesses are gated or skipped, by the rules of ``model.saf``."""

from __future__ import annotations

from math import ceil

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.kernel_memo import Zeros, look_up
from codesign.accelerator.mapper.kernel_ranks import words_of
from codesign.accelerator.mapper.nest import BoolArray, IntArray

__all__ = ["empty_probability", "find_savings"]


@inner
def empty_probability(t: IntArray, z: Zeros, v: int, words: int) -> float:
    """Probability that a tile is empty; a guess where it is not known yet (it is then noted down)."""
    s, w = z.integers, z.work_integers
    key = s[of.KEY]
    w[key : key + s[of.KEY_WORDS]] = 0
    w[key], w[key + 1] = t[at.LEVELS] * t[at.SPACES] + v, words
    place = look_up(z)
    return float(z.values[place, 0]) if place >= 0 else 0.0


@inner
def _target_loop(s: IntArray, w: IntArray, target: int, first: int, last: int, at_units: bool) -> tuple[int, bool]:
    """The loop that moves the target, and whether the access meets single operands."""
    dims = s[of.DIMS]
    for loop in range(first, last):
        moves = w[s[of.BOUND] + loop] > 1 and s[s[of.IN] + target * dims + w[s[of.DIMENSION] + loop]] == 1
        if at_units and (loop + 1 == last or not w[s[of.SPATIAL] + loop + 1]):
            return loop, not w[s[of.SPATIAL] + loop]
        if moves:
            return loop, False
    return last - 1, False


@inner
def _leader(s: IntArray, w: IntArray, target: int, level: int, child: int) -> tuple[int, bool, int]:
    """Target loop, whether operands are met singly, number of ``RELEVANT`` loops; sets ``INSIDE`` and ``MOLD``."""
    dims = s[of.DIMS]
    first, last = w[s[of.FIRST] + child + 1], w[s[of.FIRST] + level + 1]
    loop, single = _target_loop(s, w, target, first, last, child < 0)
    inside = w[s[of.INSIDE] : s[of.INSIDE] + dims]
    mold = w[s[of.MOLD] : s[of.MOLD] + dims]
    inside[:] = 1
    if not single:
        for inner in range(loop + 1):
            inside[w[s[of.DIMENSION] + inner]] *= w[s[of.BOUND] + inner]
    for d in range(dims):
        mold[d] = inside[d]
    w[s[of.RELEVANT]] = loop
    count = 1
    passing = w[s[of.SPATIAL] + loop] == 1
    for outer in range(loop + 1, last):
        d, bound = w[s[of.DIMENSION] + outer], w[s[of.BOUND] + outer]
        if bound == 1:
            continue
        if not w[s[of.SPATIAL] + outer]:
            passing = passing and child >= 0 and not s[s[of.IN] + target * dims + d]
            if not passing:
                continue
        mold[d] *= bound
        w[s[of.RELEVANT] + count] = outer
        count += 1
    return loop, single, count


@inner
def _shared_factors(s: IntArray, w: IntArray, target: int, met: int, loop: int, count: int) -> bool:
    """Iterations of both tensors' dimensions that advance together: ``SHARED``. False: the condition has no effect."""
    dims = s[of.DIMS]
    some = False
    for index in range(count):
        own = w[s[of.RELEVANT] + index]
        d = w[s[of.DIMENSION] + own]
        if w[s[of.SPATIAL] + loop] and some and s[s[of.IN] + met * dims + d]:
            return False
        if s[s[of.IN] + target * dims + d] and s[s[of.IN] + met * dims + d]:
            shared = s[of.SHARED] + d
            w[shared] = max(1, w[shared]) * w[s[of.BOUND] + own]
            some = True
    return True


@inner
def _met_words(t: IntArray, z: Zeros, target: int, met: int, block: int, loop: int, single: bool, count: int) -> int:
    """Words of the condition tensor's tile that one access meets (of one with a shape: both extents); 0: no effect."""
    s, w = z.integers, z.work_integers
    dims = s[of.DIMS]
    shared = w[s[of.SHARED] : s[of.SHARED] + dims]
    box = w[s[of.EXTENT] : s[of.EXTENT] + dims]
    shared[:] = 0
    if not single and not _shared_factors(s, w, target, met, loop, count):
        return 0
    together = 1
    for d in range(dims):
        box[d] = w[s[of.MOLD] + d]
        together *= max(1, shared[d])
    # One access brings a whole block: it is saved only if all words of the block are.
    spread = float(ceil(block / (words_of(t, s, target, w[s[of.INSIDE] : s[of.INSIDE] + dims]) / together)))
    for d in range(dims):
        if shared[d]:
            box[d] = ceil(box[d] / (shared[d] / spread))
            spread = spread / shared[d]
    if spread > 1:
        d = w[s[of.DIMENSION] + loop]
        box[d] = int(box[d] * spread)
    if not s[s[of.SHAPED] + met]:
        return int(words_of(t, s, met, box))
    shape = 0
    for r in range(t[t[at.RANK_START] + met], t[t[at.RANK_START] + met + 1]):
        width = 1
        for term in range(s[s[of.TERM_START] + r], s[s[of.TERM_START] + r + 1]):
            width += s[s[of.TERM_STEP] + term] * (box[s[s[of.TERM_DIMENSION] + term]] - 1)
        shape = (shape << 31) + width
    return int(shape)


@inner
def _ineffectual(t: IntArray, z: Zeros, level: int, target: int, option: int) -> float:
    """Probability that an access meets an empty tile of any condition tensor."""
    s, w = z.integers, z.work_integers
    spaces = t[at.SPACES]
    loop, single, count = _leader(s, w, target, level, w[s[of.CHILD] + level * spaces + target])
    effectual = 1.0
    for index in range(spaces):
        met = s[s[of.CONDITIONS] + option * spaces + index]
        if met < 0:
            break
        words = _met_words(t, z, target, met, t[t[at.BLOCK] + level], loop, single, count)
        if words:
            effectual *= 1 - empty_probability(t, z, met, words)
    return 1 - effectual


@inner
def find_savings(t: IntArray, w_dense: IntArray, z: Zeros, keep: BoolArray) -> bool:
    """``SAVED`` and ``SAVED_SKIPS`` of every level and tensor. False: the options of an entry cannot be compared."""
    s, q, x = z.integers, z.numbers, z.work_numbers
    levels, spaces = t[at.LEVELS], t[at.SPACES]
    x[s[of.SAVED] : s[of.SAVED] + levels * spaces] = -1.0
    option = 0
    while option < s[of.OPTIONS]:
        entry = s[s[of.ACTION] + option]
        best, place, probability, skips = -1.0, -1, 0.0, s[s[of.SKIPS] + option]
        while option < s[of.OPTIONS] and s[s[of.ACTION] + option] == entry:
            level, target = s[s[of.OPTION_LEVEL] + option], s[s[of.TARGET] + option]
            while level < levels and not keep[level, target]:
                level += 1
            if level < levels:
                own = level * spaces + target
                chance = _ineffectual(t, z, level, target, option)
                words = x[s[of.DENSE] + own] * w_dense[t[at.SIZE] + own] + x[s[of.META_WORDS] + own]
                value = q[s[of.WORTH] + level] * words * chance
                if np.isnan(value):
                    return False
                if value >= best:  # of equals the later one
                    best, place, probability = value, own, chance
            option += 1
        if place >= 0 and probability > x[s[of.SAVED] + place]:
            x[s[of.SAVED] + place] = probability
            x[s[of.SAVED_SKIPS] + place] = float(skips)
    return True
