"""How the space of a task is searched: as a whole where it is small, else by annealed islands from the heuristic on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

import numpy as np

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.cost import Objective
from codesign.accelerator.mapper.exhaustive import every_mapping
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.heuristic import Effort
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.moves import Choices
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.seeds import heuristic_candidates
from codesign.errors import InputError

__all__ = ["DEFAULT_BUDGET", "Budget", "Progress", "Run", "Tried", "anneal", "exhaust"]

_ISLANDS = 8
_SLICE = 4_000
_FIRST_SLICE = 250
"""Mappings that an island tries between two looks at the clock: at most, and where the time is limited at first."""
_ROUND_S = 0.02
_SEED_SHARE = 0.4
"""Of a time limit, for the heuristic."""
_KEPT = 8

Progress = Callable[[int, int, str], None]
"""(done, total, detail); evaluations, or tenths of a second where only the time is limited."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When a search ends: after so many mappings, so many seconds, or whichever comes first.

    ``of_processor``: the seconds are processor time of the whole process, for measurements on a busy machine.
    """

    evaluations: int | None = 200_000
    seconds: float | None = None
    of_processor: bool = False

    def __post_init__(self) -> None:
        for value, flag in ((self.evaluations, "--budget"), (self.seconds, "--seconds")):
            if value is not None and not 0 < value < inf:
                raise InputError("a budget must be positive", got=value, key=flag, fix="e.g. --budget 200000")
        if self.evaluations is None and self.seconds is None:
            raise InputError("a budget of evaluations or seconds is needed", key="--budget")


DEFAULT_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Run:
    """How a search runs: what does not change its answer, but for the seed, the effort and the time.

    ``reserve_s``: what is left of the time for the work after the islands.
    """

    clock: Clock
    seed: int
    workers: int
    progress: Progress | None
    effort: Effort
    reserve_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Tried:
    """Pools of the best mappings, best first, and what it took to find them."""

    pools: list[Batch]
    evaluated: int
    valid: int
    stopped: str


def anneal(evaluator: BatchEvaluator, choices: Choices, base: Batch, goal: Goal, budget: Budget, run: Run) -> Tried:
    """The heuristic, then the islands."""
    islands: list[Island] = []
    stopped, counted = "interrupted", 0
    try:
        seeds, counted = _seeds(evaluator, base, goal, run)
        weights = goal.weights()
        islands = [
            Island(evaluator, choices, weights[stream % len(weights)], seeds, seed=run.seed, stream=stream)
            for stream in range(_ISLANDS)
        ]
        stopped = _advance(islands, budget, counted, run)
    except KeyboardInterrupt:
        pass  # the best so far is the answer, and ``stopped`` says so
    evaluated = counted + sum(island.evaluated for island in islands)
    return Tried([one.best() for one in islands], evaluated, sum(island.valid for island in islands), stopped)


def exhaust(evaluator: BatchEvaluator, choices: Choices, goal: Goal, run: Run) -> Tried:
    """All mappings, as far as the time reaches; the best of each of the goal's directions."""
    weights = goal.weights()
    pools: list[list[tuple[float, Batch]]] = [[] for _ in weights]
    evaluated = valid = 0
    stopped = "exhausted"
    try:
        for batch in every_mapping(evaluator.space, choices):
            if run.clock.out(run.reserve_s):
                stopped = "interrupted" if run.clock.interrupted else "seconds"
                break
            result = evaluator(batch)
            evaluated += len(batch)
            legal = np.flatnonzero(result.legal)
            valid += len(legal)
            if not len(legal):
                continue
            energies, cycles = np.log(np.maximum(result.energy_pJ[legal], 1e-300)), np.log(result.cycles[legal])
            for pool, (energy_weight, cycles_weight) in zip(pools, weights, strict=True):
                values = energy_weight * energies + cycles_weight * cycles
                for row in np.argsort(values, kind="stable")[:_KEPT]:
                    pool.append((float(values[row]), batch.take(slice(int(legal[row]), int(legal[row]) + 1))))
                pool.sort(key=lambda item: item[0])
                del pool[_KEPT:]
    except KeyboardInterrupt:
        stopped = "interrupted"
    return Tried([Batch.join([one for _, one in pool]) for pool in pools if pool], evaluated, valid, stopped)


def _seeds(evaluator: BatchEvaluator, base: Batch, goal: Goal, run: Run) -> tuple[Batch, int]:
    """The heuristic's best mappings for every objective of the goal, and how many it looked at."""
    wanted: list[Objective] = ["energy", "latency", "edp"] if goal.pareto else [goal.single]
    found, counted = [base], 1
    for objective in wanted:
        batches, looked_at = heuristic_candidates(evaluator, base, objective, run.effort, run.clock.share(_SEED_SHARE))
        found += batches
        counted += looked_at
    return Batch.join(found), counted


def _advance(islands: Sequence[Island], budget: Budget, counted: int, run: Run) -> str:
    """Advance all islands in slices until the budget is spent. Slices are short, so that the time limit holds."""
    total = None if budget.evaluations is None else max(0, budget.evaluations - counted)
    share = None if total is None else -(-total // len(islands))
    until, size = 0, _SLICE if run.clock.seconds is None else _FIRST_SLICE
    with ThreadPoolExecutor(max(1, run.workers)) as pool:
        while share is None or until < share:
            before = run.clock.spent_s
            until = until + size if share is None else min(until + size, share)
            futures = [pool.submit(island.advance, until, run.clock) for island in islands]
            for future in futures:
                future.result()
            if run.clock.interrupted:
                return "interrupted"
            if run.progress is not None:
                run.progress(*_progress(until, share, len(islands), run.clock))
            if run.clock.out(run.reserve_s):
                return "seconds"
            if run.clock.seconds is not None:
                size = int(min(max(size * _ROUND_S / max(run.clock.spent_s - before, 1e-6), _FIRST_SLICE), _SLICE))
    return "budget"


def _progress(until: int, share: int | None, islands: int, clock: Clock) -> tuple[int, int, str]:
    if share is not None:
        return until * islands, share * islands, "mappings"
    limit = clock.seconds or 0.0
    return min(int(clock.spent_s * 10), int(limit * 10)), int(limit * 10), "tenths of a second"
