"""Searching the mapping of one task: heuristic first, then annealed islands, and the exact engine has the last word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.bounds import LowerBound, lower_bound
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.exhaustive import MOST_EXHAUSTIVE
from codesign.accelerator.mapper.goal import EDP, Goal
from codesign.accelerator.mapper.heuristic import DEFAULT_EFFORT, Effort
from codesign.accelerator.mapper.imperfect import imperfect_candidates
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.moves import Choices
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.ranking import Candidate, Ranking
from codesign.accelerator.mapper.size import SpaceSize, choices_of, size_of
from codesign.accelerator.mapper.strategies import DEFAULT_BUDGET, Budget, Progress, Run, Tried, anneal, exhaust
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.mapping import Mapping

__all__ = ["DEFAULT_BUDGET", "Budget", "Candidate", "Found", "search_mapping"]

_RANKED_EXACT, _RANKED_INEXACT = 4, 8
"""Mappings of an island that the engine ranks, where the batch evaluator's numbers are the engine's and where not."""
_RANKED_AT_LEAST = 4
"""Those for which a limited time leaves room."""
_IMPERFECT_SHARE = 0.2
"""Of a limited time, spent at most until imperfect factors have been looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Args:
        front: the best mapping; of a trade-off, all that no other beats in both objectives, best first objective first.
        evaluated, valid: mappings tried, and those of them that are legal.
        seconds: wall time without ``preparation_s``, in which the search was compiled (the first one after an
            installation) or its machine code loaded.
        stopped: "budget", "seconds", "interrupted"; "exhausted" where every mapping with perfect factors was looked at;
            "stored" where nothing was searched.
    """

    front: tuple[Candidate, ...]
    goal: Goal
    evaluated: int
    valid: int
    seconds: float
    stopped: str
    bound: LowerBound
    size: SpaceSize
    preparation_s: float = 0.0

    @property
    def best(self) -> Candidate:
        """The best mapping (of a trade-off: in the first objective)."""
        return self.front[0]

    def to_json(self, task: Task) -> dict[str, Any]:
        """The contract of ``codesign map``, and more."""
        values = self.goal.key(self.best.result)
        found: dict[str, Any] = {
            "best": self.best.result.to_json(),
            "mapping": _directives(task, self.best.mapping),
            "evaluated": self.evaluated,
            "valid": self.valid,
            "seconds": self.seconds,
            "preparation_seconds": self.preparation_s,
            "objective": values[0],
            "objectives": dict(zip(self.goal.objectives, values, strict=True)),
            "stopped": self.stopped,
            "lower_bound": {"energy_pJ": self.bound.energy_pJ, "cycles": self.bound.cycles, "edp": self.bound.edp},
            "space": {
                "factorizations": self.size.factorizations,
                "orders": self.size.orders,
                "keeps": self.size.keeps,
                "total": self.size.total,
            },
        }
        if self.goal.pareto:
            found["pareto"] = [
                {"best": one.result.to_json(), "mapping": _directives(task, one.mapping)} for one in self.front
            ]
        return found


def _directives(task: Task, mapping: Mapping) -> list[Any]:
    from ruamel.yaml import YAML

    from codesign.accelerator.spec.writer import mapping_to_yaml

    text = mapping_to_yaml(mapping, task.architecture, task.problem)
    directives: list[Any] = YAML(typ="safe").load(text)["mapping"]
    return directives


def search_mapping(
    task: Task,
    goal: Goal = EDP,
    budget: Budget = DEFAULT_BUDGET,
    *,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    stop: Event | None = None,
    effort: Effort = DEFAULT_EFFORT,
) -> Found | Infeasible:
    """The best mapping that the budget finds, or why there is none.

    With a budget of evaluations the answer depends on the seed alone, not on ``workers`` or the machine's speed. A
    limit in seconds holds for everything but compilation. Ctrl-C ends the search with the best so far.

    Raises:
        InputError: the energy table lacks an entry, or something that the engine does not model.
    """
    now = time.process_time if budget.of_processor else time.monotonic
    begin = now()
    evaluator = BatchEvaluator(task)
    base = evaluator.smallest()
    if isinstance(base, Infeasible):
        return base
    choices = choices_of(evaluator.space)
    size, bound = size_of(evaluator.space, choices), lower_bound(task)
    before = now()
    # Everything is compiled, or loaded from where machine code is kept: not part of the search.
    Island(evaluator, choices, (1.0, 1.0), base, seed=0, stream=0).advance(0)
    preparation_s = now() - before
    clock = Clock(begin + preparation_s, budget.seconds, stop, now)
    ranking, before = Ranking(task, goal, clock), now()
    ranking.add([evaluator.space.mapping(base, 0)])
    # The engine's time for one mapping says what the ranking of those that are found will take.
    run = Run(clock, seed, workers, progress, effort, reserve_s=_RANKED_AT_LEAST * (now() - before))
    tried = _tried(task, evaluator, choices, base, budget, size, run, ranking)
    ranking.add(_mappings(evaluator, goal, tried.pools), at_least=_RANKED_AT_LEAST)
    ranked = ranking.best()
    if isinstance(ranked, Infeasible):
        return ranked
    stopped = "interrupted" if clock.interrupted or ranking.interrupted else tried.stopped
    return Found(ranked, goal, tried.evaluated, tried.valid, clock.spent_s, stopped, bound, size, preparation_s)


def _tried(
    task: Task,
    evaluator: BatchEvaluator,
    choices: Choices,
    base: Batch,
    budget: Budget,
    size: SpaceSize,
    run: Run,
    ranking: Ranking,
) -> Tried:
    """The search itself; mappings with imperfect factors, which only the engine knows, are ranked before it."""
    goal = ranking.goal
    try:
        if not goal.perfect_only:
            ranking.add(imperfect_candidates(task, goal, run.clock.share(_IMPERFECT_SHARE)))
    except KeyboardInterrupt:
        return Tried([], 0, 0, "interrupted")
    limit = MOST_EXHAUSTIVE if budget.evaluations is None else min(MOST_EXHAUSTIVE, budget.evaluations)
    if ranking.interrupted:
        return Tried([], 0, 0, "interrupted")
    if size.total <= limit:
        return exhaust(evaluator, choices, goal, run)
    return anneal(evaluator, choices, base, goal, budget, run)


def _mappings(evaluator: BatchEvaluator, goal: Goal, pools: Sequence[Batch]) -> list[Mapping]:
    """What was found, for the engine, best first."""
    each = _RANKED_INEXACT if evaluator.inexact else _RANKED_EXACT
    best = [pool.take(slice(0, each)) for pool in pools if len(pool)]
    if best and not goal.pareto:
        best = [_sorted(evaluator, goal, Batch.join(best))]
    seen: dict[bytes, Mapping] = {}
    for batch in best:
        for row in range(len(batch)):
            key = batch.factors[row].tobytes() + batch.order[row].tobytes() + batch.keep[row].tobytes()
            if key not in seen:
                seen[key] = evaluator.space.mapping(batch, row)
    return list(seen.values())


def _sorted(evaluator: BatchEvaluator, goal: Goal, batch: Batch) -> Batch:
    ((energy, cycles),) = goal.weights()
    result = evaluator(batch)
    values = energy * np.log(np.maximum(result.energy_pJ, 1e-300)) + cycles * np.log(np.maximum(result.cycles, 1e-300))
    return batch.take(np.argsort(values, kind="stable"))
