"""Which words of a tensor an access serves: the loops of a nest as digits, and events over them.

Every loop of more than one iteration is a digit of its dimension's index. A tile in the sense of this module is a set
of digits that run through all their values (or through blocks of them) while the others stand still: not only the
boxes of ``Nest``, but also what one instance, or one group of receivers, meets while something stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codesign.accelerator.model.nest import Nest
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["Digit", "Event", "all_digits", "event_of", "scalar", "served"]


@dataclass(frozen=True, slots=True)
class Digit:
    """A loop: storage level, dimension, bound, product of the bounds of the inner loops of its dimension."""

    level: int
    dimension: int
    bound: int
    stride: int
    spatial: bool


@dataclass(frozen=True, slots=True)
class Event:
    """That a tile of a tensor holds no one.

    Args:
        dataspace: id.
        merged: (digit, values in a row that belong to the same tile), for digits of the tensor; others stand still.
    """

    dataspace: int
    merged: tuple[tuple[int, int], ...]

    def within(self, other: Event) -> bool:
        """Whether every tile of this event lies inside one of the other's, so that the other implies this one."""
        if self.dataspace != other.dataspace:
            return False
        wide = dict(other.merged)
        return all(wide.get(digit, 1) % count == 0 for digit, count in self.merged)


def all_digits(nest: Nest) -> tuple[Digit, ...]:
    """The digits of a nest, innermost first."""
    return tuple(
        Digit(level, loop.dimension, loop.bound, loop.stride, spatial)
        for level, part in enumerate(nest.levels)
        for spatial, loops in ((True, part.spatial), (False, part.temporal))
        for loop in loops
    )


def scalar(dataspace: int) -> Event:
    """That a single word is zero."""
    return Event(dataspace, ())


def served(
    digits: Sequence[Digit],
    mapping: Sequence[LevelMapping],
    target: Dataspace,
    target_id: int,
    level: int,
    child: int | None,
    block: int,
) -> dict[int, int]:
    """What runs while something that ``level`` sent to its child stays there: digits and values in a row.

    One delivery of a level serves every operation that the receivers do with it: those of the child's tile, of all
    receivers of a multicast, and of all steps until the child's tile moves on. At the compute units nothing stays.

    Args:
        child: nearest inner level that holds the target; None for the compute units.
        block: words of one vector access; smaller deliveries share an access, and only together are they saved.
    """
    moves = target.dimensions
    stays = child is not None and target_id not in mapping[child].no_temporal_reuse
    found: dict[int, int] = {}
    apart: list[int] = []
    delivered = 1
    for index, digit in enumerate(digits):
        relevant = digit.dimension in moves
        if child is not None and digit.level <= child:
            found[index] = digit.bound
            delivered *= digit.bound if relevant else 1
        elif digit.spatial and digit.level <= level:
            if relevant:
                apart.append(index)
            elif target_id not in mapping[digit.level].no_multicast:
                found[index] = digit.bound
        elif not digit.spatial:
            if relevant:
                stays = False
                apart += [index] if digit.level <= level else []
            elif stays:
                found[index] = digit.bound
    _share_block(digits, apart, -(-block // delivered), found)
    return found


def _share_block(digits: Sequence[Digit], apart: Sequence[int], together: int, found: dict[int, int]) -> None:
    """Merge the deliveries, innermost first, that one vector access brings together."""
    for index in apart:
        if together <= 1:
            return
        bound = digits[index].bound
        found[index] = next((part for part in range(together, bound) if bound % part == 0), bound)
        together = -(-together // found[index])


def event_of(dataspace: Dataspace, dataspace_id: int, digits: Sequence[Digit], merged: Mapping[int, int]) -> Event:
    """The event that the words of a tensor that these digits run through are all zero."""
    own = ((i, n) for i, n in sorted(merged.items()) if digits[i].dimension in dataspace.dimensions and n > 1)
    return Event(dataspace_id, tuple(own))
