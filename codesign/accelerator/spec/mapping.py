"""A mapping: for every storage level the loops in time and space, and which dataspaces the level keeps."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.problem import Problem

__all__ = ["LevelMapping", "Loop", "Mapping"]


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: dimension id, bound, and the bound of its last execution (``residual``; equal if perfect)."""

    dimension: int
    bound: int
    residual: int

    def __post_init__(self) -> None:
        if not 1 <= self.residual <= self.bound:
            raise ValueError(
                f"Loop: 1 <= residual <= bound is needed (got bound {self.bound}, residual {self.residual})"
            )

    @property
    def perfect(self) -> bool:
        """True if every execution runs the full bound."""
        return self.residual == self.bound


@dataclass(frozen=True, slots=True)
class LevelMapping:
    """What the mapping says of one storage level. All loop lists run from the innermost loop outwards.

    A level's spatial loops lie inside its temporal ones. Every dimension occurs exactly once in ``temporal``; every
    dimension occurs exactly once in ``spatial_x + spatial_y`` if the level has a fan-out, else both are empty.
    Loops of bound 1 are kept: the sparse analysis looks at them. ``keep[d]`` is per dataspace id.
    """

    temporal: tuple[Loop, ...]
    spatial_x: tuple[Loop, ...]
    spatial_y: tuple[Loop, ...]
    keep: tuple[bool, ...]
    no_temporal_reuse: frozenset[int] = frozenset()
    no_multicast: frozenset[int] = frozenset()
    no_link_transfer: frozenset[int] = frozenset()
    no_coalesce: frozenset[int] = frozenset()
    rmw_first_update: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Mapping:
    """One ``LevelMapping`` per storage level of the architecture, innermost first."""

    levels: tuple[LevelMapping, ...]

    def check(self, architecture: Architecture, problem: Problem) -> None:
        """Raise ValueError unless levels, loops and factors fit the architecture and the problem.

        The rule for factors is the real program's: from the outermost loop inwards, ``acc = acc * bound +
        (residual - 1)`` must end at the dimension's bound minus 1.
        """
        if len(self.levels) != len(architecture.storage):
            raise ValueError(f"Mapping: {len(architecture.storage)} levels are needed (got {len(self.levels)})")
        position = [0] * len(problem.bounds)
        for level in reversed(self.levels):
            for loop in (*reversed(level.temporal), *reversed(level.spatial_y), *reversed(level.spatial_x)):
                position[loop.dimension] = position[loop.dimension] * loop.bound + loop.residual - 1
        for dimension, bound, last in zip(problem.dimensions, problem.bounds, position, strict=True):
            if last + 1 != bound:
                raise ValueError(
                    f"Mapping: the factors of {dimension} give {last + 1} iterations, its bound is {bound}"
                )
        for dataspace_id, dataspace in enumerate(problem.dataspaces):
            if not any(level.keep[dataspace_id] for level in self.levels):
                raise ValueError(f"Mapping: {dataspace.name} is kept at no level")
