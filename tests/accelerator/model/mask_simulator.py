"""A simulator that runs the loops with real masks, operation by operation, and counts what is sent.

A *delivery* is what one instance of a level sends to its receivers at once: the tile of the next inner level that
holds the tensor (or one word, at the compute units). It serves all operations that any receiver does until its tile
moves on; a window is where its corner is, so one that two loops move to and fro has moved. A level with a saving makes
a delivery only if, for each tensor that the saving waits for, one of the words that those operations meet is a one;
and a level can send only what a level further out sent to it.

Nothing here knows of digits, shares or probabilities.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import numpy as np
from loop_simulator import loops_of, words

from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem

Savings = dict[tuple[int, int], tuple[int, ...]]
"""(level, dataspace) -> dataspaces that the saving waits for."""


@dataclass
class Delivered:
    """Means over all instances and samples."""

    reads: dict[tuple[int, int], Fraction] = field(default_factory=dict)
    updates: dict[tuple[int, int], Fraction] = field(default_factory=dict)
    fills: dict[tuple[int, int], Fraction] = field(default_factory=dict)
    deliveries: Counter = field(default_factory=Counter)
    made: Counter = field(default_factory=Counter)
    """Of all instances and samples."""
    arriving: Fraction = Fraction(0)
    """Operations that no storage level keeps an operand away from."""
    effectual: Fraction = Fraction(0)
    """Those of them of which all masks are ones."""


@dataclass(frozen=True)
class Step:
    """One operation: iteration vector, time (outermost loop first) and place of every level, outermost first."""

    vector: tuple[int, ...]
    indices: tuple[int, ...]


def operations(problem: Problem, mapping: Mapping) -> tuple[list[tuple], list[Step]]:
    loops = loops_of(problem, mapping)
    found = []
    for choice in product(*(range(bound) for *_, bound, _ in reversed(loops))):
        vector = [0] * len(problem.bounds)
        for (_, _, d, _, stride), i in zip(reversed(loops), choice, strict=True):
            vector[d] += stride * i
        if all(value < bound for value, bound in zip(vector, problem.bounds, strict=True)):
            found.append(Step(tuple(vector), tuple(reversed(choice))))
    return loops, found


def point(problem: Problem, dataspace: Dataspace, vector) -> tuple[int, ...]:
    """Position of the word in the tensor's mask, whose first element is at the lowest coordinates."""
    box = dataspace.tile([0] * len(problem.bounds), [bound - 1 for bound in problem.bounds])
    at = dataspace.tile(vector, vector)
    return tuple(here - low for (here, _), (low, _) in zip(at, box, strict=True))


def deliveries(problem, loops, steps, index: int, level: int, child: int | None):
    """Operation number -> (delivery, receiver), and the words of a delivery."""
    dataspace = problem.dataspaces[index]
    outside = [i for i, loop in enumerate(loops) if child is None or loop[0] > child]
    place = [i for i in outside if loops[i][1] and loops[i][0] > level]
    receiver = [i for i in outside if loops[i][1]]
    time = [i for i in outside if not loops[i][1]]
    tiles: dict[tuple, set] = defaultdict(set)
    corners: dict[tuple, tuple] = {}
    for step in steps:
        at = tuple(step.indices[i] for i in receiver), tuple(step.indices[i] for i in reversed(time))
        tiles[at] |= words(dataspace, [step.vector])
        moved = tuple(step.vector[d] for d in sorted(dataspace.dimensions))
        corners[at] = min(corners.get(at, moved), moved)
    stay: dict[tuple, tuple] = {}  # since when; receivers at the edge of an imperfect nest have fewer steps
    for who in {at[0] for at in tiles}:
        since, before = (), None
        for when in sorted(at[1] for at in tiles if at[0] == who):
            if child is None or corners[who, when] != before:
                since = when
            before = corners[who, when]
            stay[who, when] = since
    found = []
    for step in steps:
        who, when = tuple(step.indices[i] for i in receiver), tuple(step.indices[i] for i in reversed(time))
        instance = tuple(step.indices[i] for i in place)
        key = instance, stay[who, when], corners[who, when], frozenset(tiles[who, when])
        found.append((key, who))
    return found


def simulate_masks(problem: Problem, mapping: Mapping, masks: dict[int, np.ndarray], savings: Savings) -> Delivered:
    """
    Args:
        masks: (samples, *extents of the tensor) for some dataspaces.
    """
    loops, steps = operations(problem, mapping)
    samples = max(len(mask) for mask in masks.values())
    held = {p: [lv for lv, row in enumerate(mapping.levels) if row.keep[p]] for p in range(len(problem.dataspaces))}
    result = Delivered()
    bits = {
        p: [
            [bool(mask[s % len(mask)][point(problem, problem.dataspaces[p], step.vector)]) for step in steps]
            for s in range(samples)
        ]
        for p, mask in masks.items()
    }
    reaches = [[True] * len(steps) for _ in range(samples)]
    sums: dict[tuple[str, int, int], int] = defaultdict(int)
    for p, dataspace in enumerate(problem.dataspaces):
        alive = [[True] * len(steps) for _ in range(samples)]
        for position in range(len(held[p]) - 1, -1, -1):
            level = held[p][position]
            child = held[p][position - 1] if position else None
            table = deliveries(problem, loops, steps, p, level, child)
            members: dict[tuple, list[int]] = defaultdict(list)
            for number, (key, _) in enumerate(table):
                members[key].append(number)
            for s in range(samples):
                seen: dict[tuple, set] = defaultdict(set)
                for key, numbers in members.items():
                    result.deliveries[p, level] += 1
                    assert len({alive[s][n] for n in numbers}) == 1, "a delivery comes from one outer delivery"
                    conditions = savings.get((level, p), ())
                    made = alive[s][numbers[0]] and all(any(bits[c][s][n] for n in numbers) for c in conditions)
                    for n in numbers:
                        alive[s][n] = made
                    if not made:
                        continue
                    result.made[p, level] += 1
                    instance, *_, tile = key
                    sums["down", p, level] += len(tile)
                    sums["old", p, level] += len(tile & seen[instance])
                    seen[instance] |= tile
                    if child is not None:
                        receivers = {table[n][1] for n in numbers}
                        sums["arrived", p, child] += len(tile) * len(receivers)
        if not dataspace.read_write:
            reaches = [[a and b for a, b in zip(x, y, strict=True)] for x, y in zip(reaches, alive, strict=True)]

    def instances(level: int) -> int:
        count = 1
        for lv, spatial, _, bound, _ in loops:
            count *= bound if spatial and lv > level else 1
        return count

    for (kind, p, level), total in sums.items():
        mean = Fraction(total, instances(level) * samples)
        if kind == "arrived" and not problem.dataspaces[p].read_write:
            result.fills[p, level] = mean
        elif kind == "down":
            (result.updates if problem.dataspaces[p].read_write else result.reads)[p, level] = mean
        elif kind == "old" and problem.dataspaces[p].read_write:
            result.reads[p, level] = mean
    result.arriving = Fraction(sum(sum(row) for row in reaches), samples)
    both = sum(
        reach and all(bits[p][s][n] for p in bits) for s, row in enumerate(reaches) for n, reach in enumerate(row)
    )
    result.effectual = Fraction(both, samples)
    return result
