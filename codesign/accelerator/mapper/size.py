"""How many mappings there are: the factorisations that limits allow, loop orders, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, log10, prod

import numpy as np

from codesign.accelerator.mapper.feasible import divisors
from codesign.accelerator.mapper.moves import Choices
from codesign.accelerator.mapper.nest import IntArray
from codesign.accelerator.mapper.space import MapSpace

__all__ = ["SpaceSize", "choices_of", "size_of"]

_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class SpaceSize:
    """Perfect factors only; capacities and fan-outs of several dimensions together are not taken off.

    ``factorizations`` of all dimensions together, ``orders`` of the loops that are free, ``keeps``.
    """

    factorizations: int
    orders: int
    keeps: int

    @property
    def total(self) -> int:
        """All mappings."""
        return self.factorizations * self.orders * self.keeps

    def __str__(self) -> str:
        return f"10^{log10(self.total):.1f} mappings" if self.total > 10**6 else f"{self.total} mappings"


def size_of(space: MapSpace, choices: Choices) -> SpaceSize:
    """The size of a space; ``choices`` from ``choices_of``."""
    orders = 1
    for slot in space.nest.temporal:
        own = space.constraints.levels[space.nest.slots[slot].level].temporal
        fixed = {*own.inner, *own.outer}
        orders *= factorial(sum(dimension not in fixed for dimension in space.nest.dimensions))
    free = sum(keep is None for row in space.keep for keep in row)
    return SpaceSize(prod(int(count) for count in np.diff(choices.start)), orders, 2**free)


def choices_of(space: MapSpace) -> Choices:
    """All factorisations of every dimension by itself within its limits; of very many, evenly spaced ones."""
    tables = [_factorizations(space, index) for index in range(len(space.nest.dimensions))]
    start = np.cumsum([0, *(len(rows) for rows in tables)])
    return Choices(np.concatenate(tables), start)


def _factorizations(space: MapSpace, index: int) -> IntArray:
    dimension, slots = space.nest.dimensions[index], len(space.nest.slots)
    bound = int(space.bounds[index])
    partial: dict[int, list[tuple[int, ...]]] = {1: [()]}
    for block in (block for block in space.blocks if block.slots):
        grown: dict[int, list[tuple[int, ...]]] = {}
        for inside, rows in partial.items():
            for factor in divisors(bound // inside):
                if not block.lower[dimension] <= factor <= block.upper[dimension]:
                    continue
                for slot in block.slots if factor > 1 else block.slots[:1]:
                    if block.spatial and factor > space.fanout[slot]:
                        continue
                    own = tuple(factor if other == slot else 1 for other in block.slots)
                    grown.setdefault(inside * factor, []).extend((*row, *own) for row in rows)
        partial = {inside: _thinned(rows) for inside, rows in grown.items()}
    return np.array(partial[bound], np.int64).reshape(-1, slots)


def _thinned(rows: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return rows if len(rows) <= _MOST_ROWS else rows[:: -(-len(rows) // _MOST_ROWS)]
