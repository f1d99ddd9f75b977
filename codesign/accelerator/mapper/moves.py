"""Random mappings and random changes of mappings, compiled: what a search tries next."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.compiled import inner
from codesign.accelerator.mapper.nest import BoolArray, IntArray

__all__ = ["Choices", "RandomState", "below", "copy_mapping", "draw_mapping", "mutate", "random_state", "unit"]

RandomState = NDArray[np.uint64]


class Choices(NamedTuple):
    """Factorisations of every dimension over the slots within its limits: (K, S), of dimension d from start[d]."""

    rows: IntArray
    start: IntArray


def random_state(seed: int, stream: int) -> RandomState:
    """State of one stream of random numbers: the same for the same seed and stream, different ones are independent."""
    return np.asarray(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64), np.uint64)


@inner
def _next(state: RandomState) -> np.uint64:
    """SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(z ^ (z >> np.uint64(31)))


@inner
def below(state: RandomState, bound: int) -> int:
    """A whole number from 0 to ``bound`` - 1."""
    return np.int64(((_next(state) >> np.uint64(33)) * np.uint64(bound)) >> np.uint64(31))  # type: ignore[return-value]


@inner
def unit(state: RandomState) -> float:
    """A number in [0, 1)."""
    return float(_next(state) >> np.uint64(11)) * 2.0**-53


@inner
def copy_mapping(
    factors: IntArray, order: IntArray, keep: BoolArray, to_factors: IntArray, to_order: IntArray, to_keep: BoolArray
) -> None:
    """One mapping over another."""
    for slot in range(factors.shape[0]):
        for d in range(factors.shape[1]):
            to_factors[slot, d] = factors[slot, d]
    for rank in range(order.shape[0]):
        for d in range(order.shape[1]):
            to_order[rank, d] = order[rank, d]
    for level in range(keep.shape[0]):
        for v in range(keep.shape[1]):
            to_keep[level, v] = keep[level, v]


@inner
def _draw_order(t: IntArray, rank: int, factors: IntArray, order: IntArray, state: RandomState) -> None:
    """A random order of one temporal block: fixed loops in their places, trivial ones behind the free ones."""
    dimensions = order.shape[0]
    row = rank * dimensions
    place = 0
    last = dimensions
    for index in range(dimensions):
        if t[t[at.FIXED_INNER] + row + index] >= 0:
            order[place] = t[t[at.FIXED_INNER] + row + index]
            place += 1
        if t[t[at.FIXED_OUTER] + row + index] >= 0:
            last -= 1
    for index in range(dimensions - last):
        order[last + index] = t[t[at.FIXED_OUTER] + row + index]
    first, end = place, last
    for d in range(dimensions):
        fixed = False
        for index in range(first):
            fixed = fixed or order[index] == d
        for index in range(end, dimensions):
            fixed = fixed or order[index] == d
        if not fixed and factors[d] > 1:
            order[place] = d
            place += 1
        elif not fixed:
            last -= 1
            order[last] = d
    for index in range(place - 1, first, -1):
        other = first + below(state, index - first + 1)
        order[index], order[other] = order[other], order[index]


@inner
def _kept_everywhere(keep: BoolArray) -> bool:
    for v in range(keep.shape[1]):
        level = 0
        while level < keep.shape[0] and not keep[level, v]:
            level += 1
        if level == keep.shape[0]:
            return False
    return True


@inner
def draw_mapping(
    t: IntArray,
    rows: IntArray,
    start: IntArray,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
    state: RandomState,
) -> bool:
    """A random mapping, every factorisation and order as likely as any other; False if it keeps a tensor nowhere."""
    slots, dimensions = factors.shape
    for d in range(dimensions):
        row = start[d] + below(state, start[d + 1] - start[d])
        for slot in range(slots):
            factors[slot, d] = rows[row, slot]
    for slot in range(slots):
        rank = t[t[at.SLOT_RANK] + slot]
        if rank >= 0:
            _draw_order(t, rank, factors[slot], order[rank], state)
    for level in range(keep.shape[0]):
        for v in range(keep.shape[1]):
            said = t[t[at.MAY_KEEP] + level * keep.shape[1] + v]
            keep[level, v] = below(state, 2) == 1 if said < 0 else said == 1
    return _kept_everywhere(keep)


@inner
def _is_free(t: IntArray, rank: int, d: int) -> bool:
    row = rank * t[at.DIMENSIONS]
    for index in range(t[at.DIMENSIONS]):
        if t[t[at.FIXED_INNER] + row + index] == d or t[t[at.FIXED_OUTER] + row + index] == d:
            return False
    return True


@inner
def _move_prime(t: IntArray, factors: IntArray, state: RandomState) -> None:
    """A prime factor of a dimension goes to another slot."""
    pick = below(state, t[at.PRIME_COUNT])
    d, prime = t[t[at.PRIMES] + 2 * pick], t[t[at.PRIMES] + 2 * pick + 1]
    slots = factors.shape[0]
    source = below(state, slots)
    for offset in range(slots):
        slot = (source + offset) % slots
        if factors[slot, d] % prime == 0:
            target = (slot + 1 + below(state, slots - 1)) % slots if slots > 1 else slot
            factors[slot, d] //= prime
            factors[target, d] *= prime
            return


@inner
def _swap_slots(factors: IntArray, state: RandomState) -> None:
    """The factors of one dimension in two slots change places."""
    slots, dimensions = factors.shape
    d, a, b = below(state, dimensions), below(state, slots), below(state, slots)
    factors[a, d], factors[b, d] = factors[b, d], factors[a, d]


@inner
def _move_loop(t: IntArray, order: IntArray, state: RandomState) -> None:
    """A free loop of one temporal block goes to another free place of it."""
    rank = below(state, order.shape[0])
    dimensions = order.shape[1]
    first, last = 0, dimensions - 1
    while first < dimensions and not _is_free(t, rank, order[rank, first]):
        first += 1
    while last > first and not _is_free(t, rank, order[rank, last]):
        last -= 1
    if last <= first:
        return
    source, target = first + below(state, last - first + 1), first + below(state, last - first + 1)
    d = order[rank, source]
    step = 1 if target > source else -1
    while source != target:
        order[rank, source] = order[rank, source + step]
        source += step
    order[rank, target] = d


@inner
def mutate(
    t: IntArray,
    rows: IntArray,
    start: IntArray,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
    state: RandomState,
) -> bool:
    """A few random changes in place; False if a tensor is then kept nowhere."""
    while True:
        kind = below(state, 16)
        if kind < 7 and t[at.PRIME_COUNT]:
            _move_prime(t, factors, state)
        elif kind < 9 and t[at.PRIME_COUNT]:
            _move_prime(t, factors, state)
            _move_prime(t, factors, state)
        elif kind < 10:
            _swap_slots(factors, state)
        elif kind < 13:
            _move_loop(t, order, state)
        elif kind < 14:
            d = below(state, factors.shape[1])
            row = start[d] + below(state, start[d + 1] - start[d])
            for slot in range(factors.shape[0]):
                factors[slot, d] = rows[row, slot]
        else:
            level, v = below(state, keep.shape[0]), below(state, keep.shape[1])
            if t[t[at.MAY_KEEP] + level * keep.shape[1] + v] < 0:
                keep[level, v] = not keep[level, v]
        if below(state, 3):
            return _kept_everywhere(keep)
