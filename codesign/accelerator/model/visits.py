"""Which iterations of the loops outside a boundary are really looked at, and what each of them stands for.

The real program walks a loop of N iterations twice only: iteration 0, and iteration 1 with weight N - 1. In an
imperfect nest it adds the last iteration (and one before it), whose tiles may be smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from codesign.accelerator.model.nest import Nest, NestLoop

__all__ = ["Surroundings", "Visit", "operations"]


class Visit(NamedTuple):
    """One walked iteration: how far the loop advances before it, its flags, and its weights."""

    advance: int
    flags: int
    epochs: int
    """Executions that this visit stands for."""
    deltas: int
    """Copies of its delta that the loop around the boundary counts."""


@dataclass(frozen=True, slots=True)
class OuterLoop:
    """A temporal loop outside the boundary; ``still`` has the flag bits that spatial loops just inside it clear."""

    loop: NestLoop
    bit: int
    still: int

    def visits(self, flags: int) -> tuple[Visit, ...]:
        """Iterations that the real program walks. A set flag: the dimension is in its last execution."""
        loop, last = self.loop, bool(flags & self.bit)
        count = loop.residual if last else loop.bound
        ragged = loop.ragged_inside and last
        uneven = ragged and loop.bound != loop.residual
        plan = [(0, 1, 1)]  # index, epochs, copies of the delta
        bulk = count - 1 - (2 if uneven else 1 if ragged else 0)
        if bulk > 0:
            plan.append((1, bulk, bulk))
        for extra in ([count - 2] if uneven and count >= 3 else []) + ([count - 1] if ragged and count >= 2 else []):
            own = count < 4 or extra == count - 1 if uneven else count < 3
            if not own:
                index, epochs, copies = plan[-1]
                plan[-1] = index, epochs, copies + 1
            plan.append((extra, 1, int(own)))
        visits, before = [], 0
        for index, epochs, copies in plan:
            inner = flags if index + 1 >= loop.residual else flags & ~self.bit
            visits.append(Visit(index - before, inner & ~self.still, epochs, copies))
            before = index
        return tuple(visits)


class Surroundings:
    """The temporal loops outside a boundary, innermost first, and the flags at the start; shared by all dataspaces."""

    def __init__(self, nest: Nest, level: int) -> None:
        loops = [loop for part in nest.levels for loop in (*part.spatial, *part.temporal)]
        ragged = {loop.dimension for loop in loops if loop.residual != loop.bound}
        bits = {d: 1 << position for position, d in enumerate(sorted(ragged))}
        self.bits = bits
        self.group = nest.levels[level].spatial
        self.group_still = _cleared(self.group, bits)
        self.loops: list[OuterLoop] = []
        still = 0
        for index in range(level, len(nest.levels)):
            part = nest.levels[index]
            if index > level:
                still |= _cleared(part.spatial, bits)
            for loop in part.temporal:
                self.loops.append(OuterLoop(loop, bits.get(loop.dimension, 0), still))
                still = 0
        self.start = sum(bits.values()) & ~still
        self.own_weights = not nest.levels[level].spatial and bool(nest.levels[level].temporal)
        self.plans: dict[tuple[int, int], tuple[Visit, ...]] = {}

    def visits(self, index: int, flags: int) -> tuple[Visit, ...]:
        key = (index, flags)
        if key not in self.plans:
            self.plans[key] = self.loops[index].visits(flags)
        return self.plans[key]

    def group_bounds(self, flags: int) -> tuple[int, ...]:
        """Iterations of the loops of the level's spatial group."""
        return tuple(loop.residual if flags & self.bits.get(loop.dimension, 0) else loop.bound for loop in self.group)

    def last(self, flags: int) -> frozenset[int]:
        return frozenset(d for d, bit in self.bits.items() if flags & bit)


def _cleared(loops: Sequence[NestLoop], bits: dict[int, int]) -> int:
    """Flag bits that the loops clear: their first element is not the last one."""
    return sum({bits.get(loop.dimension, 0) for loop in loops if loop.residual > 1})


def operations(nest: Nest) -> float:
    """Operations of one compute unit, as the real program averages them over the units of the innermost group."""
    if nest.perfect:
        return float(nest.temporal_steps)
    around = Surroundings(nest, 0)
    known: dict[tuple[int, int], tuple[int, int]] = {}

    def count(index: int, flags: int) -> tuple[int, int]:
        """(operations of all units, most units in use at once) of one execution of the loops up to ``index``."""
        if index < 0:
            units = prod(around.group_bounds(flags))
            return units, units
        if (index, flags) not in known:
            parts = [(visit.epochs, count(index - 1, visit.flags)) for visit in around.visits(index, flags)]
            known[index, flags] = sum(n * part[0] for n, part in parts), max(part[1] for _, part in parts)
        return known[index, flags]

    total, units = count(len(around.loops) - 1, around.start)
    return total / units
