"""Every mapping of a small space, so that the best one is known to be the best."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np

from codesign.accelerator.mapper.moves import Choices
from codesign.accelerator.mapper.nest import Batch, BoolArray, IntArray
from codesign.accelerator.mapper.space import MapSpace

__all__ = ["MOST_EXHAUSTIVE", "every_mapping"]

MOST_EXHAUSTIVE = 100_000
"""Mappings of the largest space that is looked at as a whole: well under a second."""


def every_mapping(space: MapSpace, choices: Choices) -> Iterator[Batch]:
    """All mappings with perfect factors, one batch a choice of factors; every tensor is kept somewhere."""
    orders, keeps = _orders(space), _keeps(space)
    order = np.repeat(orders, len(keeps), axis=0)
    keep = np.tile(keeps, (len(orders), 1, 1))
    ranges = [range(int(a), int(b)) for a, b in zip(choices.start[:-1], choices.start[1:], strict=True)]
    for rows in product(*ranges):
        factors = np.ascontiguousarray(choices.rows[list(rows)].T)
        yield Batch(np.repeat(factors[None], len(order), axis=0), order, keep)


def _orders(space: MapSpace) -> IntArray:
    """(orders, temporal slots, dimensions)"""
    position = {dimension: index for index, dimension in enumerate(space.nest.dimensions)}
    ways = []
    for slot in space.nest.temporal:
        own = space.constraints.levels[space.nest.slots[slot].level].temporal
        inner, outer = ([position[d] for d in fixed if d in position] for fixed in (own.inner, own.outer))
        free = [index for index in range(len(position)) if index not in {*inner, *outer}]
        ways.append([[*inner, *middle, *outer] for middle in permutations(free)])
    return np.array(list(product(*ways)), np.int64)


def _keeps(space: MapSpace) -> BoolArray:
    """(choices, levels, dataspaces)"""
    options = [(False, True) if keep is None else (keep,) for row in space.keep for keep in row]
    every = np.array(list(product(*options)), bool).reshape(-1, len(space.keep), len(space.keep[0]))
    somewhere = np.asarray(every.any(axis=1))
    return np.asarray(every[somewhere.all(axis=1)])
