"""Many mappings at once with the exact engine's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.feasible import smallest
from codesign.accelerator.mapper.kernel import evaluate_rows
from codesign.accelerator.mapper.kernel_memo import Zeros
from codesign.accelerator.mapper.memo import Memo
from codesign.accelerator.mapper.nest import Batch, BoolArray, FloatArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.sparse_tables import formats_of
from codesign.accelerator.mapper.tables import capacities, tables_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.model.masked_pass import needs_masks
from codesign.accelerator.model.network import networks_cost
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.density import Banded

__all__ = ["BatchEvaluator", "BatchResult", "models_zeros", "why_inexact"]


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
    if task.leaves_work_out and not models_zeros(task):
        reasons.append("real or structured masks, and savings that wait for outputs")
    if networks_cost(task.architecture, task.energy):
        reasons.append("energy of networks")
    if any(level.no_coalesce for level in task.constraints.levels):
        reasons.append("no_coalesce")
    return tuple(reasons)


def models_zeros(task: Task) -> bool:
    """Whether the compiled evaluator has the engine's rules for the zeros of a task."""
    if not task.leaves_work_out or needs_masks(task.problem, task.sparse):
        return False
    banded = {index for index, density in enumerate(task.problem.densities) if isinstance(density, Banded)}
    return banded.isdisjoint(v for _, v in formats_of(task))


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
        self.memo = Memo(task, self.space) if models_zeros(task) else None
        self._zeros = self.zeros()

    def zeros(self) -> Zeros | None:
        """The sparse tables for one more thread; None where zeros change nothing, or are not modelled here."""
        return None if self.memo is None else self.memo.zeros()

    def stored_words(self, level: int, dataspace: int, words: int) -> int:
        """What a tile takes of a level: all of its words, or its nonzeros where a layout leaves zeros out."""
        return words if self.memo is None else self.memo.stored_words(level, dataspace, words)

    def smallest(self) -> Batch | Infeasible:
        """A mapping with tiles as small as possible, or why nothing fits (see ``feasible.smallest``)."""
        return smallest(self.space, self.capacity, self.stored_words)

    def __call__(self, batch: Batch) -> BatchResult:
        """Energy and cycles of every mapping of a batch."""
        energy_pJ, cycles = np.empty(len(batch)), np.empty(len(batch))
        rows = self.tables.integers, self.tables.numbers, batch.factors, batch.order, batch.keep, energy_pJ, cycles
        begin = 0
        while True:
            begin = evaluate_rows(*rows, begin, self._zeros)
            if begin >= len(batch):
                break
            assert self.memo is not None
            assert self._zeros is not None
            self._zeros = self.memo.learn(self._zeros)
        legal = energy_pJ >= 0
        energy_pJ[~legal] = cycles[~legal] = np.nan
        return BatchResult(energy_pJ, cycles, legal, legal & (not self.inexact))
