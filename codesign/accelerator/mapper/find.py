"""Searching the mapping of one task: heuristic first, then annealed islands, and the exact engine has the last word."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.bounds import LowerBound, lower_bound
from codesign.accelerator.mapper.cost import Objective
from codesign.accelerator.mapper.feasible import smallest
from codesign.accelerator.mapper.goal import EDP, Goal
from codesign.accelerator.mapper.heuristic import DEFAULT_EFFORT, Effort
from codesign.accelerator.mapper.imperfect import imperfect_candidates
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.seeds import heuristic_candidates
from codesign.accelerator.mapper.size import SpaceSize, choices_of, size_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping
from codesign.errors import InputError

__all__ = ["DEFAULT_BUDGET", "Budget", "Candidate", "Found", "search_mapping"]

_ISLANDS = 8
_SLICE = 4_000
_RANKED_EXACT, _RANKED_INEXACT = 4, 8
"""Mappings of an island that the engine ranks, where the batch evaluator's numbers are the engine's and where not."""

Progress = Callable[[int, int, str], None]
"""(done, total, detail); evaluations, or tenths of a second where only the time is limited."""


@dataclass(frozen=True, slots=True)
class Budget:
    """When a search ends: after so many mappings, so many seconds, or whichever comes first."""

    evaluations: int | None = 200_000
    seconds: float | None = None

    def __post_init__(self) -> None:
        for value, flag in ((self.evaluations, "--budget"), (self.seconds, "--seconds")):
            if value is not None and not value > 0:
                raise InputError("a budget must be positive", got=value, key=flag, fix="e.g. --budget 200000")
        if self.evaluations is None and self.seconds is None:
            raise InputError("a budget of evaluations or seconds is needed", key="--budget")


DEFAULT_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A legal mapping with the exact engine's answer."""

    mapping: Mapping
    result: Result


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Args:
        front: the best mapping; of a trade-off, all that no other beats in both objectives, best first objective first.
        evaluated, valid: mappings tried, and those of them that are legal.
        stopped: "budget", "seconds", "interrupted", or "stored" where nothing was searched.
    """

    front: tuple[Candidate, ...]
    goal: Goal
    evaluated: int
    valid: int
    seconds: float
    stopped: str
    bound: LowerBound
    size: SpaceSize

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

    With a budget of evaluations the answer depends on the seed alone, not on ``workers`` or the machine's speed. Ctrl-C
    ends the search with the best so far.

    Raises:
        InputError: the energy table lacks an entry, or something that the engine does not model.
    """
    begin = time.monotonic()
    evaluator = BatchEvaluator(task)
    base = smallest(evaluator.space, evaluator.capacity)
    if isinstance(base, Infeasible):
        return base
    choices = choices_of(evaluator.space)
    size, bound = size_of(evaluator.space, choices), lower_bound(task)
    islands: list[Island] = []
    stopped, counted = "budget", 0
    try:
        seeds, counted = _seeds(evaluator, base, goal, effort)
        weights = goal.weights()
        islands = [
            Island(evaluator, choices, weights[stream % len(weights)], seeds, seed=seed, stream=stream)
            for stream in range(_ISLANDS)
        ]
        stopped = _run(islands, budget, begin, counted, workers, progress, stop)
    except KeyboardInterrupt:
        stopped = "interrupted"
    candidates = _mappings(evaluator, islands, base)
    if stopped != "interrupted":
        candidates += imperfect_candidates(task, goal)
    ranked = _ranked(task, goal, candidates)
    if isinstance(ranked, Infeasible):
        return ranked
    evaluated = counted + sum(island.evaluated for island in islands)
    valid = sum(island.valid for island in islands)
    return Found(ranked, goal, evaluated, valid, time.monotonic() - begin, stopped, bound, size)


def _seeds(evaluator: BatchEvaluator, base: Batch, goal: Goal, effort: Effort) -> tuple[Batch, int]:
    """The heuristic's best mappings for every objective of the goal, and how many it looked at."""
    wanted: list[Objective] = ["energy", "latency", "edp"] if goal.pareto else [goal.single]
    found, counted = [base], 1
    for objective in wanted:
        batches, looked_at = heuristic_candidates(evaluator, base, objective, effort)
        found += batches
        counted += looked_at
    return Batch.join(found), counted


def _run(
    islands: Sequence[Island],
    budget: Budget,
    begin: float,
    counted: int,
    workers: int,
    progress: Progress | None,
    stop: Event | None,
) -> str:
    """Advance all islands in slices until the budget is spent."""
    total = None if budget.evaluations is None else max(0, budget.evaluations - counted)
    share = None if total is None else -(-total // len(islands))
    until = 0
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while share is None or until < share:
            until = until + _SLICE if share is None else min(until + _SLICE, share)
            futures = [pool.submit(island.advance, until) for island in islands]
            for future in futures:
                future.result()
            if stop is not None and stop.is_set():
                return "interrupted"
            spent = time.monotonic() - begin
            if progress is not None and share is not None:
                progress(until * len(islands), share * len(islands), "mappings")
            elif progress is not None and budget.seconds is not None:
                progress(min(int(spent * 10), int(budget.seconds * 10)), int(budget.seconds * 10), "tenths of a second")
            if budget.seconds is not None and spent >= budget.seconds:
                return "seconds"
    return "budget"


def _mappings(evaluator: BatchEvaluator, islands: Sequence[Island], base: Batch) -> list[Mapping]:
    """What the islands found, for the engine; the base comes last, as the one most likely to fit."""
    each = _RANKED_INEXACT if evaluator.inexact else _RANKED_EXACT
    seen: dict[bytes, Mapping] = {}
    for batch in [*(island.best().take(slice(0, each)) for island in islands), base]:
        for row in range(len(batch)):
            key = batch.factors[row].tobytes() + batch.order[row].tobytes() + batch.keep[row].tobytes()
            if key not in seen:
                seen[key] = evaluator.space.mapping(batch, row)
    return list(seen.values())


def _ranked(task: Task, goal: Goal, candidates: Sequence[Mapping]) -> tuple[Candidate, ...] | Infeasible:
    """The engine's ranking; why the first candidate is refused, if all are."""
    refused: Infeasible | None = None
    legal: list[Candidate] = []
    for mapping in candidates:
        illegal = why_illegal(task.architecture, task.problem, task.constraints, mapping)
        result = illegal or task.evaluate(mapping)
        if isinstance(result, Infeasible):
            refused = refused or result
        else:
            legal.append(Candidate(mapping, result))
    if not legal:
        assert refused is not None
        return refused
    legal.sort(key=lambda candidate: goal.key(candidate.result))
    return _front(goal, legal) if goal.pareto else (legal[0],)


def _front(goal: Goal, legal: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Of candidates in ascending order, those that no earlier one beats in the second objective too."""
    front: list[Candidate] = []
    least = np.inf
    for candidate in legal:
        second = goal.key(candidate.result)[1]
        if second < least:
            least = second
            front.append(candidate)
    return tuple(front)
