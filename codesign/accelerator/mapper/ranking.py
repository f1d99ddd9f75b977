"""The exact engine's word on the mappings that a search proposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping
from codesign.errors import InputError

__all__ = ["Candidate", "Ranking"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A legal mapping with the exact engine's answer."""

    mapping: Mapping
    result: Result


class Ranking:
    """Mappings by what the engine says of them.

    At the end of the time, or with Ctrl-C (``interrupted``), what is legal by then has to do.
    """

    def __init__(self, task: Task, goal: Goal, clock: Clock) -> None:
        self.goal = goal
        self.interrupted = False
        self._task, self._clock = task, clock
        self._legal: list[Candidate] = []
        self._refused: Infeasible | None = None
        self._not_modelled: InputError | None = None

    def add(self, mappings: Sequence[Mapping], *, at_least: int = 0) -> None:
        """Evaluate mappings, those that look best first; ``at_least`` so many even when the time is up."""
        try:
            for number, mapping in enumerate(mappings):
                if number >= at_least and self._legal and self._clock.out():
                    break
                self._judge(mapping)
        except KeyboardInterrupt:
            if not self._legal:
                raise
            self.interrupted = True

    def _judge(self, mapping: Mapping) -> None:
        task = self._task
        try:
            illegal = why_illegal(task.architecture, task.problem, task.constraints, mapping, task.sparse)
            result = illegal or task.evaluate(mapping)
        except InputError as error:
            self._not_modelled = self._not_modelled or error
            return
        if isinstance(result, Infeasible):
            self._refused = self._refused or result
        else:
            self._legal.append(Candidate(mapping, result))

    def best(self) -> tuple[Candidate, ...] | Infeasible:
        """The best mapping, or the front of a trade-off; why the first one was refused, if all were.

        Raises:
            InputError: the engine models none of them.
        """
        if self._legal:
            legal = sorted(self._legal, key=lambda candidate: self.goal.key(candidate.result))
            return _front(self.goal, legal) if self.goal.pareto else (legal[0],)
        if self._refused is not None:
            return self._refused
        assert self._not_modelled is not None
        raise self._not_modelled


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
