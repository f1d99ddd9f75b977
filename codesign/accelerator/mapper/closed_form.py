"""Accesses, cycles and energy of many mappings at once, in closed form (perfect factors, dense tensors).

The counts are those of the nest analysis of Timeloop (Parashar et al., ISPASS 2019) wherever its recursion collapses:
a tile is fetched again by every loop outside it except the innermost ones that do not move it, and by sliding windows
only as far as they are new. **Not in it**, because only the recursion over loops knows: transfers between
neighbouring instances over links; a sliding window that happens to meet itself when a loop beyond the first two that
move it steps; ranks that add three or more dimensions; negative coefficients; ``no_coalesce``; network energy;
sparsity. The engine is the authority; this is for comparing mappings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper.nest import Batch, FloatArray, IntArray, Nest
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import LevelConstraints
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Problem

__all__ = ["ClosedForm", "Counts"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Scalar accesses per instance, (B, levels, dataspaces); zero where a level does not keep a dataspace.

    ``tile``: words of the tile at every level, kept or not. ``instances``: (B, levels) used copies of a level.
    ``compute_cycles``: (B,) product of all temporal loops.
    """

    reads: FloatArray
    fills: FloatArray
    updates: FloatArray
    tile: FloatArray
    instances: FloatArray
    compute_cycles: FloatArray


@dataclass(frozen=True, slots=True)
class _Loops:
    """All temporal loops from the innermost outwards, and one of bound 1 after the last: (B, loops + 1) each.

    ``stride``: iterations of the loop's dimension inside it. ``iterations``: of the loop and all outside it.
    """

    bound: FloatArray
    dimension: IntArray
    stride: FloatArray
    iterations: FloatArray


class ClosedForm:
    """The closed form for one architecture and problem.

    Args:
        architecture, problem: as for the engine.
        nest: where the factors of a batch go.
        flags: per level, for ``no_temporal_reuse``, ``no_multicast`` and ``rmw_first_update``; none where empty.
        halo_through_stationary: True for Timeloop since 21 Jan 2025, which keeps the overlap of a sliding window while
            a loop that does not move the window runs inside; False for v3.0.3 and before.
    """

    def __init__(
        self,
        architecture: Architecture,
        problem: Problem,
        nest: Nest,
        *,
        flags: Sequence[LevelConstraints | LevelMapping] = (),
        halo_through_stationary: bool = True,
    ) -> None:
        self._levels = range(len(architecture.storage))
        self._spaces = range(len(problem.dataspaces))
        self._halo_through_stationary = halo_through_stationary
        self._nest = nest
        self._spatial = [nest.of_level(level, spatial=True) for level in self._levels]
        self._temporal = np.array(nest.temporal, np.int64)
        ends = [sum(slot.level <= level for slot in nest.slots) for level in self._levels]
        self._end = np.array(ends, np.int64)
        inside = [sum(nest.slots[slot].level <= level for slot in nest.temporal) for level in self._levels]
        self._first_outer_loop = np.array(inside, np.int64) * len(nest.dimensions)
        self._read_write = [dataspace.read_write for dataspace in problem.dataspaces]
        self._compile_ranks(problem)
        shape = (len(self._levels), len(self._spaces))
        self._no_reuse, self._no_multicast, self._rmw = (np.zeros(shape, bool) for _ in range(3))
        for level, own in enumerate(flags):
            self._no_reuse[level, list(own.no_temporal_reuse)] = True
            self._no_multicast[level, list(own.no_multicast)] = True
            self._rmw[level, list(own.rmw_first_update)] = True

    def _compile_ranks(self, problem: Problem) -> None:
        """Coefficients (dimensions, ranks of all dataspaces), where each dataspace's ranks start, its sliding ranks."""
        position = {dimension: index for index, dimension in enumerate(self._nest.dimensions)}
        ranks = [rank for dataspace in problem.dataspaces for rank in dataspace.ranks]
        self._coefficient = np.zeros((len(position), len(ranks)))
        for column, rank in enumerate(ranks):
            for term in rank:
                if term.dimension in position:
                    self._coefficient[position[term.dimension], column] += abs(term.coefficient)
        counts = [len(dataspace.ranks) for dataspace in problem.dataspaces]
        self._rank_start = np.cumsum([0, *counts[:-1]])
        self._ranks = [slice(start, start + count) for start, count in zip(self._rank_start, counts, strict=True)]
        self._moves = np.stack([(self._coefficient[:, own] > 0).any(axis=1) for own in self._ranks], axis=1)
        self._sliding: list[list[int]] = [
            [rank for rank in range(own.start, own.stop) if (self._coefficient[:, rank] > 0).sum() > 1]
            for own in self._ranks
        ]

    def tiles(self, factors: IntArray) -> FloatArray:
        """Words of the tile of every level and dataspace: (B, levels, dataspaces)."""
        return self._tile(self._extents(factors)[:, self._end])

    def _extents(self, factors: IntArray) -> FloatArray:
        """Iterations of every dimension inside each slot, and at the end of all: (B, slots + 1, dimensions)."""
        extents = np.ones((len(factors), factors.shape[1] + 1, factors.shape[2]))
        np.cumprod(factors, axis=1, out=extents[:, 1:])
        return extents

    def _tile(self, extents: FloatArray) -> FloatArray:
        widths = (extents - 1) @ self._coefficient + 1
        return np.multiply.reduceat(widths, self._rank_start, axis=-1)

    def counts(self, batch: Batch) -> Counts:
        """All accesses of every mapping of the batch."""
        extents = self._extents(batch.factors)
        visits, tile = self._visits(batch, extents)
        distinct = self._distinct(batch.factors, extents)
        fan = np.stack([batch.factors[:, list(own)].prod(axis=(1, 2)) for own in self._spatial], axis=1).astype(float)
        # Copies in use of a level: the product of the spatial loops of all levels outside it.
        instances = fan[:, ::-1].cumprod(axis=1)[:, ::-1] / fan
        cycles = batch.factors[:, self._temporal].prod(axis=(1, 2)).astype(float)
        first = self._held(extents, tile)
        arriving = np.repeat(cycles[:, None], len(self._spaces), axis=1)
        outermost = batch.keep.shape[1] - 1 - batch.keep[:, ::-1].argmax(axis=1)
        reads, fills, updates = (np.zeros_like(tile) for _ in range(3))
        writes = np.array(self._read_write)
        for level in self._levels:
            arriving = arriving * distinct[:, level]
            keep = batch.keep[:, level]
            # A strided bounding box holds words that nothing writes, so it may be larger than what arrives.
            known = np.where(writes & ~self._rmw[level], first[:, level], 0.0)
            reads[:, level] = np.where(keep, np.maximum(0.0, arriving - known), 0.0)
            updates[:, level] = np.where(keep & writes, arriving, 0.0)
            fetched = np.maximum(0.0, visits[:, level] - known)
            fills[:, level] = np.where(keep & (outermost != level), fetched, 0.0)
            arriving = np.where(keep, visits[:, level], arriving)
        return Counts(reads, fills, updates, tile, instances, cycles)

    def _visits(self, batch: Batch, extents: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Words that enter the tile of every level over the whole run, as if it were kept; and the tile."""
        loops = self._loops(batch, extents)
        count = np.arange(loops.bound.shape[1])
        moving = self._moves[loops.dimension] & (loops.bound > 1)[..., None]
        innermost = _next(np.where(moving, count[:, None], count[-1]))[:, self._first_outer_loop]
        widths = (extents[:, self._end] - 1) @ self._coefficient + 1
        tile = np.multiply.reduceat(widths, self._rank_start, axis=-1)
        visits = tile * loops.iterations[np.arange(len(batch))[:, None, None], innermost]
        following = _next(np.where(loops.bound > 1, count, count[-1]))
        for space in self._spaces:
            if self._sliding[space]:
                own = widths[..., self._ranks[space]]
                visits[..., space] = self._sliding_visits(space, loops, innermost[..., space], following, own)
        outside = loops.iterations[:, self._first_outer_loop]
        return np.where(self._no_reuse, outside[..., None] * tile, visits), tile

    def _loops(self, batch: Batch, extents: FloatArray) -> _Loops:
        size = len(batch)

        def in_order(by_slot: FloatArray | IntArray) -> FloatArray:
            values = np.ones((size, len(self._temporal) * by_slot.shape[2] + 1))
            values[:, :-1] = np.take_along_axis(by_slot[:, self._temporal], batch.order, axis=2).reshape(size, -1)
            return values

        bound = in_order(batch.factors)
        dimension = np.zeros(bound.shape, np.int64)
        dimension[:, :-1] = batch.order.reshape(size, -1)
        return _Loops(bound, dimension, in_order(extents[:, :-1]), bound[:, ::-1].cumprod(axis=1)[:, ::-1])

    def _sliding_visits(
        self, space: int, loops: _Loops, inner: IntArray, following: IntArray, widths: FloatArray
    ) -> FloatArray:
        """Visits (B, levels) of a dataspace with sliding windows, moved by loop ``inner`` and the one following it.

        While ``inner`` runs, each step fetches what is new. When the loop outside it steps, the window jumps back by
        one inner step (the recursion extrapolates from its second iteration, and here we follow it) and ahead by one
        outer step: if these cancel nothing is fetched, if they leave one inner step only what is new, else the tile.
        """
        last = loops.bound.shape[1] - 1
        row = np.arange(len(inner))[:, None]
        outer = following[row, np.minimum(inner + 1, last)]
        times_inner, times_outer = loops.bound[row, inner], loops.bound[row, outer]
        step, jump = (
            self._coefficient[loops.dimension[row, at]][..., self._ranks[space]]
            * (loops.stride[row, at] * (loops.bound[row, at] > 1))[..., None]
            for at in (inner, outer)
        )
        tile = widths.prod(axis=-1)
        new = tile - np.maximum(0.0, widths - step).prod(axis=-1)
        again = np.where((jump == 2 * step).all(axis=-1), new, tile)
        if self._halo_through_stationary:
            again = np.where((jump == step).all(axis=-1), 0.0, again)
        else:
            passed = loops.iterations[:, self._first_outer_loop] / loops.iterations[row, inner]
            new, again = (np.where(passed > 1, tile, words) for words in (new, again))
        block = tile + (times_inner - 1) * new + (times_outer - 1) * (again + (times_inner - 1) * new)
        return np.asarray(loops.iterations[row, inner] / (times_inner * times_outer) * block)

    def _distinct(self, factors: IntArray, extents: FloatArray) -> FloatArray:
        """By how much a level's spatial loops multiply what one child asks for: equal requests are one (multicast)."""
        distinct = np.ones((len(factors), len(self._levels), len(self._spaces)))
        for level, slots in enumerate(self._spatial):
            if not slots:
                continue
            fan = factors[:, list(slots)].prod(axis=1)
            distinct[:, level] = np.where(self._moves, fan[..., None], 1).prod(axis=1)
            for space in self._spaces:
                for rank in self._sliding[space]:
                    distinct[:, level, space] *= self._merged(rank, fan, extents[:, slots[0]])
            distinct[:, level] = np.where(self._no_multicast[level], fan.prod(axis=1)[:, None], distinct[:, level])
        return distinct

    def _merged(self, rank: int, fan: IntArray, inner: FloatArray) -> FloatArray | float:
        """Share of distinct values among those of a sum of two terms, over a spatial group."""
        terms = np.flatnonzero(self._coefficient[:, rank])
        if len(terms) != 2:
            return 1.0
        a, b = terms
        # Values step_a*i + step_b*j coincide exactly along (i - step_b/g, j + step_a/g).
        step_a, step_b = ((self._coefficient[d, rank] * inner[:, d]).astype(np.int64) for d in (a, b))
        common = np.gcd(step_a, step_b)
        equal = np.maximum(0, fan[:, a] - step_b // common) * np.maximum(0, fan[:, b] - step_a // common)
        return np.asarray(1.0 - equal / (fan[:, a] * fan[:, b]), float)

    def _held(self, extents: FloatArray, tile: FloatArray) -> FloatArray:
        """Distinct words that one instance ever holds, (B, levels, dataspaces), shared out from the outermost inwards.

        Whole numbers like the real program's: a level's share is that of the outer level times the tile that it holds
        over the tile of all its neighbours together.
        """
        held = tile.copy()
        for level in reversed(self._levels[:-1]):
            slots = self._spatial[level + 1]
            together = self._tile(extents[:, slots[-1] + 1]) if slots else tile[:, level]
            held[:, level] = np.floor(held[:, level + 1] * tile[:, level] / together)
        return held


def _next(index: IntArray) -> IntArray:
    """The smallest value at or after each position of axis 1."""
    return np.asarray(np.minimum.accumulate(index[:, ::-1], axis=1)[:, ::-1])
