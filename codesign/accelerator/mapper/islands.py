"""The search proper: independent islands, each a chain of annealed random changes with a pool of the best it has seen.

An island's run depends on its seed and on what its pool started with, on nothing else: neither on how many threads
there are nor on how the work is cut into slices.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.compiled import compiled, inner
from codesign.accelerator.mapper.kernel import UNKNOWN, objective, score
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.moves import (
    Choices,
    RandomState,
    below,
    copy_mapping,
    draw_mapping,
    mutate,
    random_state,
    unit,
)
from codesign.accelerator.mapper.nest import Batch, BoolArray, FloatArray, IntArray

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
    """(2,) of the current mapping; of the worst one in the pool."""
    tally: IntArray
    """(6,) tried, legal among them, steps of all cycles, random starts left to try (-1: a cycle is under way), whether
    the tried mapping waits for its score, and whether it is a random start."""


@inner
def _copy(state: _State, source: int, target: int) -> None:
    """The current mapping (0) over the one that is tried (1), or the other way round."""
    copy_mapping(
        state.factors[source], state.order[source], state.keep[source],
        state.factors[target], state.order[target], state.keep[target],
    )  # fmt: skip


@inner
def _extreme(values: FloatArray, sign: float) -> int:
    """Index of the first largest value, or with sign -1 of the first smallest one."""
    found = 0
    for index in range(1, values.shape[0]):
        if sign * values[index] > sign * values[found]:
            found = index
    return found


@inner
def _remember(state: _State, which: int, value: float) -> None:
    """Put a mapping into the pool if it is better than the worst one there and its value is new."""
    if value >= state.value[1]:
        return
    worst = 0
    for index in range(state.pool_value.shape[0]):
        if abs(state.pool_value[index] - value) < 1e-12:
            return
        if state.pool_value[index] > state.pool_value[worst]:
            worst = index
    if value < state.pool_value[worst]:
        state.pool_value[worst] = value
        copy_mapping(
            state.factors[which], state.order[which], state.keep[which],
            state.pool_factors[worst], state.pool_order[worst], state.pool_keep[worst],
        )  # fmt: skip
        state.value[1] = state.pool_value[_extreme(state.pool_value, 1.0)]


@inner
def _try(
    t: IntArray, p: FloatArray, w: IntArray, x: FloatArray, state: _State, energy: float, cycles: float, z: Zeros | None
) -> float:
    """Score the tried mapping (NaN: unknown as yet); ``energy`` and ``cycles`` are the objective's exponents."""
    found = score(t, p, w, x, state.factors[1], state.order[1], state.keep[1], z)
    if z is not None and found[0] == UNKNOWN:
        return np.nan
    value = objective(found[0], found[1], energy, cycles)
    state.tally[0] += 1
    if np.isfinite(value):
        state.tally[1] += 1
        _remember(state, 1, value)
    return value


@inner
def _take(state: _State, index: int) -> None:
    """A mapping of the pool becomes the current one."""
    state.value[0] = state.pool_value[index]
    copy_mapping(
        state.pool_factors[index], state.pool_order[index], state.pool_keep[index],
        state.factors[0], state.order[0], state.keep[0],
    )  # fmt: skip


@inner
def _chosen(state: _State) -> int:
    """The best mapping of the pool, or any other with the same probability."""
    pick = below(state.random, state.pool_value.shape[0])
    if unit(state.random) < 0.5 or not np.isfinite(state.pool_value[pick]):
        pick = _extreme(state.pool_value, -1.0)
    return pick


@inner
def _accept(state: _State, value: float, temperature: float) -> None:
    """The tried mapping becomes the current one: always if it is no worse, else the less likely the worse it is."""
    worse = value - state.value[0]
    if worse <= 0 or (np.isfinite(value) and unit(state.random) < exp(-worse / temperature)):
        state.value[0] = value
        _copy(state, 1, 0)


@inner
def _propose(t: IntArray, rows: IntArray, start: IntArray, state: _State) -> bool:
    """The next mapping to try: a random one at the start of some cycles, else a change of the current one."""
    if state.tally[2] % _CYCLE == 0 and state.tally[3] == 0:
        fresh = unit(state.random) < _FRESH or not np.isfinite(state.pool_value[_extreme(state.pool_value, -1.0)])
        state.tally[3] = _DRAWS if fresh else -1
        state.value[0] = np.inf
    if state.tally[3] > 0:  # still looking for a random start
        state.tally[3] -= 1
        state.tally[5] = 1
        return draw_mapping(t, rows, start, state.factors[1], state.order[1], state.keep[1], state.random)
    if not np.isfinite(state.value[0]):
        _take(state, _chosen(state))
    state.tally[5] = 0
    _copy(state, 0, 1)
    return mutate(t, rows, start, state.factors[1], state.order[1], state.keep[1], state.random)


@compiled
def _advance(
    t: IntArray,
    p: FloatArray,
    rows: IntArray,
    start: IntArray,
    state: _State,
    until: int,
    energy: float,
    cycles: float,
    z: Zeros | None,
) -> bool:
    """Search until ``until`` mappings have been tried. A cycle starts from the pool or from a random legal mapping.

    False: the tried mapping waits for what the memo lacks, and the search goes on with it next time.
    """
    w, x = np.zeros(t[at.WORK_INTEGERS], np.int64), np.zeros(t[at.WORK_NUMBERS])
    while state.tally[0] < until:
        good = True
        if state.tally[4]:
            state.tally[4] = 0
        else:
            good = _propose(t, rows, start, state)
        value = np.inf
        if good:
            value = _try(t, p, w, x, state, energy, cycles, z)
            if z is not None and np.isnan(value):
                state.tally[4] = 1
                return False
        else:
            state.tally[0] += 1
        if state.tally[5]:
            if np.isfinite(value):
                state.tally[3] = -1
                _accept(state, value, 1.0)
            continue
        step = state.tally[2] % _CYCLE
        state.tally[2] += 1
        if step == _CYCLE - 1:
            state.tally[3] = 0
        _accept(state, value, _HOT * (_COLD / _HOT) ** (step / _CYCLE))
    return True


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
        self._memo, self._zeros = evaluator.memo, evaluator.zeros()
        _, slots, dimensions = seeds.factors.shape
        shapes = (slots, dimensions), seeds.order.shape[1:], seeds.keep.shape[1:]

        def space(rows: int) -> tuple[IntArray, IntArray, BoolArray]:
            return (
                np.ones((rows, *shapes[0]), np.int64),
                np.zeros((rows, *shapes[1]), np.int64),
                np.zeros((rows, *shapes[2]), np.bool_),
            )

        self._state = _State(
            random_state(seed, stream), *space(2), *space(_POOL), np.full(_POOL, np.inf), np.full(2, np.inf),
            np.zeros(6, np.int64),
        )  # fmt: skip
        result = evaluator(seeds)
        for row in np.flatnonzero(result.legal):
            state = self._state
            state.factors[0], state.order[0], state.keep[0] = seeds.factors[row], seeds.order[row], seeds.keep[row]
            _remember(state, 0, objective(result.energy_pJ[row], result.cycles[row], *weights))

    def advance(self, until: int, clock: Clock | None = None) -> None:
        """Search until this island has evaluated ``until`` mappings, or until the clock runs out while it learns."""
        tables, choices = self._tables, self._choices
        fixed = tables.integers, tables.numbers, choices.rows, choices.start, self._state, until, *self._weights
        while not _advance(*fixed, self._zeros):
            assert self._memo is not None
            assert self._zeros is not None
            self._zeros = self._memo.learn(self._zeros)
            if clock is not None and clock.out():
                break

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
