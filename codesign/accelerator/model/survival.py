"""How often nothing that an operation depends on is empty: exactly from real masks, else from densities.

All savings come down to this one number: the share of operations (or of deliveries, each of which stands for equally
many operations) for which none of several tiles is empty. Tensors with real masks are looked at together, sample by
sample and position by position, so that what their zeros have in common is in the result. Tensors of which only a
density is known are independent of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from fractions import Fraction
from functools import lru_cache
from math import lcm, prod

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.events import Digit, Event
from codesign.accelerator.model.expected_events import probability_of_none
from codesign.accelerator.model.joint_count import Part, in_all_samples, in_each_sample
from codesign.accelerator.model.packed_mask import SAMPLES, Words, indicator, placed
from codesign.accelerator.model.samples import sample_count
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

__all__ = ["Survival", "minimal"]

_Counts = npt.NDArray[np.int64]


def minimal(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events that imply all others: a tile is not empty if one inside it is not."""
    unique = list(dict.fromkeys(events))
    kept = [e for e in unique if not any(o is not e and o.within(e) for o in unique)]
    return tuple(sorted(kept, key=lambda event: (event.dataspace, event.merged)))


class Survival:
    """Shares of operations for which no tile is empty, in one problem with one nest.

    Raises:
        InputError: a mask does not have its tensor's extents, or masks have different numbers of samples.
    """

    def __init__(self, problem: Problem, digits: Sequence[Digit]) -> None:
        self.problem = problem
        self.digits = tuple(digits)
        self.actual: dict[int, ActualData] = {}
        for index, (dataspace, density) in enumerate(zip(problem.dataspaces, problem.densities, strict=True)):
            if isinstance(density, ActualData):
                density.check_fit(dataspace.name, _extents(problem, dataspace))
                self.actual[index] = density
        self.samples = sample_count(problem)
        self._sample: int | None = None
        self._known: dict[tuple[Event, ...], Fraction | float] = {}

    def none_empty(self, events: Iterable[Event]) -> Fraction | float:
        """Share of operations for which no event happens; exact (a Fraction) where only real masks are involved."""
        key = minimal(events)
        if key not in self._known:
            exact = [event for event in key if event.dataspace in self.actual]
            share: Fraction | float = Fraction(1)
            if exact:
                share = self._exact(self._setting(exact))
            for index in sorted({event.dataspace for event in key} - set(self.actual)):
                own = [event for event in key if event.dataspace == index]
                expected = probability_of_none(self.problem, index, self.digits, own)
                share = share if expected == 1.0 else share * expected  # exact as long as nothing is uncertain
            self._known[key] = share
        return self._known[key]

    def _exact(self, setting: _Setting) -> Fraction:
        if self._sample is None:
            total, steps = _counted(setting, False)
            return Fraction(int(total.sum()), steps * self.samples)
        counts, steps = _counted(setting, True)
        return Fraction(int(counts[self._sample if len(counts) > 1 else 0]), steps)

    def of_sample(self, number: int) -> Survival:
        """The shares of one sample alone. What was counted for one is known for all."""
        own = copy(self)
        own._sample, own._known = number, {}
        return own

    def per_sample(self, events: Iterable[Event]) -> npt.NDArray[np.float64]:
        """The same for each sample."""
        key = minimal(events)
        exact = [event for event in key if event.dataspace in self.actual]
        rest = float(self.none_empty(event for event in key if event.dataspace not in self.actual))
        if not exact:
            return np.full(self.samples, rest)
        total, steps = _counted(self._setting(exact), True)
        return np.broadcast_to(total / steps * rest, (self.samples,))

    def blocks(self, events: Iterable[Event]) -> tuple[Iterator[list[Part]], dict[int, int]]:
        """Where no event happens, for 64 samples at a time, and the number of positions of each digit.

        Only for tensors with actual data.
        """
        setting = self._setting(minimal(events))
        lengths = _lengths(setting)
        return _blocks(setting, lengths), lengths

    def _setting(self, events: Sequence[Event]) -> _Setting:
        """All that the count depends on, by value: masks are equal if their content is."""
        used = sorted({event.dataspace for event in events})
        tensors = []
        for index in used:
            dataspace = self.problem.dataspaces[index]
            tiles = tuple(event.merged for event in events if event.dataspace == index)
            tensors.append((self.actual[index], dataspace, _extents(self.problem, dataspace), tiles))
        return tuple(tensors), self.digits, self.samples


_Tiles = tuple[tuple[tuple[int, int], ...], ...]
_Setting = tuple[tuple[tuple[ActualData, Dataspace, tuple[int, ...], _Tiles], ...], tuple[Digit, ...], int]


def _extents(problem: Problem, dataspace: Dataspace) -> tuple[int, ...]:
    twice = [
        d for d in dataspace.dimensions if sum(any(t.dimension == d for t in rank) for rank in dataspace.ranks) > 1
    ]
    if any(problem.bounds[d] > 1 for d in twice):
        raise InputError(
            f"not modelled: actual data of {dataspace.name}, in which a dimension moves along two ranks",
            got=[problem.dimensions[d] for d in twice],
        )
    return tuple(
        1 + sum(abs(term.coefficient) * (problem.bounds[term.dimension] - 1) for term in rank)
        for rank in dataspace.ranks
    )


@lru_cache(maxsize=4096)
def _counted(setting: _Setting, per_sample: bool) -> tuple[_Counts, int]:
    """(operations without an event: one number a sample, or their sum; operations a sample).

    Operations that differ only in digits that no event depends on are counted once.
    """
    tensors, _, samples = setting
    lengths = _lengths(setting)
    varies = any(data.varies for data, *_ in tensors)
    totals = []
    for block, parts in enumerate(_blocks(setting, lengths)):
        count = min(SAMPLES, samples - block * SAMPLES) if varies else 1
        if per_sample and varies:
            totals.append(in_each_sample(parts, count))
        else:
            totals.append(np.array([in_all_samples(parts, count)]))
    total = np.concatenate(totals)
    if not varies:  # every sample has the same
        total = total if per_sample else total * samples
    return total, prod(lengths.values())


def _lengths(setting: _Setting) -> dict[int, int]:
    """Positions of every digit that some event depends on: all values, or runs of values that are always together."""
    tensors, digits, _ = setting
    lengths: dict[int, int] = {}
    for _, dataspace, _, tiles in tensors:
        for index, digit in enumerate(digits):
            for tile in tiles:
                runs = digit.bound // dict(tile).get(index, 1)
                if digit.dimension in dataspace.dimensions and runs > 1:
                    lengths[index] = lcm(lengths.get(index, 1), runs)
    for index, length in lengths.items():
        lengths[index] = length if digits[index].bound % length == 0 else digits[index].bound
    return lengths


def _blocks(setting: _Setting, lengths: Mapping[int, int]) -> Iterator[list[Part]]:
    """Where the tiles of each tensor have a one, for 64 samples at a time; once if nothing varies with the sample."""
    tensors, digits, samples = setting
    blocks = -(-samples // SAMPLES) if any(data.varies for data, *_ in tensors) else 1
    for block in range(blocks):
        yield [_tensor(tensor, digits, lengths, block) for tensor in tensors]


def _tensor(
    tensor: tuple[ActualData, Dataspace, tuple[int, ...], _Tiles],
    digits: tuple[Digit, ...],
    lengths: Mapping[int, int],
    block: int,
) -> Part:
    """Where all tiles of one tensor have a one."""
    data, dataspace, extents, tiles = tensor
    words = placed(data, extents)
    words = words[block : block + 1] if data.varies else words
    grids = [(indicator(words, dataspace, digits, dict(tile)), dict(tile)) for tile in tiles]
    if len(grids) == 1:
        (grid, labels), merged = grids[0]
        return _resolved(grid[0], labels, labels, digits, merged, lengths), labels, data.varies
    labels = tuple(dict.fromkeys(label for (_, own), _ in grids for label in own))
    joined: Words | None = None
    for (grid, own), merged in grids:
        part = _resolved(grid[0], own, labels, digits, merged, lengths)
        joined = part if joined is None else joined & part
    assert joined is not None
    return joined, labels, data.varies


def _resolved(
    grid: Words,
    own: tuple[int, ...],
    labels: tuple[int, ...],
    digits: tuple[Digit, ...],
    merged: Mapping[int, int],
    lengths: Mapping[int, int],
) -> Words:
    """With one axis for each of ``labels``, in the common resolution of each digit (1 where it has no axis)."""
    for axis, label in enumerate(own):
        times = lengths[label] // (digits[label].bound // merged.get(label, 1))
        grid = np.repeat(grid, times, axis) if times > 1 else grid
    order = [own.index(label) for label in labels if label in own]
    grid = grid.transpose(order)
    return grid.reshape([lengths[label] if label in own else 1 for label in labels])
