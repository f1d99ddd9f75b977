"""A task's mapping: from a store if one holds it, else from a search."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accelerator.mapper.goal import EDP, Goal
from codesign.accelerator.mapper.store import MappingStore, StoredMapping
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible

__all__ = ["DEFAULT_EVALUATIONS", "find_mapping"]

DEFAULT_EVALUATIONS = 40_000
"""Budget of a search that nobody asked for by name: well under a second a layer."""


def find_mapping(
    task: Task,
    stores: Sequence[MappingStore],
    *,
    goal: Goal = EDP,
    keep_in: MappingStore | None = None,
    evaluations: int = DEFAULT_EVALUATIONS,
    seed: int = 0,
) -> StoredMapping | Infeasible:
    """The mapping of a task.

    Args:
        stores: looked into in this order; the first that knows the task answers.
        keep_in: store that a newly found mapping is put into.
        evaluations, seed: of the search where no store knows the task; it is deterministic.

    Returns:
        The mapping with the exact engine's answer, ``path`` None where it is in no store; or why there is none.

    Raises:
        InputError: a stored mapping is broken (see ``MappingStore.get``), or the energy table lacks an entry.
    """
    for store in stores:
        known = store.get(task, goal)
        if known is not None:
            return known
    # Only now: the search brings the compiled evaluator with it.
    from codesign.accelerator.mapper.find import Budget, search_mapping

    found = search_mapping(task, goal, Budget(evaluations), seed=seed)
    if isinstance(found, Infeasible):
        return found
    best = found.best
    if keep_in is None:
        return StoredMapping(best.mapping, best.result, None)
    return keep_in.put(task, goal, best.mapping, best.result, note=f"{found.evaluated} evaluated, seed {seed}")
