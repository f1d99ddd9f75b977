"""Legality by enumeration, written without any of the mapper's code: the oracle of its tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from math import prod

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, LoopConstraints
from codesign.accelerator.spec.mapping import Loop, Mapping
from codesign.accelerator.spec.problem import Problem

__all__ = ["any_legal_mapping", "complaints", "space_size"]

_SATISFIES = {"=": int.__eq__, "<=": int.__le__, ">=": int.__ge__}
Factors = tuple[tuple[tuple[int, str], int], ...]


def points_of_a_tile(problem: Problem, space: int, extents: list[int]) -> int:
    """Words of the bounding box of a tile, from every point that it touches."""
    ranks = problem.dataspaces[space].ranks
    touched = [
        tuple(sum(term.coefficient * index[term.dimension] for term in rank) for rank in ranks)
        for index in product(*(range(extent) for extent in extents))
    ]
    return prod(1 + max(axis) - min(axis) for axis in zip(*touched, strict=True))


def complaints(
    architecture: Architecture, problem: Problem, constraints: Constraints, mapping: Mapping, *, points: bool = True
) -> list[str]:
    """Every rule that a mapping breaks. ``points``: tiles by their points, else by the extent of each rank."""
    found = []
    everything = sorted(range(len(problem.bounds)))
    done = [1] * len(problem.bounds)
    kept_somewhere = [False] * len(problem.dataspaces)
    for index, (storage, own) in enumerate(zip(architecture.storage, mapping.levels, strict=True)):
        limits = constraints.levels[index]
        fanout = architecture.fanout(index)
        spatial = own.spatial_x + own.spatial_y
        if sorted(loop.dimension for loop in own.temporal) != everything:
            found.append(f"{storage.name}: temporal loops {own.temporal}")
        if sorted(loop.dimension for loop in spatial) != (everything if fanout != (1, 1) else []):
            found.append(f"{storage.name}: spatial loops {spatial}")
        if prod(x.bound for x in own.spatial_x) > fanout[0] or prod(y.bound for y in own.spatial_y) > fanout[1]:
            found.append(f"{storage.name}: fan-out")
        if storage.spatial_dummy and (any(own.keep) or prod(loop.bound for loop in own.temporal) > 1):
            found.append(f"{storage.name}: a dummy that stores or iterates")
        found += _limits(f"{storage.name} temporal", own.temporal, limits.temporal)
        found += _limits(f"{storage.name} spatial", spatial, limits.spatial)
        if spatial and limits.spatial.split is not None and limits.spatial.split != len(own.spatial_x):
            found.append(f"{storage.name}: split {len(own.spatial_x)}")
        for space, (kept, wanted) in enumerate(zip(own.keep, limits.keep, strict=True)):
            kept_somewhere[space] |= kept
            if wanted is not None and kept != wanted:
                found.append(f"{storage.name}: keep {own.keep}")
        for loop in (*spatial, *own.temporal):
            done[loop.dimension] *= loop.bound
        tile = points_of_a_tile if points else _tile_by_ranks
        words = sum(tile(problem, space, done) for space, kept in enumerate(own.keep) if kept)
        capacity = _capacity(architecture, index)
        if capacity is not None and words > capacity:
            found.append(f"{storage.name}: {words} words in {capacity}")
    if done != list(problem.bounds):
        found.append(f"factors multiply to {done}")
    if not all(kept_somewhere):
        found.append("a dataspace is kept nowhere")
    return found


def _tile_by_ranks(problem: Problem, space: int, extents: list[int]) -> int:
    ranks = problem.dataspaces[space].ranks
    return prod(1 + sum(term.coefficient * (extents[term.dimension] - 1) for term in rank) for rank in ranks)


def _capacity(architecture: Architecture, index: int) -> int | None:
    storage = architecture.storage[index]
    if storage.size_words is None or storage.spatial_dummy:
        return None
    return int(storage.size_words // storage.multiple_buffering)


def _limits(where: str, loops: tuple[Loop, ...], limits: LoopConstraints) -> list[str]:
    bounds = {loop.dimension: loop.bound for loop in loops}
    order = [loop.dimension for loop in loops]
    found = [
        f"{where}: {limit}"
        for limit in limits.factors
        if not _SATISFIES[limit.relation](bounds.get(limit.dimension, 1), limit.value)
    ]
    if loops and order[: len(limits.inner)] != list(limits.inner):
        found.append(f"{where}: inner {order}")
    if loops and limits.outer and order[-len(limits.outer) :] != list(limits.outer):
        found.append(f"{where}: outer {order}")
    return found


def places(architecture: Architecture) -> list[tuple[int, str]]:
    """Where a factor may go: (level, T, X or Y), inner to outer."""
    found = []
    for index, storage in enumerate(architecture.storage):
        found += [(index, axis) for axis, there in zip("XY", architecture.fanout(index), strict=True) if there > 1]
        found += [] if storage.spatial_dummy else [(index, "T")]
    return found


def splittings(bound: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a bound as an ordered product."""
    if count == 1:
        yield (bound,)
        return
    for factor in range(1, bound + 1):
        if bound % factor == 0:
            for rest in splittings(bound // factor, count - 1):
                yield (factor, *rest)


def space_size(architecture: Architecture, problem: Problem) -> int:
    """Choices of factors, times choices of what is kept."""
    slots = len(places(architecture))
    keeps = 2 ** (len(problem.dataspaces) * sum(not storage.spatial_dummy for storage in architecture.storage))
    return keeps * prod(sum(1 for _ in splittings(bound, slots)) for bound in problem.bounds)


def any_legal_mapping(architecture: Architecture, problem: Problem, constraints: Constraints) -> bool:
    """Whether any perfect factors with any order and any bypass are legal, by trying all of them."""
    slots = places(architecture)
    ways = [list(splittings(bound, len(slots))) for bound in problem.bounds]
    keeps = list(_keeps(architecture, problem, constraints))
    return any(
        _factors_allowed(architecture, constraints, slots, factors)
        and any(_fits(architecture, problem, slots, factors, keep) for keep in keeps)
        for factors in product(*ways)
    )


def _keeps(architecture: Architecture, problem: Problem, constraints: Constraints) -> Iterator[list[tuple[bool, ...]]]:
    """The backing store keeps whatever it is free to keep, as in Timeloop."""
    choices = []
    last = len(architecture.storage) - 1
    for index, storage in enumerate(architecture.storage):
        for wanted in constraints.levels[index].keep:
            free = (False,) if storage.spatial_dummy else (True,) if index == last else (False, True)
            choices.append(free if wanted is None else (wanted,))
    count = len(problem.dataspaces)
    for flat in product(*choices):
        rows = [flat[i : i + count] for i in range(0, len(flat), count)]
        if all(any(row[space] for row in rows) for space in range(count)):
            yield rows


def _factors_allowed(
    architecture: Architecture,
    constraints: Constraints,
    slots: list[tuple[int, str]],
    factors: tuple[tuple[int, ...], ...],
) -> bool:
    for index in range(len(architecture.storage)):
        own = constraints.levels[index]
        by_axis = {
            axis: tuple(f[slots.index((index, axis))] if (index, axis) in slots else 1 for f in factors)
            for axis in "XYT"
        }
        fanout = architecture.fanout(index)
        if prod(by_axis["X"]) > fanout[0] or prod(by_axis["Y"]) > fanout[1]:
            return False
        if any(x > 1 and y > 1 for x, y in zip(by_axis["X"], by_axis["Y"], strict=True)):
            return False
        spatial = tuple(x * y for x, y in zip(by_axis["X"], by_axis["Y"], strict=True))
        for values, limits in ((by_axis["T"], own.temporal), (spatial, own.spatial)):
            for limit in limits.factors:
                if not _SATISFIES[limit.relation](values[limit.dimension], limit.value):
                    return False
        on_x, on_y = (frozenset(d for d, f in enumerate(by_axis[axis]) if f > 1) for axis in "XY")
        if fanout != (1, 1) and not _orderable(own.spatial, len(factors), on_x, on_y):
            return False
    return True


@cache
def _orderable(limits: LoopConstraints, count: int, on_x: frozenset[int], on_y: frozenset[int]) -> bool:
    """Whether some permutation with the fixed parts, cut at some allowed place, has X first and Y after it."""
    cuts = range(count + 1) if limits.split is None else [limits.split]
    for order in permutations(range(count)):
        if order[: len(limits.inner)] != limits.inner or order[count - len(limits.outer) :] != limits.outer:
            continue
        if any(on_x <= set(order[:cut]) and on_y <= set(order[cut:]) for cut in cuts):
            return True
    return False


def _fits(
    architecture: Architecture,
    problem: Problem,
    slots: list[tuple[int, str]],
    factors: tuple[tuple[int, ...], ...],
    keep: list[tuple[bool, ...]],
) -> bool:
    for index in range(len(architecture.storage)):
        capacity = _capacity(architecture, index)
        inside = [position for position, (level, _) in enumerate(slots) if level <= index]
        extents = [prod(f[position] for position in inside) for f in factors]
        words = sum(_tile_by_ranks(problem, space, extents) for space, kept in enumerate(keep[index]) if kept)
        if capacity is not None and words > capacity:
            return False
    return True
