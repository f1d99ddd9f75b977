"""A simulator that really runs the loops and counts the distinct words that move: what the counts *mean*.

Hardware in mind: every instance of a level that keeps a tensor holds exactly the tile of its current iteration; words
that were in the tile before stay. A word that several children need in the same step is read once (multicast), or
added up on the way (spatial reduction). Every operation reads its operands. Partial sums start from zero, so neither
the first read nor the first fill of an element happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem


@dataclass
class Counts:
    reads: int = 0
    fills: int = 0
    updates: int = 0
    capacity: int = 0


def simulate_loops(problem: Problem, mapping: Mapping, index: int) -> dict[int, Counts]:
    """Counts of one dataspace, per instance (the first one), at every level that keeps it. Perfect nests only."""
    dataspace = problem.dataspaces[index]
    held = [level for level, row in enumerate(mapping.levels) if row.keep[index]]
    counts = {level: Counts(capacity=len(words(dataspace, inside(problem, mapping, level)))) for level in held}
    for position, level in enumerate(held):
        child = held[position - 1] if position else None
        demanded, arrived, distinct = feed(problem, mapping, dataspace, child, level)
        if dataspace.read_write:
            counts[level].updates = demanded
            counts[level].reads = demanded - distinct
            if child is not None:
                counts[child].fills = arrived - counts_distinct(problem, mapping, dataspace, child)
        else:
            counts[level].reads = demanded
            if child is not None:
                counts[child].fills = arrived
    return counts


def loops_of(problem: Problem, mapping: Mapping):
    """(level, spatial, dimension, bound, stride), innermost first."""
    stride = [1] * len(problem.bounds)
    found = []
    for level, row in enumerate(mapping.levels):
        for spatial, loops in ((True, row.spatial_x + row.spatial_y), (False, row.temporal)):
            for loop in loops:
                found.append((level, spatial, loop.dimension, loop.bound, stride[loop.dimension]))
                stride[loop.dimension] *= loop.bound
    return found


def inside(problem: Problem, mapping: Mapping, level: int | None):
    """Iterations (vectors) inside a level's boundary; the single operation for None."""
    loops = [x for x in loops_of(problem, mapping) if level is not None and x[0] <= level]
    return vectors(problem, loops)


def vectors(problem: Problem, loops):
    found = []
    for choice in product(*(range(bound) for *_, bound, _ in reversed(loops))):
        vector = [0] * len(problem.bounds)
        for (_, _, d, _, stride), i in zip(reversed(loops), choice, strict=True):
            vector[d] += stride * i
        found.append(tuple(vector))
    return found


def words(dataspace: Dataspace, iterations) -> frozenset[tuple[int, ...]]:
    return frozenset(
        tuple(sum(term.coefficient * v[term.dimension] for term in rank) for rank in dataspace.ranks)
        for v in iterations
    )


def add(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))


def feed(problem: Problem, mapping: Mapping, dataspace: Dataspace, child: int | None, parent: int):
    """(words leaving the parent, words arriving at the first child, distinct words that the parent ever serves)."""
    loops = loops_of(problem, mapping)
    outside = [x for x in loops if child is None or x[0] > child]
    steps = vectors(problem, [x for x in outside if not x[1]])
    elements = vectors(problem, [x for x in outside if x[1] and x[0] <= parent])
    tile = inside(problem, mapping, child)
    before = {element: frozenset() for element in elements}
    leaving = arriving = 0
    ever: set[tuple[int, ...]] = set()
    for step in steps:
        moved: set[tuple[int, ...]] = set()
        for number, element in enumerate(elements):
            at = add(step, element)
            now = words(dataspace, [add(at, v) for v in tile])
            new = now - before[element] if child is not None else now
            before[element] = now
            moved |= new
            arriving += len(new) if number == 0 else 0
        leaving += len(moved)
        ever |= moved
    return leaving, arriving, len(ever)


def counts_distinct(problem: Problem, mapping: Mapping, dataspace: Dataspace, level: int) -> int:
    """Distinct words that the first instance of a level ever holds."""
    temporal = [x for x in loops_of(problem, mapping) if x[0] > level and not x[1]]
    return len(
        {
            w
            for step in vectors(problem, temporal)
            for w in words(dataspace, [add(step, v) for v in inside(problem, mapping, level)])
        }
    )
