"""Whether the mapping fits the hardware: instances, mesh, capacity. What does not fit is a result, not a crash."""

from __future__ import annotations

from codesign.accelerator.model.activity import Activity
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.problem import Problem

__all__ = ["check_capacity", "check_mesh"]


def check_mesh(nest: Nest, architecture: Architecture, problem: Problem) -> Infeasible | None:
    """The spatial loops above every level against the instances that exist; the compute level first."""
    found = _check_spread(architecture.compute, nest.compute_spread, nest, problem)
    for storage, part in zip(architecture.storage, nest.levels, strict=True):
        found = found or _check_spread(storage, part.spread, nest, problem)
    return found


def _check_spread(node: Storage | Compute, spread: tuple[int, int], nest: Nest, problem: Problem) -> Infeasible | None:
    checks = (
        ("instances", spread[0] * spread[1], node.instances),
        ("meshX", spread[0], node.mesh_x),
        ("meshY", spread[1], node.mesh_y),
    )
    for unit, demand, capacity in checks:
        if demand > capacity:
            loops = {loop.dimension for part in nest.levels for loop in part.spatial}
            names = ", ".join(problem.dimensions[d] for d in sorted(loops))
            return Infeasible(
                level=node.name,
                demand=demand,
                capacity=capacity,
                unit=unit,
                message=f"{node.name}: the mapping uses {demand} {unit}, the hardware has {capacity}",
                levers=(f"smaller spatial factors of {names}", "another split between X and Y"),
            )
    return None


def check_capacity(
    level: int, architecture: Architecture, problem: Problem, nest: Nest, activities: tuple[Activity, ...]
) -> Infeasible | None:
    """The tiles of all dataspaces against the storage of one level, data and metadata.

    Args:
        activities: of this level, one a dataspace.
    """
    storage = architecture.storage[level]
    capacity = storage.effective_size_words
    if capacity is None or storage.spatial_dummy:
        return None
    words = [activity.capacity_words for activity in activities]
    if sum(words) > capacity and not storage.allow_overbooking:
        return _too_large(storage.name, words, capacity, "words", problem, level, nest)
    bits = [activity.metadata_bits for activity in activities]
    room = int(storage.metadata_depth * storage.metadata_width_bits / storage.multiple_buffering)
    if sum(bits) > room and not storage.allow_overbooking:
        return _too_large(storage.name, bits, room, "metadata bits", problem, level, nest)
    least = capacity * storage.min_utilization
    if sum(words) < least:
        return Infeasible(
            level=storage.name,
            demand=sum(words),
            capacity=least,
            unit="words",
            message=f"{storage.name}: the tiles fill {sum(words)} words, min_utilization asks for {least:g}",
            levers=(f"larger factors at {storage.name} and inside", "a smaller min_utilization"),
        )
    return None


def _too_large(
    name: str, demands: list[int], capacity: int, unit: str, problem: Problem, level: int, nest: Nest
) -> Infeasible:
    total = sum(demands)
    largest = max(range(len(demands)), key=demands.__getitem__)
    dataspace = problem.dataspaces[largest]
    extents = nest.levels[level].boundary.full
    dimensions = [d for d in sorted(dataspace.dimensions, key=lambda d: -extents[d]) if extents[d] > 1]
    factors = ", ".join(f"{problem.dimensions[d]} (now {extents[d]})" for d in dimensions)
    levers = [f"smaller factors at {name} and inside of {factors}"] if factors else []
    levers.append(f"bypass {dataspace.name} at {name}" if sum(map(bool, demands)) > 1 else f"a larger {name}")
    return Infeasible(
        level=name,
        demand=total,
        capacity=capacity,
        unit=unit,
        message=f"{name}: the mapped tiles take {total} {unit}, the capacity is {capacity}",
        dataspace=dataspace.name,
        levers=tuple(levers),
    )
