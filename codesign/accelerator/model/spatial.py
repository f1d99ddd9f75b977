"""Multicast inside one spatial group: which elements need the same data, and which get it from a neighbour.

An element of a group is one child instance. All elements of one step hold translates of one point set, so two of
them need the same data exactly if their offsets are equal. Offsets are encoded as one integer (see ``encoding``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from codesign.errors import InputError

__all__ = ["Group", "Shares", "clear_caches"]

_MOST_ELEMENTS = 4_000_000


@dataclass(frozen=True, slots=True)
class Shares:
    """How one step's deliveries split up: for each multicast degree, the number of groups and their total hops."""

    groups: tuple[tuple[int, int, float], ...]
    """(elements of a group, number of such groups, sum of their hops)."""
    linked: int = 0
    """Elements fed by a neighbour instead."""


@dataclass(frozen=True)
class Group:
    """A spatial group and one dataspace. Linear element index: mixed radix over the loops, the outermost slowest.

    Args:
        bounds: iterations of each loop, innermost first.
        offsets: encoded projection of one step of each loop.
        mesh: width and height of the mesh on which element k sits at (k mod width, k div width).
        multicast: False if every element is served on its own.
    """

    bounds: tuple[int, ...]
    offsets: tuple[int, ...]
    mesh: tuple[int, int]
    multicast: bool = True

    def elements(self) -> list[int]:
        """Encoded offset of every element."""
        if prod(self.bounds) > _MOST_ELEMENTS:
            raise InputError(
                f"not modelled: neighbour transfers or sliding windows over more than {_MOST_ELEMENTS} instances",
                got=" x ".join(map(str, self.bounds)),
                key="mapping",
                fix="use smaller spatial factors or no_link_transfer",
            )
        found = [0]
        for bound, step in zip(self.bounds, self.offsets, strict=True):
            found = [base + index * step for index in range(bound) for base in found]
        return found

    def shares(self, hops: bool) -> Shares:
        """The split without neighbours. ``hops`` False leaves the hops at 0 and avoids looking at every element."""
        return _shares(self, hops)

    def neighbour_offsets(self) -> frozenset[int]:
        """All differences between the offsets of mesh neighbours."""
        return _neighbour_offsets(self, self)

    def linked_shares(self, previous: Group, shift: int, hops: bool) -> Shares | None:
        """The split if elements may take data from a mesh neighbour that held it in the step before.

        Args:
            previous: the group as it was in the step before (other bounds in an imperfect nest).
            shift: how far the whole point set moved since then, encoded.

        Returns:
            None if that does not strictly reduce the deliveries.
        """
        if shift not in _neighbour_offsets(self, previous):
            return None
        return _linked_shares(self, previous, shift, hops)


def _neighbours(group: Group, previous: Group) -> Iterator[tuple[int, int]]:
    """Pairs (element, element of the step before at a mesh neighbour)."""
    width, height = group.mesh
    count, before = len(group.elements()), len(previous.elements())
    for element in range(count):
        x, y = element % width, element // width
        if x > 0 and element - 1 < before:
            yield element, element - 1
        if x + 1 < width and element + 1 < before:
            yield element, element + 1
        if y > 0 and element - width < before:
            yield element, element - width
        if y + 1 < height and element + width < before:
            yield element, element + width


def _carries(bounds: tuple[int, ...], offsets: tuple[int, ...]) -> set[int]:
    """All differences between the offsets of successive elements (a carry resets the loops inside it)."""
    found, reset = set(), 0
    for bound, offset in zip(bounds, offsets, strict=True):
        found.add(offset - reset)
        reset += (bound - 1) * offset
    return found


@lru_cache(maxsize=4096)
def _neighbour_offsets(group: Group, previous: Group) -> frozenset[int]:
    """All differences between the offsets of mesh neighbours."""
    if group == previous:
        row, loops = 1, 0
        while loops < len(group.bounds) and row < group.mesh[0]:
            row, loops = row * group.bounds[loops], loops + 1
        if row == group.mesh[0] or (loops == len(group.bounds) and row < group.mesh[0]):  # the loops make up whole rows
            steps = _carries(group.bounds[:loops], group.offsets[:loops])
            steps |= _carries(group.bounds[loops:], group.offsets[loops:])
            return frozenset(steps | {-step for step in steps})
    here, there = group.elements(), previous.elements()
    return frozenset(there[b] - here[a] for a, b in _neighbours(group, previous))


@lru_cache(maxsize=4096)
def _linked_shares(group: Group, previous: Group, shift: int, hops: bool) -> Shares | None:
    here, there = group.elements(), previous.elements()
    linked = {a for a, b in _neighbours(group, previous) if there[b] - here[a] == shift}
    if not linked:
        return None
    remaining = _split(group, linked, hops)
    if sum(count for _, count, _ in remaining) >= sum(count for _, count, _ in group.shares(False).groups):
        return None
    return Shares(remaining, len(linked))


@lru_cache(maxsize=4096)
def _shares(group: Group, hops: bool) -> Shares:
    moving = sorted((abs(offset), bound) for bound, offset in zip(group.bounds, group.offsets, strict=True) if offset)
    reach = 0
    for offset, bound in moving:
        if offset <= reach:
            break
        reach += offset * (bound - 1)
    else:
        if not hops:  # no two positions of the moving loops coincide: the still loops alone make the multicast
            distinct, total = prod(bound for _, bound in moving), prod(group.bounds)
            return Shares(((total // distinct, distinct, 0.0),) if group.multicast else ((1, total, 0.0),))
    return Shares(_split(group, frozenset(), hops))


def _split(group: Group, left_out: Collection[int], hops: bool) -> tuple[tuple[int, int, float], ...]:
    members: dict[int, list[int]] = {}
    for element, offset in enumerate(group.elements()):
        if element not in left_out:
            members.setdefault(offset if group.multicast else element, []).append(element)
    if not hops:
        return tuple((size, count, 0.0) for size, count in Counter(map(len, members.values())).items())
    total: dict[int, tuple[int, float]] = {}
    for elements in members.values():
        count, before = total.get(len(elements), (0, 0.0))
        total[len(elements)] = count + 1, before + _hops(elements, group.mesh)
    return tuple((size, count, length) for size, (count, length) in total.items())


def _hops(elements: list[int], mesh: tuple[int, int]) -> float:
    """Mesh hops of one multicast: along the middle row to the farthest column, then up and down in each column."""
    width, height = mesh
    middle = (height - 1) / 2
    rows: dict[int, list[int]] = {}
    for element in elements:
        rows.setdefault(element % width, []).append(element // width)
    return max(rows) + sum(max(0.0, middle - min(y)) + max(0.0, max(y) - middle) for y in rows.values())


def clear_caches() -> None:
    """Forget all groups that were analysed (for measurements)."""
    for cached in (_neighbour_offsets, _linked_shares, _shares):
        cached.cache_clear()
