"""The search proper: independent islands, each a chain of annealed random changes with a pool of the best it has seen.

An island's run depends on its seed and on what its pool started with, on nothing else: neither on how many threads
there are nor on how the work is cut into slices.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.compiled import compiled
from codesign.accelerator.mapper.kernel import Scratch, objective, score, scratch_of
from codesign.accelerator.mapper.moves import (
    Choices,
    RandomState,
    below,
    draw_mapping,
    mutate,
    random_state,
    unit,
)
from codesign.accelerator.mapper.nest import Batch, BoolArray, FloatArray, IntArray
from codesign.accelerator.mapper.tables import Tables

__all__ = ["Island"]

_POOL = 24
_CYCLE = 12_000
_HOT, _COLD = 0.25, 0.002
"""Temperatures of the first and the last step of a cycle, in units of the objective's logarithm."""
_DRAWS = 512
"""Random mappings that are tried at most for the start of a cycle."""
_FRESH = 0.25
"""Share of the cycles that start from a random mapping instead of one of the pool."""


class _State(NamedTuple):
    random: RandomState
    factors: IntArray
    order: IntArray
    keep: BoolArray
    """(2, ...) the current mapping and the one that is tried."""
    pool_factors: IntArray
    pool_order: IntArray
    pool_keep: BoolArray
    pool_value: FloatArray
    """(P, ...) the best different ones, infinite where empty."""
    value: FloatArray
    """(1,) of the current mapping."""
    tally: IntArray
    """(3,) evaluated, legal among them, steps of the cycle."""


@compiled
def _remember(p: _State, which: int, value: float) -> None:
    """Put a mapping into the pool if it is better than the worst one there and its value is new."""
    worst = 0
    for index in range(p.pool_value.shape[0]):
        if abs(p.pool_value[index] - value) < 1e-12:
            return
        if p.pool_value[index] > p.pool_value[worst]:
            worst = index
    if value < p.pool_value[worst]:
        p.pool_value[worst] = value
        p.pool_factors[worst] = p.factors[which]
        p.pool_order[worst] = p.order[which]
        p.pool_keep[worst] = p.keep[which]


@compiled
def _try(t: Tables, p: _State, s: Scratch, which: int, energy_weight: float, cycles_weight: float) -> float:
    energy_pJ, cycles = score(t, p.factors[which], p.order[which], p.keep[which], s)
    value = objective(energy_pJ, cycles, energy_weight, cycles_weight)
    p.tally[0] += 1
    if np.isfinite(value):
        p.tally[1] += 1
        _remember(p, which, value)
    return value


@compiled
def _start_cycle(t: Tables, c: Choices, p: _State, s: Scratch, energy_weight: float, cycles_weight: float) -> None:
    """A random legal mapping, or one of the pool."""
    if unit(p.random) < _FRESH or not np.isfinite(p.pool_value.min()):
        for _ in range(_DRAWS):
            if draw_mapping(t, c, p.factors[0], p.order[0], p.keep[0], p.random):
                p.value[0] = _try(t, p, s, 0, energy_weight, cycles_weight)
                if np.isfinite(p.value[0]):
                    return
            else:
                p.tally[0] += 1
    best = int(np.argmin(p.pool_value))
    pick = below(p.random, p.pool_value.shape[0])
    if unit(p.random) < 0.5 or not np.isfinite(p.pool_value[pick]):
        pick = best
    p.value[0] = p.pool_value[pick]
    p.factors[0] = p.pool_factors[pick]
    p.order[0] = p.pool_order[pick]
    p.keep[0] = p.pool_keep[pick]


@compiled
def _advance(t: Tables, c: Choices, p: _State, until: int, energy_weight: float, cycles_weight: float) -> None:
    """Evaluate until ``until`` mappings have been evaluated by this island (a start may take a few more)."""
    s = scratch_of(t)
    while p.tally[0] < until:
        if p.tally[2] % _CYCLE == 0:
            _start_cycle(t, c, p, s, energy_weight, cycles_weight)
        temperature = _HOT * (_COLD / _HOT) ** ((p.tally[2] % _CYCLE) / _CYCLE)
        p.tally[2] += 1
        p.factors[1] = p.factors[0]
        p.order[1] = p.order[0]
        p.keep[1] = p.keep[0]
        if not mutate(t, c, p.factors[1], p.order[1], p.keep[1], p.random):
            p.tally[0] += 1
            continue
        value = _try(t, p, s, 1, energy_weight, cycles_weight)
        worse = value - p.value[0]
        if worse <= 0 or (np.isfinite(value) and unit(p.random) < exp(-worse / temperature)):
            p.value[0] = value
            p.factors[0] = p.factors[1]
            p.order[0] = p.order[1]
            p.keep[0] = p.keep[1]


class Island:
    """One chain of the search.

    Args:
        weights: exponents of energy and cycles in the product that it minimises.
        seeds: legal mappings that its pool starts with.
        seed, stream: its random numbers.
    """

    def __init__(
        self,
        evaluator: BatchEvaluator,
        choices: Choices,
        weights: tuple[float, float],
        seeds: Batch,
        *,
        seed: int,
        stream: int,
    ) -> None:
        self._tables, self._choices, self._weights = evaluator.tables, choices, weights
        _, slots, dimensions = seeds.factors.shape
        shapes = (slots, dimensions), seeds.order.shape[1:], seeds.keep.shape[1:]

        def space(rows: int) -> tuple[IntArray, IntArray, BoolArray]:
            return (
                np.ones((rows, *shapes[0]), np.int64),
                np.zeros((rows, *shapes[1]), np.int64),
                np.zeros((rows, *shapes[2]), np.bool_),
            )

        self._state = _State(
            random_state(seed, stream), *space(2), *space(_POOL), np.full(_POOL, np.inf), np.full(1, np.inf),
            np.zeros(3, np.int64),
        )  # fmt: skip
        result = evaluator(seeds)
        for row in np.flatnonzero(result.legal):
            state = self._state
            state.factors[0], state.order[0], state.keep[0] = seeds.factors[row], seeds.order[row], seeds.keep[row]
            _remember(state, 0, objective(result.energy_pJ[row], result.cycles[row], *weights))

    def advance(self, until: int) -> None:
        """Search until this island has evaluated ``until`` mappings."""
        _advance(self._tables, self._choices, self._state, until, *self._weights)

    @property
    def evaluated(self) -> int:
        """Mappings tried so far."""
        return int(self._state.tally[0])

    @property
    def valid(self) -> int:
        """Those of them that are legal."""
        return int(self._state.tally[1])

    def best(self) -> Batch:
        """The pool, best first."""
        state = self._state
        order = np.argsort(state.pool_value, kind="stable")
        order = order[np.isfinite(state.pool_value[order])]
        return Batch(state.pool_factors[order], state.pool_order[order], state.pool_keep[order])
