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
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.moves import Choices
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.size import SpaceSize, choices_of, size_of
from codesign.accelerator.mapper.strategies import DEFAULT_BUDGET, Budget, Progress, Run, Tried, anneal, exhaust
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping
from codesign.errors import InputError

__all__ = ["DEFAULT_BUDGET", "Budget", "Candidate", "Found", "search_mapping"]

_RANKED_EXACT, _RANKED_INEXACT = 4, 8
"""Mappings of an island that the engine ranks, where the batch evaluator's numbers are the engine's and where not."""
_RANKED_AT_LEAST = 4
"""Those for which a limited time leaves room."""
_IMPERFECT_SHARE = 0.2
"""Of a limited time, spent at most until imperfect factors have been looked at."""


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
    before = now()
    first = _judged(task, evaluator.space.mapping(base, 0))
    # The engine's time for one mapping says what the ranking of those that are found will take.
    reserve_s = _RANKED_AT_LEAST * (now() - before)
    run = Run(clock, seed, workers, progress, effort, reserve_s)
    candidates, tried = _tried(task, evaluator, choices, base, goal, budget, size, run)
    ranked = _ranked(task, goal, candidates, first, clock)
    if isinstance(ranked, Infeasible):
        return ranked
    stopped = "interrupted" if clock.interrupted else tried.stopped
    return Found(ranked, goal, tried.evaluated, tried.valid, clock.spent_s, stopped, bound, size, preparation_s)


def _tried(
    task: Task,
    evaluator: BatchEvaluator,
    choices: Choices,
    base: Batch,
    goal: Goal,
    budget: Budget,
    size: SpaceSize,
    run: Run,
) -> tuple[list[Mapping], Tried]:
    """What is worth the engine's time, best first, and how it was found."""
    others: list[Mapping] = []
    try:
        if not goal.perfect_only:
            others = imperfect_candidates(task, goal, run.clock.share(_IMPERFECT_SHARE))
    except KeyboardInterrupt:
        return [*others, evaluator.space.mapping(base, 0)], Tried([], 0, 0, "interrupted")
    limit = MOST_EXHAUSTIVE if budget.evaluations is None else min(MOST_EXHAUSTIVE, budget.evaluations)
    if size.total <= limit:
        tried = exhaust(evaluator, choices, goal, run)
    else:
        tried = anneal(evaluator, choices, base, goal, budget, run)
    found = _mappings(evaluator, goal, tried.pools, base)
    cut = min(_RANKED_AT_LEAST, len(found) - 1)
    return [*found[:cut], *others, *found[cut:]], tried


def _mappings(evaluator: BatchEvaluator, goal: Goal, pools: Sequence[Batch], base: Batch) -> list[Mapping]:
    """What was found, for the engine, best first; the base comes last, as the one most likely to fit."""
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
    return [*seen.values(), evaluator.space.mapping(base, 0)]


def _sorted(evaluator: BatchEvaluator, goal: Goal, batch: Batch) -> Batch:
    ((energy, cycles),) = goal.weights()
    result = evaluator(batch)
    values = energy * np.log(np.maximum(result.energy_pJ, 1e-300)) + cycles * np.log(np.maximum(result.cycles, 1e-300))
    return batch.take(np.argsort(values, kind="stable"))


def _judged(task: Task, mapping: Mapping) -> Result | Infeasible | InputError:
    """The engine's answer; an error where it does not model the mapping."""
    try:
        illegal = why_illegal(task.architecture, task.problem, task.constraints, mapping, task.sparse)
        return illegal or task.evaluate(mapping)
    except InputError as error:
        return error


def _ranked(
    task: Task, goal: Goal, candidates: Sequence[Mapping], first: Result | Infeasible | InputError, clock: Clock
) -> tuple[Candidate, ...] | Infeasible:
    """The engine's ranking; why the first candidate is refused, if all are (InputError: it is not modelled).

    At the end of the time, or with Ctrl-C, what is legal by then has to do.

    Args:
        candidates: the last one is the smallest mapping.
        first: the engine's answer for that one.
    """
    answers: list[Result | Infeasible | InputError] = []
    legal: list[Candidate] = []
    try:
        for mapping in candidates[:-1]:
            if legal and clock.out():
                break
            answers.append(_judged(task, mapping))
            if isinstance(answers[-1], Result):
                legal.append(Candidate(mapping, answers[-1]))
    except KeyboardInterrupt:
        pass  # what is known by now is the answer
    answers.append(first)
    if isinstance(first, Result):
        legal.append(Candidate(candidates[-1], first))
    if not legal:
        refused = next((answer for answer in answers if isinstance(answer, Infeasible)), None)
        if refused is not None:
            return refused
        raise next(answer for answer in answers if isinstance(answer, InputError))
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
