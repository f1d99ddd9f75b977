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
from codesign.accelerator.mapper.exhaustive import MOST_EXHAUSTIVE
from codesign.accelerator.mapper.goal import EDP, Goal
from codesign.accelerator.mapper.heuristic import DEFAULT_EFFORT, Effort
from codesign.accelerator.mapper.imperfect import imperfect_candidates
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.size import SpaceSize, choices_of, size_of
from codesign.accelerator.mapper.strategies import DEFAULT_BUDGET, Budget, Progress, Run, anneal, exhaust
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping
from codesign.errors import InputError

__all__ = ["DEFAULT_BUDGET", "Budget", "Candidate", "Found", "search_mapping"]

_RANKED_EXACT, _RANKED_INEXACT = 4, 8
"""Mappings of an island that the engine ranks, where the batch evaluator's numbers are the engine's and where not."""


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
    base = evaluator.smallest()
    if isinstance(base, Infeasible):
        return base
    choices = choices_of(evaluator.space)
    size, bound = size_of(evaluator.space, choices), lower_bound(task)
    limit = MOST_EXHAUSTIVE if budget.evaluations is None else min(MOST_EXHAUSTIVE, budget.evaluations)
    if size.total <= limit:
        tried = exhaust(evaluator, choices, goal)
    else:
        tried = anneal(evaluator, choices, base, goal, budget, Run(begin, seed, workers, progress, stop, effort))
    candidates = _mappings(evaluator, tried.pools, base)
    if tried.stopped != "interrupted" and not goal.perfect_only:
        candidates += imperfect_candidates(task, goal)
    ranked = _ranked(task, goal, candidates)
    if isinstance(ranked, Infeasible):
        return ranked
    seconds = time.monotonic() - begin
    return Found(ranked, goal, tried.evaluated, tried.valid, seconds, tried.stopped, bound, size)


def _mappings(evaluator: BatchEvaluator, pools: Sequence[Batch], base: Batch) -> list[Mapping]:
    """What was found, for the engine; the base comes last, as the one most likely to fit."""
    each = _RANKED_INEXACT if evaluator.inexact else _RANKED_EXACT
    seen: dict[bytes, Mapping] = {}
    for batch in [*(pool.take(slice(0, each)) for pool in pools), base]:
        for row in range(len(batch)):
            key = batch.factors[row].tobytes() + batch.order[row].tobytes() + batch.keep[row].tobytes()
            if key not in seen:
                seen[key] = evaluator.space.mapping(batch, row)
    return list(seen.values())


def _ranked(task: Task, goal: Goal, candidates: Sequence[Mapping]) -> tuple[Candidate, ...] | Infeasible:
    """The engine's ranking; why the first candidate is refused, if all are (InputError: it is not modelled)."""
    refused: Infeasible | None = None
    not_modelled: InputError | None = None
    legal: list[Candidate] = []
    for mapping in candidates:
        try:
            illegal = why_illegal(task.architecture, task.problem, task.constraints, mapping, task.sparse)
            result = illegal or task.evaluate(mapping)
        except InputError as error:
            not_modelled = not_modelled or error
            continue
        if isinstance(result, Infeasible):
            refused = refused or result
        else:
            legal.append(Candidate(mapping, result))
    if not legal and refused is None:
        assert not_modelled is not None
        raise not_modelled
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
