"""The loop nest of a mapping: non-trivial loops with strides, tile extents at every boundary, replication."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

__all__ = ["Extents", "Nest", "NestLevel", "NestLoop", "build_nest"]


@dataclass(frozen=True, slots=True)
class NestLoop:
    """A loop of more than one iteration. ``stride`` is the product of the bounds of the inner loops of its dimension.

    ``ragged_inside`` is True if a loop of the same dimension inside this one is imperfect.
    """

    dimension: int
    bound: int
    residual: int
    stride: int
    ragged_inside: bool


@dataclass(frozen=True, slots=True)
class Extents:
    """Iterations of every dimension inside a boundary: in a full execution, and in the last one of the dimension."""

    full: tuple[int, ...]
    last: tuple[int, ...]

    def box(self, last: frozenset[int] | set[int]) -> tuple[int, ...]:
        """Extents where the dimensions in ``last`` are in their last execution."""
        return tuple(self.last[d] if d in last else full for d, full in enumerate(self.full))


@dataclass(frozen=True, slots=True)
class NestLevel:
    """The loops of one storage level, innermost first; the spatial ones lie inside the temporal ones.

    Args:
        spatial_x, spatial_y, temporal: non-trivial loops.
        master: extents inside the outermost spatial loop (equal to the inner level's boundary without any).
        boundary: extents inside the outermost temporal loop: the tile that the level holds.
        spread: instances of this level that the mapping uses (X, Y): spatial bounds of all outer levels.
        replication: average instances in use; less than the spread's product where outer spatial loops are imperfect.
        mesh: physical fan-out below one instance (X, Y).
    """

    spatial_x: tuple[NestLoop, ...]
    spatial_y: tuple[NestLoop, ...]
    temporal: tuple[NestLoop, ...]
    master: Extents
    boundary: Extents
    spread: tuple[int, int]
    replication: float
    mesh: tuple[int, int]

    @property
    def spatial(self) -> tuple[NestLoop, ...]:
        """All spatial loops, innermost first."""
        return self.spatial_x + self.spatial_y

    @property
    def fanout(self) -> int:
        """Instances of the next inner level that one instance of this level feeds."""
        return prod(loop.bound for loop in self.spatial)


@dataclass(frozen=True, slots=True)
class Nest:
    """All levels, innermost first, and what holds for the whole nest.

    ``perfect`` is False if any loop is imperfect; ``temporal_steps`` is the product of all temporal bounds;
    ``compute_spread`` the compute units that the mapping uses (X, Y), ``compute_replication`` their average number.
    """

    levels: tuple[NestLevel, ...]
    perfect: bool
    temporal_steps: int
    compute_spread: tuple[int, int]
    compute_replication: float

    def last_at_start(self, level: int) -> frozenset[int]:
        """Dimensions whose first execution inside ``level``'s boundary is also the last one."""
        outer = [loop for above in self.levels[level + 1 :] for loop in (*above.spatial, *above.temporal)]
        moving = {loop.dimension for loop in outer if loop.residual > 1}
        return frozenset(range(len(self.levels[0].boundary.full))) - moving

    def tile(self, dataspace: Dataspace, level: int) -> int:
        """Words of ``dataspace`` in the largest tile inside ``level``'s boundary."""
        return dataspace.tile_size(self.extents(level))

    def extents(self, level: int) -> tuple[int, ...]:
        """Iterations of every dimension in the largest tile inside ``level``'s boundary."""
        extents = self.levels[level].boundary
        return extents.full if self.perfect else extents.box(self.last_at_start(level))

    def master_tile(self, dataspace: Dataspace, level: int) -> int:
        """Words of ``dataspace`` that all instances below one instance of ``level`` hold together (largest)."""
        part = self.levels[level]
        if self.perfect:
            return dataspace.tile_size(part.master.full)
        moving = {loop.dimension for loop in part.temporal if loop.residual > 1}
        return dataspace.tile_size(part.master.box(self.last_at_start(level) - moving))


class _Progress:
    """Walks the loops from the innermost outwards and keeps what has been seen per dimension."""

    def __init__(self, dimensions: int) -> None:
        self.full = [1] * dimensions
        self.last = [1] * dimensions
        self.ragged = [False] * dimensions

    def take(self, loops: tuple[Loop, ...]) -> tuple[NestLoop, ...]:
        taken = []
        for loop in loops:
            if loop.bound == 1:
                continue
            d = loop.dimension
            taken.append(NestLoop(d, loop.bound, loop.residual, self.full[d], self.ragged[d]))
            self.last[d] += self.full[d] * (loop.residual - 1)
            self.full[d] *= loop.bound
            self.ragged[d] |= loop.residual != loop.bound
        return tuple(taken)

    def extents(self) -> Extents:
        return Extents(tuple(self.full), tuple(self.last))


def build_nest(architecture: Architecture, problem: Problem, mapping: Mapping) -> Nest:
    """The nest of a checked mapping.

    Raises:
        InputError: an imperfect spatial loop has no outer loop of its dimension (the real program stops there too).
    """
    progress = _Progress(len(problem.bounds))
    parts = []
    for level in mapping.levels:
        x, y = progress.take(level.spatial_x), progress.take(level.spatial_y)
        master = progress.extents()
        parts.append((x, y, progress.take(level.temporal), master, progress.extents()))
    spread_x = spread_y = 1
    replication = 1.0
    levels: list[NestLevel] = []
    outer: list[NestLoop] = []  # from the outermost inwards
    for index in range(len(parts) - 1, -1, -1):
        x, y, temporal, master, boundary = parts[index]
        mesh = architecture.fanout(index)
        levels.append(NestLevel(x, y, temporal, master, boundary, (spread_x, spread_y), replication, mesh))
        outer += reversed(temporal)
        for loop in reversed(x + y):
            replication *= _average_bound(loop, outer, problem)
            outer.append(loop)
        spread_x *= prod(loop.bound for loop in x)
        spread_y *= prod(loop.bound for loop in y)
    # The innermost group counts at its full bounds (the real program multiplies by its fan-out, not by its average).
    innermost = levels[-1]
    return Nest(
        levels=tuple(reversed(levels)),
        perfect=not any(progress.ragged),
        temporal_steps=prod(loop.bound for part in parts for loop in part[2]),
        compute_spread=(spread_x, spread_y),
        compute_replication=innermost.replication * innermost.fanout,
    )


def _average_bound(loop: NestLoop, outer: list[NestLoop], problem: Problem) -> float:
    """Iterations of a spatial loop on average over the executions of the outer loops of its dimension."""
    if loop.residual == loop.bound:
        return loop.bound
    same = [above for above in outer if above.dimension == loop.dimension]
    if not same:
        raise InputError(
            f"an imperfect spatial loop needs an outer loop of its dimension {problem.dimensions[loop.dimension]}",
            got=f"bound {loop.bound}, residual {loop.residual}",
            key="mapping",
            fix="write the residual as the bound",
        )
    executions = 1
    for above in same:
        executions = above.residual + above.bound * (executions - 1)
    return (loop.residual + loop.bound * (executions - 1)) / executions
