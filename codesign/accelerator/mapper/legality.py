"""Is one mapping legal? Written loop by loop, independent of the arrays that the search works on."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, LoopConstraints
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["why_illegal"]

_NOTHING_SPARSE = SparseOptimizations()


def why_illegal(
    architecture: Architecture,
    problem: Problem,
    constraints: Constraints,
    mapping: Mapping,
    sparse: SparseOptimizations = _NOTHING_SPARSE,
) -> Infeasible | None:
    """The first rule that the mapping breaks, or None if it is legal.

    Tiles are taken as dense; with compressed layouts in ``sparse`` capacities are left to the engine, which knows how
    much of a tile and what metadata they store.

    Rules: loops multiply to the bounds, each dimension once a block, fan-outs, constraints, capacity of the kept
    tiles over the number of buffers, minimum utilisation and parallelism.

    Raises:
        ValueError: the mapping does not belong to the architecture and problem.
    """
    mapping.check(architecture, problem)
    extents = [1] * len(problem.bounds)
    compressed = any(level.formats for level in sparse.levels)
    for index, level in enumerate(mapping.levels):
        broken = _broken_structure(architecture, problem, index, level) or _broken_constraint(
            architecture, problem, constraints, index, level
        )
        if broken is not None:
            return broken
        for loop in (*level.spatial_x, *level.spatial_y, *level.temporal):
            extents[loop.dimension] *= loop.bound
        broken = None if compressed else _broken_capacity(architecture, problem, index, level, extents)
        if broken is not None:
            return broken
    return _broken_parallelism(architecture, constraints, mapping)


def _broken_parallelism(architecture: Architecture, constraints: Constraints, mapping: Mapping) -> Infeasible | None:
    used = prod(loop.bound for level in mapping.levels for loop in (*level.spatial_x, *level.spatial_y))
    there = architecture.compute.instances // architecture.storage[-1].instances
    least = constraints.min_parallelism * there
    if used >= least:
        return None
    name = architecture.compute.name
    message = f"{name}: the spatial loops use {used} of {there} instances, the constraints want at least {least:g}"
    return Infeasible(name, used, least, "instances", message, levers=("lower the minimum parallelism",))


def _broken_structure(
    architecture: Architecture, problem: Problem, index: int, level: LevelMapping
) -> Infeasible | None:
    name = architecture.storage[index].name
    fanout = architecture.fanout(index)
    everything = list(range(len(problem.bounds)))
    spatial = (*level.spatial_x, *level.spatial_y)
    blocks = ((level.temporal, everything), (spatial, everything if fanout != (1, 1) else []))
    for loops, expected in blocks:
        if sorted(loop.dimension for loop in loops) != expected:
            return Infeasible(
                name, len(loops), len(expected), "loops", f"{name}: a block needs every dimension exactly once"
            )
    for axis, loops, there in (("X", level.spatial_x, fanout[0]), ("Y", level.spatial_y, fanout[1])):
        used = prod(loop.bound for loop in loops)
        if used > there:
            message = f"{name}: the loops along {axis} need {used} instances, {there} are there"
            return Infeasible(name, used, there, "instances", message)
    if architecture.storage[index].spatial_dummy:
        used = prod(loop.bound for loop in level.temporal)
        if used > 1 or any(level.keep):
            return Infeasible(name, used, 1, "iterations", f"{name}: carries spatial loops only and stores nothing")
    return None


def _broken_constraint(
    architecture: Architecture, problem: Problem, constraints: Constraints, index: int, level: LevelMapping
) -> Infeasible | None:
    name, own = architecture.storage[index].name, constraints.levels[index]
    spatial = (*level.spatial_x, *level.spatial_y)
    for kind, loops, limits in (("temporal", level.temporal, own.temporal), ("spatial", spatial, own.spatial)):
        bounds = {loop.dimension: loop.bound for loop in loops}
        for limit in limits.factors:
            bound = bounds.get(limit.dimension, 1)
            if not {"=": bound == limit.value, "<=": bound <= limit.value, ">=": bound >= limit.value}[limit.relation]:
                rule = f"{problem.dimensions[limit.dimension]} {limit.relation} {limit.value}"
                message = f"{name}: the {kind} factor is {bound}, the constraints want {rule}"
                return Infeasible(name, bound, limit.value, "iterations", message, levers=(f"relax {rule}",))
        if loops and not _in_order(loops, limits):
            return Infeasible(name, 1, 0, "loops", f"{name}: the {kind} permutation is not the constrained one")
    if spatial and own.spatial.split not in (None, len(level.spatial_x)):
        message = f"{name}: {len(level.spatial_x)} loops lie on X, the constraints want {own.spatial.split}"
        return Infeasible(name, len(level.spatial_x), own.spatial.split or 0, "loops", message)
    for dataspace, kept, wanted in zip(problem.dataspaces, level.keep, own.keep, strict=True):
        if wanted is not None and kept != wanted:
            message = f"{name}: the constraints want {dataspace.name} {'kept' if wanted else 'bypassed'}"
            return Infeasible(name, kept, wanted, "levels", message, dataspace.name)
    return None


def _in_order(loops: Sequence[Loop], limits: LoopConstraints) -> bool:
    order = [loop.dimension for loop in loops]
    end = len(order) - len(limits.outer)
    return order[: len(limits.inner)] == list(limits.inner) and order[end:] == list(limits.outer)


def _broken_capacity(
    architecture: Architecture, problem: Problem, index: int, level: LevelMapping, extents: list[int]
) -> Infeasible | None:
    storage = architecture.storage[index]
    capacity = storage.effective_size_words
    if capacity is None or storage.spatial_dummy:
        return None
    tiles = {
        dataspace.name: dataspace.tile_size(extents)
        for dataspace, kept in zip(problem.dataspaces, level.keep, strict=True)
        if kept
    }
    used = sum(tiles.values())
    if used > capacity and not storage.allow_overbooking:
        listed = " + ".join(f"{words} of {name}" for name, words in tiles.items())
        levers = (f"enlarge {storage.name} to {used} words", *(f"let {storage.name} bypass {name}" for name in tiles))
        message = f"{storage.name}: tiles of {used} words ({listed}) do not fit into {capacity}"
        return Infeasible(storage.name, used, capacity, "words", message, None, levers)
    if used < capacity * storage.min_utilization:
        least = capacity * storage.min_utilization
        message = f"{storage.name}: the tiles take {used} words, its minimum utilisation is {least:g}"
        lever = f"lower min_utilization of {storage.name}"
        return Infeasible(storage.name, used, least, "words", message, None, (lever,))
    return None
