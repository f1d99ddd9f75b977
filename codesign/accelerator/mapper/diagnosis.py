"""Why nothing fits: which level, what it would need, what it has, and which constraint to relax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from codesign.accelerator.mapper.space import Block, MapSpace
from codesign.accelerator.result import Infeasible

__all__ = ["Option", "contradiction", "demands", "kept_nowhere", "least", "no_factors", "too_large", "whole"]


@dataclass(frozen=True, slots=True)
class Option:
    """Factors of one dimension by slot, and the iterations inside the end of every storage level."""

    factors: tuple[int, ...]
    extents: tuple[int, ...]


def least(options: list[Option]) -> Option:
    """What every option of a dimension needs at least (itself no option, if there are several)."""
    return Option(
        tuple(min(column) for column in zip(*(option.factors for option in options), strict=True)),
        tuple(min(column) for column in zip(*(option.extents for option in options), strict=True)),
    )


def whole(_level: int, _dataspace: int, words: int) -> int:
    """A tile takes as many words as it has."""
    return words


def demands(
    space: MapSpace, keep: list[list[bool]], chosen: list[Option], stored: Callable[[int, int, int], int] = whole
) -> list[int]:
    """Words that the kept tiles of every level take; ``stored`` (level, dataspace, words of the tile) of each."""
    words = []
    for level, kept in enumerate(keep):
        extents = [1] * len(space.problem.bounds)
        for dimension, option in zip(space.nest.dimensions, chosen, strict=True):
            extents[dimension] = option.extents[level]
        tiles = [(v, dataspace) for v, dataspace in enumerate(space.problem.dataspaces) if kept[v]]
        words.append(sum(stored(level, v, dataspace.tile_size(extents)) for v, dataspace in tiles))
    return words


def _limits(space: MapSpace, block: Block, dimension: int) -> str:
    name = space.problem.dimensions[dimension]
    own = space.constraints.levels[block.level]
    limits = (own.spatial if block.spatial else own.temporal).factors
    return ", ".join(f"{name} {x.relation} {x.value}" for x in limits if x.dimension == dimension)


def _levers(space: MapSpace, dimensions: list[int]) -> tuple[str, ...]:
    """The factor limits on those dimensions, as things to relax."""
    levers = []
    for block in space.blocks:
        for dimension in dimensions:
            limits = _limits(space, block, dimension)
            if limits:
                kind = "spatial" if block.spatial else "temporal"
                level = space.architecture.storage[block.level].name
                levers.append(f"relax {limits} in the {kind} constraints of {level}")
    return tuple(levers)


def contradiction(space: MapSpace) -> Infeasible | None:
    """A block that cannot hold a factor that its limits demand."""
    for block in space.blocks:
        for dimension, bound in enumerate(space.problem.bounds):
            low, high = block.lower[dimension], block.upper[dimension]
            most = high if block.slots else min(high, 1)
            if low > most:
                name, level = space.problem.dimensions[dimension], space.architecture.storage[block.level].name
                return Infeasible(
                    level, low, most, "iterations",
                    f"{level}: the constraints {_limits(space, block, dimension)} leave no factor for {name},"
                    f" whose bound is {bound}" + ("" if block.slots else ", and the level has no such loops"),
                    levers=_levers(space, [dimension]),
                )  # fmt: skip
    return None


def no_factors(space: MapSpace, dimension: int) -> Infeasible:
    """No product of allowed perfect factors is the bound."""
    bound, name = space.problem.bounds[dimension], space.problem.dimensions[dimension]
    blocks = [block for block in space.blocks if block.slots]
    tight = [block for block in blocks if _limits(space, block, dimension)] or blocks
    least = prod(block.lower[dimension] for block in blocks)
    most = prod(min(block.upper[dimension], bound) for block in blocks)
    demand, capacity = (least, bound) if least > bound else (bound, min(most, bound))
    level = space.architecture.storage[tight[-1].level].name
    return Infeasible(
        level, demand, capacity, "iterations",
        f"{level}: no factors of {name} within the constraints multiply to its bound {bound}"
        " (perfect factors only: each must divide the bound)",
        levers=_levers(space, [dimension]),
    )  # fmt: skip


def kept_nowhere(space: MapSpace) -> Infeasible:
    for index, dataspace in enumerate(space.problem.dataspaces):
        if not any(row[index] is not False for row in space.keep):
            level = space.architecture.storage[-1].name
            return Infeasible(
                level, 1, 0, "levels", f"{level}: the constraints let no level keep {dataspace.name}",
                dataspace.name, (f"keep {dataspace.name} at {level}",),
            )  # fmt: skip
    raise AssertionError("every dataspace may be kept somewhere")


def too_large(
    space: MapSpace,
    capacity: list[float],
    keep: list[list[bool]],
    options: list[list[Option]],
    exhausted: bool,
    stored: Callable[[int, int, int], int] = whole,
) -> Infeasible:
    """The level whose capacity, or the axis whose fan-out, the smallest factors exceed most."""
    for chosen in ([least(own) for own in options], [own[0] for own in options]):
        worst = _worst(space, capacity, keep, chosen, stored)
        if worst is not None and exhausted:
            return worst
    level = space.architecture.storage[0].name
    tried = "no combination" if exhausted else "none of the combinations tried (the search stopped at its limit)"
    return Infeasible(
        level, 1, 0, "mappings",
        f"{tried} of factors satisfies all constraints at once, though every dimension alone can",
        levers=_levers(space, list(space.nest.dimensions)),
    )  # fmt: skip


def _worst(
    space: MapSpace,
    capacity: list[float],
    keep: list[list[bool]],
    chosen: list[Option],
    stored: Callable[[int, int, int], int],
) -> Infeasible | None:
    storage = space.architecture.storage
    found: list[tuple[float, Infeasible]] = []
    for level, demand in enumerate(demands(space, keep, chosen, stored)):
        if demand > capacity[level]:
            held = [space.problem.dataspaces[d].name for d, kept in enumerate(keep[level]) if kept]
            big = [d for d, o in zip(space.nest.dimensions, chosen, strict=True) if o.extents[level] > 1]
            message = (
                f"{storage[level].name}: the smallest tiles of {', '.join(held)} that the constraints allow take"
                f" {demand} words, {capacity[level]:.0f} are there"
            )
            levers = (
                *(f"let {storage[level].name} bypass {name}" for name in held),
                *_levers(space, big),
                f"enlarge {storage[level].name} to {demand} words",
            )
            only = held[0] if len(held) == 1 else None
            found.append(
                (demand / max(capacity[level], 1e-9),
                 Infeasible(storage[level].name, demand, capacity[level], "words", message, only, levers))
            )  # fmt: skip
    for index, slot in enumerate(space.nest.slots):
        demand, there = prod(option.factors[index] for option in chosen), int(space.fanout[index])
        if slot.axis != "T" and demand > there:
            name = storage[slot.level].name
            message = f"{name}: the constraints ask for {demand} instances along {slot.axis}, {there} are there"
            used = [d for d, o in zip(space.nest.dimensions, chosen, strict=True) if o.factors[index] > 1]
            levers = _levers(space, used)
            found.append((demand / there, Infeasible(name, demand, there, "instances", message, None, levers)))
    return max(found, key=lambda item: item[0])[1] if found else None
