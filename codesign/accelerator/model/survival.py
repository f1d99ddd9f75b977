"""How often nothing that an operation depends on is empty: exactly from real masks, else from densities.

All savings come down to this one number: the share of operations (or of deliveries, each of which stands for equally
many operations) for which none of several tiles is empty. Tensors with real masks are looked at together, sample by
sample and position by position, so that what their zeros have in common is in the result. Tensors of which only a
density is known are independent of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from math import lcm, prod
from string import ascii_letters

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.events import Digit, Event
from codesign.accelerator.model.expected_events import probability_of_none
from codesign.accelerator.model.packed_mask import SAMPLES, Words, indicator, placed, unpacked
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

__all__ = ["Survival", "minimal"]

_Counts = npt.NDArray[np.int64]
_Part = tuple[Words, tuple[int, ...], bool]
"""Packed words of one block, a digit for each of their axes, and whether they vary with the sample."""


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
        found = {problem.dataspaces[i].name: data.samples for i, data in self.actual.items() if data.varies}
        if len(set(found.values())) > 1:
            raise InputError("masks must have the same samples", got=found, key="problem.instance.densities")
        self.samples = max(found.values(), default=1)
        self._known: dict[tuple[Event, ...], Fraction | float] = {}

    def none_empty(self, events: Iterable[Event]) -> Fraction | float:
        """Share of operations for which no event happens; exact (a Fraction) where only real masks are involved."""
        key = minimal(events)
        if key not in self._known:
            exact = [event for event in key if event.dataspace in self.actual]
            share: Fraction | float = Fraction(1)
            if exact:
                total, steps = _counted(self._setting(exact), False)
                share = Fraction(int(total.sum()), steps * self.samples)
            for index in sorted({event.dataspace for event in key} - set(self.actual)):
                own = [event for event in key if event.dataspace == index]
                expected = probability_of_none(self.problem, index, self.digits, own)
                share = share if expected == 1.0 else share * expected  # exact as long as nothing is uncertain
            self._known[key] = share
        return self._known[key]

    def per_sample(self, events: Iterable[Event]) -> npt.NDArray[np.float64]:
        """The same for each sample."""
        key = minimal(events)
        exact = [event for event in key if event.dataspace in self.actual]
        rest = float(self.none_empty(event for event in key if event.dataspace not in self.actual))
        if not exact:
            return np.full(self.samples, rest)
        total, steps = _counted(self._setting(exact), True)
        return np.broadcast_to(total / steps * rest, (self.samples,))

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
    tensors, digits, samples = setting
    lengths: dict[int, int] = {}
    for _, dataspace, _, tiles in tensors:
        for index, digit in enumerate(digits):
            for tile in tiles:
                parts = digit.bound // dict(tile).get(index, 1)
                if digit.dimension in dataspace.dimensions and parts > 1:
                    lengths[index] = lcm(lengths.get(index, 1), parts)
    for index, length in lengths.items():
        lengths[index] = length if digits[index].bound % length == 0 else digits[index].bound
    varies = any(data.varies for data, *_ in tensors)
    blocks = -(-samples // SAMPLES) if varies else 1
    totals = []
    for block in range(blocks):
        parts_of_block = [_tensor(tensor, digits, lengths, block) for tensor in tensors]
        count = min(SAMPLES, samples - block * SAMPLES) if varies else 1
        if (per_sample and varies) or sum(part[2] for part in parts_of_block) > 1:
            totals.append(_each_sample(parts_of_block, count))
        else:
            totals.append(np.array([_all_samples(parts_of_block)]))
    total = np.concatenate(totals)
    if not varies:  # every sample has the same
        total = total if per_sample else total * samples
    return total, prod(lengths.values())


def _tensor(
    tensor: tuple[ActualData, Dataspace, tuple[int, ...], _Tiles],
    digits: tuple[Digit, ...],
    lengths: Mapping[int, int],
    block: int,
) -> _Part:
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


def _all_samples(parts: Sequence[_Part]) -> int:
    """Sum over the samples of a block; at most one tensor varies with them."""
    shared = _shared(parts)
    factors: list[tuple[npt.NDArray[np.float64], tuple[int, ...]]] = []
    for words, labels, varies in parts:
        ones = np.bitwise_count(words) if varies else (words != 0).astype(np.uint8)
        factors.append(_summed(ones, labels, shared))
    return int(_product(factors, None))


def _each_sample(parts: Sequence[_Part], count: int) -> _Counts:
    """One number a sample."""
    shared = _shared(parts)
    factors = []
    for words, labels, varies in parts:
        if varies:
            values, left = _summed(unpacked(words, count), (*labels, -1), {*shared, -1})
        else:
            values, left = _summed(words != 0, labels, shared)
        factors.append((values, left))
    total = _product(factors, -1)
    return np.rint(total).astype(np.int64)


def _shared(parts: Sequence[_Part]) -> set[int]:
    labels = [label for _, own, _ in parts for label in own]
    return {label for label in labels if labels.count(label) > 1}


def _summed(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.bool_], labels: tuple[int, ...], keep: set[int]
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    axes = tuple(axis for axis, label in enumerate(labels) if label not in keep)
    left = tuple(label for label in labels if label in keep)
    total = np.asarray(np.sum(values, axis=axes, dtype=np.int64))
    return total.astype(np.float64), left


def _product(
    factors: Sequence[tuple[npt.NDArray[np.float64], tuple[int, ...]]], kept: int | None
) -> npt.NDArray[np.float64]:
    """Sum of products over all labels but ``kept``; exact, since every count is far below 2**53."""
    names = dict(zip(sorted({label for _, labels in factors for label in labels}), ascii_letters, strict=False))
    inputs = ",".join("".join(names[label] for label in labels) for _, labels in factors)
    output = names.get(kept, "") if kept is not None else ""
    total: npt.NDArray[np.float64] = np.einsum(
        f"{inputs}->{output}", *(values for values, _ in factors), optimize=len(factors) > 1
    )
    return total
