"""The heuristic's best mappings, scored by the batch evaluator: where the search starts from."""

from __future__ import annotations

import numpy as np

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.cost import Objective
from codesign.accelerator.mapper.heuristic import Effort, search_candidates
from codesign.accelerator.mapper.nest import Batch, FloatArray, IntArray
from codesign.accelerator.mapper.search import Pool, Scorer

__all__ = ["heuristic_candidates"]


class _BatchScorer(Scorer):
    """The objective by the batch evaluator; infinite for mappings that are not legal."""

    def __init__(self, evaluator: BatchEvaluator, objective: Objective) -> None:
        super().__init__(evaluator.space, evaluator.cost, objective)
        self._evaluator, self._wanted = evaluator, objective

    def __call__(self, batch: Batch) -> FloatArray:
        self.looked_at += len(batch)
        result = self._evaluator(batch)
        value = {
            "edp": result.energy_pJ * result.cycles,
            "energy": result.energy_pJ,
            "latency": result.cycles,
        }[self._wanted]
        return np.where(result.legal, value, np.inf)

    def legal(self, batch: Batch) -> IntArray:
        return np.asarray(np.flatnonzero(self._evaluator(batch).legal))


def heuristic_candidates(
    evaluator: BatchEvaluator, base: Batch, objective: Objective, effort: Effort, clock: Clock
) -> tuple[list[Batch], int]:
    """The best different mappings (batches of one) until the clock runs out, and how many were looked at.

    Where a minimum utilisation or parallelism is demanded the base itself may be illegal; the approximate score then
    leads the way, since it says by how much a demand is missed.
    """
    demanding = bool(evaluator.cost.least_words.any()) or evaluator.cost.least_instances > 1
    scorer = Scorer(evaluator.space, evaluator.cost, objective) if demanding else _BatchScorer(evaluator, objective)
    scorer.clock = clock
    pool = Pool(effort.candidates)
    search_candidates(scorer, base, effort, pool)
    return [one for _, one in pool.best()], scorer.looked_at
