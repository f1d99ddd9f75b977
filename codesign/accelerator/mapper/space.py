"""What a mapper may choose: the slots, and what constraints and fan-outs allow in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, permutations

import numpy as np

from codesign.accelerator.mapper.nest import Batch, BoolArray, IntArray, Nest
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem

__all__ = ["Block", "MapSpace", "split_axes"]

# Orders of the dataspaces from which loop orders are made: all of them up to three dataspaces.
_MOST_ORDERS = 6


@dataclass(frozen=True, slots=True)
class Block:
    """One loop block: a level's temporal loops or its spatial ones. ``slots`` is empty where there is no such place.

    ``lower`` and ``upper`` bound the factor of every dimension of the problem; a spatial factor lies on one axis.
    """

    level: int
    spatial: bool
    slots: tuple[int, ...]
    lower: tuple[int, ...]
    upper: tuple[int, ...]


class MapSpace:
    """All mappings with perfect factors that the constraints of an architecture leave for a problem.

    Capacities are not part of it (see ``CostModel``).

    Raises:
        ValueError: constraints that do not have one entry a storage level, or a dataspace.
    """

    def __init__(self, architecture: Architecture, problem: Problem, constraints: Constraints) -> None:
        if len(constraints.levels) != len(architecture.storage):
            raise ValueError(
                f"MapSpace: constraints for {len(architecture.storage)} levels are needed"
                f" (got {len(constraints.levels)})"
            )
        for own, level in zip(constraints.levels, architecture.storage, strict=True):
            if len(own.keep) != len(problem.dataspaces):
                raise ValueError(f"MapSpace: keep of {level.name} must have one entry a dataspace (got {own.keep!r})")
        self.architecture, self.problem, self.constraints = architecture, problem, constraints
        active = [dimension for dimension, bound in enumerate(problem.bounds) if bound > 1] or [0]
        self.nest = Nest.of(architecture, active)
        self.bounds = np.array([problem.bounds[dimension] for dimension in active])
        self.blocks = tuple(
            self._block(level, spatial) for level in range(len(architecture.storage)) for spatial in (True, False)
        )
        ranks = [rank for dataspace in problem.dataspaces for rank in dataspace.ranks if len(rank) > 1]
        slides = {term.dimension for rank in ranks for term in rank}
        # Instances that stand beside each other pass on what a window slides over.
        self.spatial_order = tuple(sorted(range(len(problem.bounds)), key=lambda d: (d not in slides, d)))
        self.fanout = np.array([_fanout(architecture, slot.level, slot.axis) for slot in self.nest.slots])
        self._placed = [block for block in self.blocks if block.slots]
        self._lower = np.array([block.lower for block in self._placed])[:, active]
        self._upper = np.array([block.upper for block in self._placed])[:, active]
        self._ordered = [block for block in self._placed if block.spatial and _is_ordered(self._loops(block))]
        self._split_allowed: dict[tuple[int, int, int], bool] = {}
        self.keep = self._keep()
        self.full_orders = [self._orders(self.nest.slots[slot].level) for slot in self.nest.temporal]
        self.orders = self._padded_orders()

    def _loops(self, block: Block) -> LoopConstraints:
        level = self.constraints.levels[block.level]
        return level.spatial if block.spatial else level.temporal

    def _block(self, level: int, spatial: bool) -> Block:
        own = self.constraints.levels[level]
        lower, upper = [1] * len(self.problem.bounds), list(self.problem.bounds)
        for limit in (own.spatial if spatial else own.temporal).factors:
            if limit.relation in ("=", ">="):
                lower[limit.dimension] = max(lower[limit.dimension], limit.value)
            if limit.relation in ("=", "<="):
                upper[limit.dimension] = min(upper[limit.dimension], limit.value)
        return Block(level, spatial, self.nest.of_level(level, spatial=spatial), tuple(lower), tuple(upper))

    def _keep(self) -> list[list[bool | None]]:
        """Per level and dataspace: kept, bypassed or free. A dummy keeps nothing, the backing store what is free."""
        last = len(self.architecture.storage) - 1
        rows: list[list[bool | None]] = []
        for index, (level, own) in enumerate(zip(self.architecture.storage, self.constraints.levels, strict=True)):
            free = False if level.spatial_dummy else True if index == last else None
            rows.append([free if keep is None or level.spatial_dummy else keep for keep in own.keep])
        return rows

    def _order(self, level: int, still: Sequence[int]) -> tuple[int, ...]:
        """Loop order (dimension ids, innermost first) of a temporal block that keeps dataspaces still, in that order.

        The loops that do not move the first dataspace lie innermost, of the others those that do not move the second
        one, and so on. Among equals those that slide a window come first, so that it is moved by the loop directly
        outside it.
        """
        loops = self.constraints.levels[level].temporal
        moved = [self.problem.dataspaces[space].dimensions for space in still]
        ranks = [rank for dataspace in self.problem.dataspaces for rank in dataspace.ranks]
        slides = {term.dimension for rank in ranks if len(rank) > 1 for term in rank}
        fixed = {*loops.inner, *loops.outer}
        free = [dimension for dimension in range(len(self.problem.bounds)) if dimension not in fixed]
        keys = {d: ([d in dimensions for dimensions in moved], d not in slides, -d) for d in free}
        return (*loops.inner, *sorted(free, key=keys.__getitem__), *loops.outer)

    def _orders(self, level: int) -> list[tuple[int, ...]]:
        """The different orders of a temporal block, first those that keep each dataspace still before all others."""
        spaces = range(len(self.problem.dataspaces))
        rotations = [(*spaces[first:], *spaces[:first]) for first in spaces]
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        for still in (*rotations, *islice(permutations(spaces), _MOST_ORDERS)):
            order = self._order(level, still)
            found.setdefault(tuple(dimension for dimension in order if self.problem.bounds[dimension] > 1), order)
        return list(found.values())

    def _padded_orders(self) -> IntArray:
        """(temporal slots, options, dimensions) positions; missing options repeat the last one."""
        position = {dimension: index for index, dimension in enumerate(self.nest.dimensions)}
        most = max(len(options) for options in self.full_orders)
        table = [[[position[d] for d in order if d in position] for order in opts] for opts in self.full_orders]
        return np.array([rows + [rows[-1]] * (most - len(rows)) for rows in table])

    def upper(self, slot: int) -> IntArray:
        """The largest factor of every active dimension that the limits of a slot's block leave."""
        block = next(block for block in self._placed if slot in block.slots)
        return np.array([block.upper[dimension] for dimension in self.nest.dimensions])

    def allowed(self, factors: IntArray) -> BoolArray:
        """Which factor sets (B, slots, dimensions) respect fan-outs, factor limits, axes and spatial permutations."""
        spatial = [index for index, slot in enumerate(self.nest.slots) if slot.axis != "T"]
        good = np.asarray((factors[:, spatial].prod(axis=2) <= self.fanout[spatial]).all(axis=1))
        values = np.stack([factors[:, list(block.slots)].prod(axis=1) for block in self._placed], axis=1)
        good &= ((values >= self._lower) & (values <= self._upper)).all(axis=(1, 2))
        for block in self._placed:
            if block.spatial and len(block.slots) == 2:
                good &= (factors[:, list(block.slots)].min(axis=1) == 1).all(axis=1)
        for block in self._ordered:
            on = {
                self.nest.slots[s].axis: (factors[:, s] > 1) @ (1 << np.arange(factors.shape[2])) for s in block.slots
            }
            nothing = np.zeros(len(factors), np.int64)
            pairs = np.stack([on.get("X", nothing), on.get("Y", nothing)], axis=1)
            for pair in np.unique(pairs[good], axis=0).tolist():
                if not self._splits(block, *pair):
                    good &= (pairs != pair).any(axis=1)
        return good

    def _splits(self, block: Block, x_bits: int, y_bits: int) -> bool:
        key = (block.level, x_bits, y_bits)
        if key not in self._split_allowed:
            on_x, on_y = ([d for i, d in enumerate(self.nest.dimensions) if bits >> i & 1] for bits in (x_bits, y_bits))
            fanout = self.architecture.fanout(block.level)
            self._split_allowed[key] = (
                split_axes(self._loops(block), self.spatial_order, on_x, on_y, fanout) is not None
            )
        return self._split_allowed[key]

    def mapping(self, batch: Batch, row: int) -> Mapping:
        """One row of a batch as a mapping. Its spatial loops must be ``allowed``."""
        levels = []
        for index, own in enumerate(self.constraints.levels):
            spatial_x, spatial_y = self._spatial_loops(batch.factors[row], index)
            keep = tuple(bool(kept) for kept in batch.keep[row, index])
            levels.append(_with_flags(LevelMapping(self._temporal(batch, row, index), spatial_x, spatial_y, keep), own))
        return Mapping(tuple(levels))

    def _temporal(self, batch: Batch, row: int, level: int) -> tuple[Loop, ...]:
        for rank, slot in enumerate(self.nest.temporal):
            if self.nest.slots[slot].level == level:
                wanted = [self.nest.dimensions[position] for position in batch.order[row, rank]]
                return self._as_loops(batch.factors[row], slot, self._full(level, wanted))
        own = self.constraints.levels[level].temporal
        free = [d for d in range(len(self.problem.bounds)) if d not in {*own.inner, *own.outer}]
        return tuple(Loop(dimension, 1, 1) for dimension in (*own.inner, *free, *own.outer))

    def _full(self, level: int, wanted: Sequence[int]) -> tuple[int, ...]:
        """An order of all dimensions in which those of more than one iteration stand as wanted."""
        own = self.constraints.levels[level].temporal
        fixed = {*own.inner, *own.outer}
        moving = [d for d in wanted if d not in fixed]
        idle = [d for d in range(len(self.problem.bounds)) if d not in fixed and d not in wanted]
        order = (*own.inner, *moving, *idle, *own.outer)
        if [d for d in order if d in wanted] != list(wanted):
            raise ValueError(f"MapSpace: the loop order of level {level} is not one that the constraints allow")
        return order

    def _spatial_loops(self, factors: IntArray, level: int) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
        fanout = self.architecture.fanout(level)
        if fanout == (1, 1):
            return (), ()
        slots = {self.nest.slots[slot].axis: slot for slot in self.nest.of_level(level, spatial=True)}
        on_x, on_y = (
            [d for i, d in enumerate(self.nest.dimensions) if axis in slots and factors[slots[axis], i] > 1]
            for axis in ("X", "Y")
        )
        limits = self.constraints.levels[level].spatial
        split = split_axes(limits, self.spatial_order, on_x, on_y, fanout)
        if split is None:
            raise ValueError(
                f"MapSpace: no permutation of level {level} has its loops on these axes (got {on_x!r}, {on_y!r})"
            )
        return self._as_loops(factors, slots.get("X"), split[0]), self._as_loops(factors, slots.get("Y"), split[1])

    def _as_loops(self, factors: IntArray, slot: int | None, order: tuple[int, ...]) -> tuple[Loop, ...]:
        position = {dimension: index for index, dimension in enumerate(self.nest.dimensions)}
        bounds = [1 if slot is None or d not in position else int(factors[slot, position[d]]) for d in order]
        return tuple(Loop(dimension, bound, bound) for dimension, bound in zip(order, bounds, strict=True))


def split_axes(
    loops: LoopConstraints, dimensions: Sequence[int], on_x: list[int], on_y: list[int], fanout: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Permutations of the X and the Y loops that put those dimensions on those axes, or None if constraints forbid it.

    The permutation runs X first, from the innermost loop outwards; ``split`` loops of it lie on X. Fixed dimensions
    hold the first and the last places, the free ones lie between them in the order of ``dimensions``; those of bound 1
    fill up either axis.
    """
    fixed = {*loops.inner, *loops.outer}
    free = [d for d in dimensions if d not in fixed]
    free_x, free_y = ([d for d in free if d in used] for used in (on_x, on_y))
    idle = [d for d in free if d not in {*on_x, *on_y}]
    # Without a choice of split everything lies on the axis that exists.
    splits = range(len(dimensions) + 1) if fanout[0] == 1 else range(len(dimensions), -1, -1)
    for split in splits if loops.split is None else (loops.split,):
        room_x = min(max(split - len(loops.inner), 0), len(free))
        if len(free_x) > room_x or len(free_y) > len(free) - room_x:
            continue
        filling = room_x - len(free_x)
        order = (*loops.inner, *free_x, *idle[:filling], *idle[filling:], *free_y, *loops.outer)
        if set(on_x) <= set(order[:split]) and set(on_y) <= set(order[split:]):
            return order[:split], order[split:]
    return None


def _fanout(architecture: Architecture, level: int, axis: str) -> int:
    return 1 if axis == "T" else architecture.fanout(level)["XY".index(axis)]


def _is_ordered(loops: LoopConstraints) -> bool:
    return bool(loops.inner or loops.outer) or loops.split is not None


def _with_flags(level: LevelMapping, own: LevelConstraints) -> LevelMapping:
    return LevelMapping(
        level.temporal, level.spatial_x, level.spatial_y, level.keep, own.no_temporal_reuse, own.no_multicast,
        own.no_link_transfer, own.no_coalesce, own.rmw_first_update,
    )  # fmt: skip
