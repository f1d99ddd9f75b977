"""The walk of chapter-and-verse Timeloop, step by step, on explicit sets of points: an oracle for ``nest_analysis``.

It shares no code with the package beyond the value objects: tiles are sets of coordinate tuples, every loop is really
entered as the real program enters it (iteration 0, iteration 1 with weight, last ones of imperfect loops).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import prod

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem

Point = tuple[int, ...]
Points = frozenset[Point]


class Walker:
    """Histograms of all levels. ``found[level][dataspace][(multicast, scatter)] = [accesses, hops]``."""

    def __init__(self, architecture: Architecture, problem: Problem, mapping: Mapping, rule: str) -> None:
        self.architecture, self.problem, self.mapping, self.rule = architecture, problem, mapping, rule
        self.loops = []  # (dimension, bound, residual, axis, level), innermost first
        self.boundaries = {}
        self.masters = {}
        for level, here in enumerate(mapping.levels):
            spatial = [(loop, "X") for loop in here.spatial_x] + [(loop, "Y") for loop in here.spatial_y]
            self._append(spatial, level)
            if any(loop.bound > 1 for loop, _ in spatial):
                self.masters[len(self.loops) - 1] = level
            before = len(self.loops)
            self._append([(loop, "T") for loop in here.temporal], level)
            if len(self.loops) == before:
                self.loops.append((len(problem.bounds) - 1, 1, 1, "T", level))
            self.boundaries[len(self.loops) - 1] = level
        count, kinds = len(self.loops), len(problem.dataspaces)
        self.strides = [prod(b for d, b, *_ in self.loops[:k] if d == self.loops[k][0]) for k in range(count)]
        self.index = [0] * count
        self.transform = [0] * len(problem.bounds)
        self.epochs = 1
        self.last = [[None] * kinds for _ in range(count)]
        self.last_box = [[None] * kinds for _ in range(count)]
        self.stored = [[None] * kinds for _ in range(count)]
        self.previous = {}
        self.found = [[defaultdict(lambda: [0, 0.0]) for _ in range(kinds)] for _ in mapping.levels]
        self.links = [[0] * kinds for _ in mapping.levels]
        self.computes = defaultdict(int)
        self.delta(count - 1)

    def _append(self, loops, level):
        for loop, axis in loops:
            if loop.bound > 1:
                self.loops.append((loop.dimension, loop.bound, loop.residual, axis, level))

    def last_global(self, at: int, dimension: int) -> bool:
        return all(
            self.index[k] + 1 >= self.loops[k][2] for k in range(at, len(self.loops)) if self.loops[k][0] == dimension
        )

    def count(self, at: int) -> int:
        dimension, bound, residual, *_ = self.loops[at]
        return residual if self.last_global(at + 1, dimension) else bound

    def tile(self, dataspace: Dataspace, at: int):
        """(low, high) a rank, inclusive, of the box of all loops up to ``at``."""
        low, high = list(self.transform), []
        for d in range(len(self.transform)):
            inside = [k for k in range(at + 1) if self.loops[k][0] == d]
            if self.last_global(at + 1, d):
                extent = sum(self.strides[k] * (self.loops[k][2] - 1) for k in inside)
            else:
                extent = prod(self.loops[k][1] for k in inside) - 1
            high.append(low[d] + extent)
        box = []
        for rank in dataspace.ranks:
            corners = [
                sum(term.coefficient * at[term.dimension] for term, at in zip(rank, choice, strict=True))
                for choice in product((low, high), repeat=len(rank))
            ]
            box.append((min(corners), max(corners)))
        return box

    def delta(self, at: int) -> list[Points]:
        axis, level = self.loops[at][3], self.loops[at][4]
        if axis == "T":
            self.temporal(at)
        else:
            self.spatial(at)
        result = []
        for p, dataspace in enumerate(self.problem.dataspaces):
            box = self.tile(dataspace, at)
            now = frozenset(product(*(range(low, high + 1) for low, high in box)))
            if p in self.mapping.levels[level].no_temporal_reuse:
                result.append(now)
                continue
            last, before = self.last[at][p], self.last_box[at][p]
            self.last[at][p], self.last_box[at][p] = now, box
            if last is None:
                result.append(now)
                continue
            moved = tuple(
                round_half_away((a + b) / 2 - (c + d) / 2) for (a, b), (c, d) in zip(box, before, strict=True)
            )
            if self.rule == "current" and not any(moved):
                result.append(now - last)
            elif self.stored[at][p] is None:
                self.stored[at][p] = moved
                result.append(now - last)
            elif self.stored[at][p] == moved:
                result.append(now - last)
            else:
                self.stored[at][p] = None
                result.append(now)
        return result

    def temporal(self, at: int) -> None:
        dimension, bound, residual, _, level = self.loops[at]
        count = self.count(at)
        if at == 0:
            for histogram in self.found[level]:
                histogram[1, 1][0] += count * self.epochs
            self.computes[()] += count * self.epochs
            return
        ragged_inside = any(self.loops[k][0] == dimension and self.loops[k][1] != self.loops[k][2] for k in range(at))
        ragged = ragged_inside and self.last_global(at + 1, dimension)
        uneven = ragged and bound != residual
        deltas = []  # [weight, delta]
        start = self.transform[dimension]

        def visit(weight: int, own: bool, advance: int) -> None:
            self.epochs *= weight
            delta = self.delta(at - 1)
            self.epochs //= weight
            if own:
                deltas.append([weight, delta])
            else:
                deltas[-1][0] += 1
            self.transform[dimension] += self.strides[at] * advance
            self.index[at] += advance

        visit(1, True, 1)
        if not ragged:
            bulk = count - 1 if count >= 2 else 0
        elif not uneven:
            bulk = count - 2 if count >= 3 else 0
        else:
            bulk = count - 3 if count >= 4 else 0
        if bulk:
            visit(bulk, True, bulk)
        if uneven and count >= 3:
            visit(1, count < 4, 1)
        if ragged and count >= 2:
            visit(1, not (not uneven and count >= 3), 1)
        self.transform[dimension] = start
        self.index[at] = 0
        if at - 1 in self.boundaries and not self.starts_group(at):
            for p, histogram in enumerate(self.found[level]):
                histogram[1, 1][0] += sum(weight * len(delta[p]) for weight, delta in deltas) * self.epochs

    def starts_group(self, at: int) -> bool:
        return self.loops[at][3] != "T"

    def spatial(self, at: int) -> None:
        level = self.masters[at]
        group = [at]
        while group[-1] > 0 and self.loops[group[-1] - 1][3] != "T":
            group.append(group[-1] - 1)
        group.reverse()  # innermost first
        counts = [self.count_outside(k, at) for k in group]
        elements = list(product(*(range(n) for n in reversed(counts))))
        inner = group[0] - 1
        kinds = len(self.problem.dataspaces)
        if inner >= 0:
            base = self.delta(inner)
        else:
            base = [frozenset([tuple(x for x, _ in self.point(d))]) for d in self.problem.dataspaces]
            for element in elements:
                self.computes[element] += self.epochs
        deltas = []
        for element in elements:
            steps = dict(zip(reversed(group), element, strict=True))
            row = []
            for p, dataspace in enumerate(self.problem.dataspaces):
                shift = tuple(
                    sum(
                        term.coefficient * self.strides[k] * i
                        for term in rank
                        for k, i in steps.items()
                        if self.loops[k][0] == term.dimension
                    )
                    for rank in dataspace.ranks
                )
                row.append(frozenset(tuple(a + b for a, b in zip(x, shift, strict=True)) for x in base[p]))
            deltas.append(row)
        self.record(level, group, deltas, kinds)

    def count_outside(self, k: int, master: int) -> int:
        dimension, bound, residual, *_ = self.loops[k]
        return residual if self.last_global(master + 1, dimension) else bound

    def point(self, dataspace: Dataspace):
        return [
            (sum(term.coefficient * self.transform[term.dimension] for term in rank), 0) for rank in dataspace.ranks
        ]

    def record(self, level: int, group: list[int], deltas: list[list[Points]], kinds: int) -> None:
        logical = [prod(self.loops[k][1] for k in group if self.loops[k][3] == axis) for axis in "XY"]
        physical = self.architecture.fanout(level)
        width, height = max(physical[0], logical[0]), max(physical[1], logical[1])
        before = self.previous.get(level)
        options = self.mapping.levels[level]
        for p in range(kinds):
            here = [row[p] for row in deltas]
            multicast = p not in options.no_multicast
            plain = histogram(dict(enumerate(here)), width, height, multicast)
            linked = set()
            if before is not None and p not in options.no_link_transfer:
                for k, points in enumerate(here):
                    x, y = k % width, k // width
                    near = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
                    sources = [b * width + a for a, b in near if 0 <= a < width and 0 <= b < height]
                    if points and any(n < len(before) and before[n][p] == points for n in sources):
                        linked.add(k)
            rest = histogram({k: points for k, points in enumerate(here) if k not in linked}, width, height, multicast)
            if sum(words for words, _, _ in rest.values()) < sum(words for words, _, _ in plain.values()):
                self.links[level][p] += sum(len(here[k]) for k in linked) * self.epochs
                plain = rest
            for size, (words, groups, hops) in plain.items():
                entry = self.found[level][p][size, groups]
                entry[0] += words * self.epochs
                entry[1] += hops * words / groups * self.epochs
        self.previous[level] = deltas


def histogram(sets: dict[int, Points], width: int, height: int, multicast: bool) -> dict[int, tuple[int, int, float]]:
    """Group size -> (words, groups, hops)."""
    groups = defaultdict(list)
    for k, points in sets.items():
        if points:
            groups[(points, None if multicast else k)].append(k)
    result = defaultdict(lambda: (0, 0, 0.0))
    for (points, _), members in groups.items():
        words, count, hops = result[len(members)]
        columns = defaultdict(list)
        for k in members:
            columns[k % width].append(k // width)
        middle = (height - 1) / 2
        way = max(columns) + sum(max(0, middle - min(c)) + max(0, max(c) - middle) for c in columns.values())
        result[len(members)] = words + len(points), count + 1, hops + way
    return result


def round_half_away(x: float) -> int:
    return int(x + 0.5) if x >= 0 else -int(-x + 0.5)
