"""Many mappings at once with the exact engine's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.kernel import evaluate_rows
from codesign.accelerator.mapper.nest import Batch, BoolArray, FloatArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.tables import capacities, tables_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.model.network import networks_cost

__all__ = ["BatchEvaluator", "BatchResult", "why_inexact"]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """(B,) each. ``energy_pJ`` and ``cycles`` are NaN where a mapping is not legal.

    ``exact`` is True where the numbers are those of the engine; elsewhere they only rank, and the engine decides.
    """

    energy_pJ: FloatArray
    cycles: FloatArray
    legal: BoolArray
    exact: BoolArray


def why_inexact(task: Task) -> tuple[str, ...]:
    """What of a task the batch evaluator leaves out, so that its numbers are not the engine's; empty: nothing."""
    reasons = []
    if task.leaves_work_out:
        reasons.append("zeros and metadata of sparse tensors")
    if networks_cost(task.architecture, task.energy):
        reasons.append("energy of networks")
    if any(level.no_coalesce for level in task.constraints.levels):
        reasons.append("no_coalesce")
    return tuple(reasons)


class BatchEvaluator:
    """Evaluates mappings with perfect factors of one task.

    Raises:
        InputError: the energy table lacks an entry.
    """

    def __init__(self, task: Task, space: MapSpace | None = None) -> None:
        self.task = task
        self.space = space or MapSpace(task.architecture, task.problem, task.constraints)
        parallelism = task.constraints.min_parallelism
        self.cost = CostModel(task.architecture, task.problem, task.energy, min_parallelism=parallelism)
        self.tables = tables_of(task, self.space, self.cost)
        self.inexact = why_inexact(task)
        self.capacity = capacities(task.architecture)

    def __call__(self, batch: Batch) -> BatchResult:
        """Energy and cycles of every mapping of a batch."""
        energy_pJ, cycles = np.empty(len(batch)), np.empty(len(batch))
        tables = self.tables
        evaluate_rows(tables.integers, tables.numbers, batch.factors, batch.order, batch.keep, energy_pJ, cycles)
        legal = energy_pJ >= 0
        energy_pJ[~legal] = cycles[~legal] = np.nan
        return BatchResult(energy_pJ, cycles, legal, legal & (not self.inexact))
