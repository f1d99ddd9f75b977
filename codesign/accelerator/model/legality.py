"""Whether the mapping fits the hardware: instances, mesh, capacity. What does not fit is a result, not a crash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from codesign.accelerator.model.nest import Nest
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError

__all__ = ["Demand", "check_compute", "check_levels", "dense_demands"]


@dataclass(frozen=True, slots=True)
class Demand:
    """What the tiles take of one level: words of data and bits of metadata, one entry a dataspace."""

    words: Sequence[int]
    metadata_bits: Sequence[int]


def dense_demands(nest: Nest, problem: Problem, mapping: Mapping) -> Iterator[Demand]:
    """Whole tiles of the dataspaces that each level keeps, innermost level first."""
    for index, level in enumerate(mapping.levels):
        words = [
            nest.tile(dataspace, index) if kept else 0
            for dataspace, kept in zip(problem.dataspaces, level.keep, strict=True)
        ]
        yield Demand(words, [0] * len(words))


def check_compute(nest: Nest, architecture: Architecture, problem: Problem) -> Infeasible | None:
    """All spatial loops against the compute units that exist."""
    return _check_spread(architecture.compute, nest.compute_spread, nest, problem)


def check_levels(
    nest: Nest, architecture: Architecture, problem: Problem, demands: Iterable[Demand]
) -> Infeasible | None:
    """Every level's capacity and instances, from the innermost level outwards; the first that does not fit.

    Raises:
        InputError: a tile would overbook a storage that allows it, which is not modelled.
    """
    for level, (part, demand) in enumerate(zip(nest.levels, demands, strict=True)):
        found = _check_capacity(level, architecture, problem, nest, demand)
        found = found or _check_spread(architecture.storage[level], part.spread, nest, problem)
        if found is not None:
            return found
    return None


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


def _check_capacity(
    level: int, architecture: Architecture, problem: Problem, nest: Nest, demand: Demand
) -> Infeasible | None:
    storage = architecture.storage[level]
    capacity = storage.effective_size_words
    if capacity is None or storage.spatial_dummy:
        return None
    words, bits = demand.words, demand.metadata_bits
    if sum(words) > capacity:
        _refuse_overbooking(storage, sum(words), capacity)
        return _too_large(storage.name, words, capacity, "words", problem, level, nest)
    room = int(storage.metadata_depth * storage.metadata_width_bits / storage.multiple_buffering)
    if sum(bits) > room:
        _refuse_overbooking(storage, sum(bits), room)
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


def _refuse_overbooking(storage: Storage, demand: int, capacity: int) -> None:
    if storage.allow_overbooking:
        raise InputError(
            "not modelled: a tile that overbooks its storage",
            got=f"a demand of {demand} against {capacity}",
            key=f"{storage.name}.allow_overbooking",
            fix="set allow_overbooking to false, or choose a mapping whose tiles fit",
        )


def _too_large(
    name: str, demands: Sequence[int], capacity: int, unit: str, problem: Problem, level: int, nest: Nest
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
