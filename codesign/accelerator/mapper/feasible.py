"""The smallest mapping: whether anything fits at all, decided exactly, and if not, why.

Fan-outs, capacities and the order of axes only ever get tighter when a factor moves inwards or onto an axis. So for
each dimension only its *smallest* factorisations matter (those that no other beats at every level and on every axis),
and a search over their combinations that cuts off what is already too large is exact. Without factor limits every
dimension has one smallest factorisation: everything at the backing store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import prod

import numpy as np

from codesign.accelerator.mapper import diagnosis
from codesign.accelerator.mapper.diagnosis import Option, demands, least
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.result import Infeasible

__all__ = ["divisors", "smallest"]

# Reached only by limits that leave many incomparable factorisations in several dimensions.
_MOST_COMBINATIONS = 20_000


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def smallest(
    space: MapSpace, capacity: list[float], stored: Callable[[int, int, int], int] = diagnosis.whole
) -> Batch | Infeasible:
    """A legal mapping with tiles as small as the constraints allow (a batch of one), or why there is none.

    Minimum utilisations are not looked at, nor metadata. ``capacity`` in words per storage level, infinite where
    unlimited; ``stored`` (level, dataspace, words) is what a tile takes of it, no less for a larger tile.
    """
    impossible = diagnosis.contradiction(space)
    if impossible is not None:
        return impossible
    options: list[list[Option]] = []
    for index in range(len(space.nest.dimensions)):
        found = _options(space, index)
        if not found:
            return diagnosis.no_factors(space, space.nest.dimensions[index])
        options.append(found)
    patterns = list(_keep_patterns(space))
    if not patterns:
        return diagnosis.kept_nowhere(space)
    exhausted = True
    for keep in patterns:
        search = _Combination(space, capacity, keep, options, stored)
        chosen = search.find()
        exhausted &= search.exhausted
        if chosen is not None:
            factors = np.array([option.factors for option in chosen]).T[None]
            return Batch(np.ascontiguousarray(factors), space.orders[:, 0][None], np.array([keep]))
    return diagnosis.too_large(space, capacity, patterns[0], options, exhausted, stored)


def _options(space: MapSpace, index: int) -> list[Option]:
    """The smallest factorisations of one active dimension, by the innermost levels' factors."""
    dimension, bound = space.nest.dimensions[index], int(space.bounds[index])
    steps = [block for block in space.blocks if block.slots]
    last = steps[-1]
    if all(block.lower[dimension] == 1 for block in steps) and last.upper[dimension] >= bound:
        steps = [last]
    reached: dict[int, list[tuple[int, ...]]] = {1: [(1,) * len(space.nest.slots)]}
    for block in steps:
        grown: dict[int, list[tuple[int, ...]]] = {}
        for inside, partial in reached.items():
            for factor in divisors(bound // inside):
                if block.lower[dimension] <= factor <= block.upper[dimension]:
                    for slot in block.slots if factor > 1 else block.slots[:1]:
                        if factor <= space.fanout[slot] or not block.spatial:
                            grown.setdefault(inside * factor, []).extend(
                                (*old[:slot], factor, *old[slot + 1 :]) for old in partial
                            )
        reached = {inside: _unbeaten(space, partial) for inside, partial in grown.items()}
    return [Option(factors, _extents(space, factors)) for factors in reached.get(bound, [])]


def _extents(space: MapSpace, factors: tuple[int, ...]) -> tuple[int, ...]:
    ends = [sum(slot.level <= level for slot in space.nest.slots) for level in range(len(space.architecture.storage))]
    return tuple(prod(factors[:end]) for end in ends)


def _unbeaten(space: MapSpace, partial: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Those for which no other needs as little or less at every level and on every axis."""
    spatial = [index for index, slot in enumerate(space.nest.slots) if slot.axis != "T"]
    needs = {factors: (*_extents(space, factors), *(factors[slot] for slot in spatial)) for factors in partial}
    kept: list[tuple[int, ...]] = []
    for factors in sorted(needs, key=lambda factors: (sum(needs[factors]), factors)):
        if not any(all(a <= b for a, b in zip(needs[k], needs[factors], strict=True)) for k in kept):
            kept.append(factors)
    return kept


def _keep_patterns(space: MapSpace) -> Iterator[list[list[bool]]]:
    """The smallest choices of what is kept where: what must be, and each dataspace somewhere, outermost first."""
    levels = range(len(space.keep))
    ways = []
    for dataspace in range(len(space.problem.dataspaces)):
        free = [level for level in reversed(levels) if space.keep[level][dataspace] is None]
        must = any(space.keep[level][dataspace] for level in levels)
        ways.append([None] if must else free)
    for extra in product(*ways):
        yield [[space.keep[i][d] is True or extra[d] == i for d in range(len(extra))] for i in levels]


class _Combination:
    """Depth-first search for one option a dimension, such that everything fits together."""

    def __init__(
        self,
        space: MapSpace,
        capacity: list[float],
        keep: list[list[bool]],
        options: list[list[Option]],
        stored: Callable[[int, int, int], int],
    ) -> None:
        self._space, self._capacity, self._keep, self._options = space, capacity, keep, options
        self._stored = stored
        self._left = _MOST_COMBINATIONS
        self._least = [least(own) for own in options]

    @property
    def exhausted(self) -> bool:
        """False if the search stopped at its limit, so that nothing found proves nothing."""
        return self._left >= 0

    def find(self) -> list[Option] | None:
        return self._extend([])

    def _extend(self, chosen: list[Option]) -> list[Option] | None:
        self._left -= 1
        if not self.exhausted or not self._fits([*chosen, *self._least[len(chosen) :]]):
            return None
        if len(chosen) == len(self._options):
            return chosen
        for option in self._options[len(chosen)]:
            found = self._extend([*chosen, option])
            if found is not None:
                return found
        return None

    def _fits(self, chosen: list[Option]) -> bool:
        factors = np.array([option.factors for option in chosen]).T
        spatial = [index for index, slot in enumerate(self._space.nest.slots) if slot.axis != "T"]
        if (factors[spatial].prod(axis=1) > self._space.fanout[spatial]).any():
            return False
        if all(option in own for option, own in zip(chosen, self._options, strict=True)):
            return bool(self._space.allowed(factors[None])[0]) and self._within(chosen)
        return self._within(chosen)

    def _within(self, chosen: list[Option]) -> bool:
        words = demands(self._space, self._keep, chosen, self._stored)
        return all(demand <= limit for demand, limit in zip(words, self._capacity, strict=True))
