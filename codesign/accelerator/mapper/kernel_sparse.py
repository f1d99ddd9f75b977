"""Compiled: energy and cycles where zeros are gated, skipped or left out, with the exact engine's numbers."""

from __future__ import annotations

from math import ceil, floor

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.kernel_fates import combine, describe
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.kernel_ranks import complete_nest, lay_out, neighbours
from codesign.accelerator.mapper.kernel_savings import find_savings
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray

__all__ = ["find_layouts", "sparse_cost"]

_SPLITTER = 134217729.0  # 2**27 + 1: Dekker, A floating-point technique for extending the available precision (1971)


@inner
def _error_of_product(a: float, b: float, product: float) -> float:
    """What rounding took from a product, exactly."""
    high_a = a * _SPLITTER - (a * _SPLITTER - a)
    high_b = b * _SPLITTER - (b * _SPLITTER - b)
    low_a, low_b = a - high_a, b - high_b
    return low_a * low_b - (((product - high_a * high_b) - low_a * high_b) - high_a * low_b)


@inner
def _six_digits(value: float) -> float:
    """Rounded to six decimal digits, halves to even, as Python's ``round`` does."""
    product = value * 1e6
    whole = np.rint(product)
    if abs(product - floor(product) - 0.5) == 0.0:
        error = _error_of_product(value, 1e6, product)
        if error != 0.0:
            whole = floor(product) + (1.0 if error > 0 else 0.0)
    return float(whole / 1e6)


@inner
def _of_average_instance(words: float, spread: float, average: float) -> float:
    """``words * average / spread``, rounded up from the exact quotient."""
    if average == spread:
        return words
    product = average * words
    error = _error_of_product(average, words, product)
    found = float(ceil(product / spread))
    while found * spread < product or (found * spread == product and error > 0):
        found += 1
    while (found - 1) * spread > product or ((found - 1) * spread == product and error <= 0):
        found -= 1
    return found


@inner
def find_layouts(
    t: IntArray,
    w_dense: IntArray,
    z: Zeros,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
) -> bool:
    """Layouts and tiles of all tensors; False where ranks or room for metadata do not suffice."""
    s, q, x = z.integers, z.numbers, z.work_numbers
    spaces, levels = t[at.SPACES], t[at.LEVELS]
    complete_nest(s, t, z.work_integers, factors, order)
    neighbours(t, s, z.work_integers, keep)
    for v in range(spaces):
        for level in range(levels):
            if keep[level, v] and not lay_out(t, w_dense, z, v, level):
                return False
    for level in range(levels):
        bits = 0.0
        for v in range(spaces):
            if keep[level, v]:
                describe(t, w_dense, z, v, level)
                bits += x[s[of.META_ROOM] + level * spaces + v]
        if not bits <= q[s[of.ROOM] + level]:
            return False
    return True


@inner
def _nonzero(density: float, other_leader: float) -> float:
    """Probability that an operand is not zero, given that what the other one's accesses wait for was not empty."""
    share = float(np.rint(density * 1e6) / 1e6)
    if other_leader >= 0:
        empty = _six_digits(other_leader)
        share = share / (1 - empty) if empty < 1 else 0.0
    return min(1.0, max(0.0, share))


@inner
def _knows_zeros(t: IntArray, s: IntArray, keep: BoolArray, v: int) -> bool:
    """Whether the innermost level that keeps a tensor has metadata, so that its zeros do not arrive at all."""
    level = 0
    while not keep[level, v]:
        level += 1
    return bool(s[s[of.FORM] + level * t[at.SPACES] + v] > 0)


@inner
def _computes(t: IntArray, z: Zeros, keep: BoolArray, macs: float) -> tuple[float, float, float, float]:
    """Computes that are made, gated and skipped at the compute units, and those whose cycle passes idly."""
    s, q, x = z.integers, z.numbers, z.work_numbers
    total, idle = macs, 0.0
    first, second = s[s[of.OPERANDS]], s[s[of.OPERANDS] + 1]
    for index in range(2):
        v = s[s[of.OPERANDS] + index]
        leader = x[s[of.LEADER] + v]
        if leader >= 0:
            removed = floor(total * leader)
            total -= removed
            idle += 0 if x[s[of.LEADER_SKIPS] + v] else removed
    gating, skipping = s[of.GATES_COMPUTES], s[of.SKIPS_COMPUTES]
    if not gating and not skipping:
        return total, 0.0, 0.0, idle
    one = _nonzero(q[s[of.DENSITY] + first], x[s[of.LEADER] + second])
    two = _nonzero(q[s[of.DENSITY] + second], x[s[of.LEADER] + first])
    known1, known2 = _knows_zeros(t, s, keep, first), _knows_zeros(t, s, keep, second)
    zero1, zero2 = 0.0 if known1 else 1 - one, 0.0 if known2 else 1 - two
    gone1, gone2 = 1 - one if known1 else 0.0, 1 - two if known2 else 0.0
    useless = one * zero2 + zero1 * two + zero1 * zero2
    unaligned = (one + zero1) * gone2 + gone1 * (two + zero2)
    skipped = gated = 0.0
    if skipping:
        skipped += total * unaligned
    elif gating:
        gated += total * unaligned
    if gating:
        gated += total * useless
    done = total - floor(skipped) - floor(gated) - floor(total * (gone1 * gone2))
    return done, float(floor(gated)), float(floor(skipped)), idle


@inner
def _bits(s: IntArray, x: FloatArray, own: int, kind: int, fate: int) -> float:
    """Bits of metadata that one kind of access moves."""
    most, total = s[of.MOST_RANKS], 0.0
    for number in range(s[s[of.FORM] + own]):
        meta = s[of.META] + ((3 * own + kind) * most + number) * 6 + fate
        total += x[meta] * s[s[of.META_BITS] + own * most + number]
        total += x[meta + 3] * s[s[of.PAYLOAD_BITS] + own * most + number]
    return total


@inner
def _level_cycles(
    t: IntArray, p: FloatArray, w_dense: IntArray, z: Zeros, keep: BoolArray, level: int, cycles: float
) -> float:
    """Cycles of one level: those of the compute units, stretched where the demand exceeds a bandwidth."""
    s, x = z.integers, z.work_numbers
    spaces, spread = t[at.SPACES], float(w_dense[t[at.SPREAD] + level])
    word = s[s[of.WORD_BITS] + level]
    reads = writes = 0.0
    if cycles:
        for v in range(spaces):
            if not keep[level, v]:
                continue
            own = level * spaces + v
            data, average, scale = s[of.DATA] + 9 * own, x[s[of.AVERAGE] + own], p[t[at.SCALE] + own]
            read = x[data] + x[data + 1] + int(_bits(s, x, own, 0, 0) + _bits(s, x, own, 0, 1)) // word
            written = x[data + 3] + x[data + 4] + x[data + 6] + x[data + 7]
            moved = _bits(s, x, own, 1, 0) + _bits(s, x, own, 1, 1) + _bits(s, x, own, 2, 0) + _bits(s, x, own, 2, 1)
            written += int(moved) // word
            reads += _of_average_instance(read, spread, average) / cycles * scale
            writes += _of_average_instance(written, spread, average) / cycles * scale
    slowdown = 1.0
    if p[t[at.READ_BANDWIDTH] + level] < reads:
        slowdown = min(slowdown, p[t[at.READ_BANDWIDTH] + level] / reads)
    if p[t[at.WRITE_BANDWIDTH] + level] < writes:
        slowdown = min(slowdown, p[t[at.WRITE_BANDWIDTH] + level] / writes)
    if p[t[at.SHARED_BANDWIDTH] + level] < reads + writes:
        slowdown = min(slowdown, p[t[at.SHARED_BANDWIDTH] + level] / (reads + writes))
    return float(ceil(cycles / slowdown))


@inner
def _tensor_pJ(t: IntArray, p: FloatArray, w_dense: IntArray, z: Zeros, v: int, level: int) -> float:
    """Energy of one tensor at one level over all its instances."""
    s, q, w, x = z.integers, z.numbers, z.work_integers, z.work_numbers
    spaces, spread = t[at.SPACES], float(w_dense[t[at.SPREAD] + level])
    own, block = level * spaces + v, t[t[at.BLOCK] + level]
    average = x[s[of.AVERAGE] + own]
    if average == 0:
        return 0.0
    total = 0.0
    for kind in range(3):
        for fate in range(3):
            count = ceil(x[s[of.DATA] + 9 * own + 3 * kind + fate] / block) * x[s[of.RATIO] + own]
            if count:
                total += count * q[s[of.PRICE] + 9 * level + 3 * kind + fate]
            moved = _bits(s, x, own, kind, fate)
            if moved and s[s[of.META_WIDTH] + level]:
                total += ceil(moved / s[s[of.META_WIDTH] + level]) * q[s[of.META_PRICE] + 9 * level + 3 * kind + fate]
    parent = w[s[of.PARENT] + own]
    if parent >= 0 and s[s[of.SQUEEZED] + parent * spaces + v] and not s[s[of.SQUEEZED] + own]:
        total += x[s[of.DATA] + 9 * own + 3] * q[s[of.UNPACK_PJ] + level]
        if t[t[at.READ_WRITE] + v]:
            total += x[s[of.DATA] + 9 * (parent * spaces + v) + 6] * q[s[of.PACK_PJ] + level]
    clusters = min(spread, float(t[t[at.CLUSTERS] + level]))
    energy = total / (spread / clusters) * average
    served = s[of.DATA] + 9 * own + (6 if t[t[at.READ_WRITE] + v] else 0)
    fills = s[of.DATA] + 9 * own + 3
    addresses = x[served] + x[served + 1] + (x[fills] + x[fills + 1])
    return float(energy + addresses * p[t[at.ADDRESS_PJ] + level] * clusters)


@inner
def sparse_cost(
    t: IntArray, p: FloatArray, w_dense: IntArray, x_dense: FloatArray, z: Zeros, keep: BoolArray, macs: float
) -> tuple[float, float]:
    """Energy (pJ) and cycles of a mapping whose dense counts and layouts are known; NaN where an energy is missing."""
    s, q, x = z.integers, z.numbers, z.work_numbers
    spaces, levels = t[at.SPACES], t[at.LEVELS]
    if not find_savings(t, w_dense, z, keep):
        return np.nan, np.nan
    for v in range(spaces):
        combine(t, w_dense, x_dense, z, keep, v)
    made, gated, skipped, idle = _computes(t, z, keep, macs)
    cycles = float(ceil((made + gated + idle) / (macs / w_dense[t[at.AFTER]])))
    busy = cycles
    for level in range(levels):
        if t[t[at.LIMITED] + level]:
            busy = max(busy, _level_cycles(t, p, w_dense, z, keep, level, cycles))
    compute = s[of.COMPUTE]
    total = made * q[compute] + gated * q[compute + 1] + skipped * q[compute + 2]
    for level in range(levels):
        if t[t[at.DUMMY] + level]:
            continue
        for v in range(spaces):
            if keep[level, v]:
                total += _tensor_pJ(t, p, w_dense, z, v, level)
        gate, used = t[t[at.GATE] + level], 1.0
        for v in range(spaces):
            own = gate * spaces + v
            used = max(used, x[s[of.AVERAGE] + own] if keep[gate, v] else float(w_dense[t[at.SPREAD] + gate]))
        total += p[t[at.LEAK_PJ] + level] * busy * used * p[t[at.GATE_SHARE] + level]
    return float(total), busy
