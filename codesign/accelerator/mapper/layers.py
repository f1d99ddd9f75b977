"""Several tasks: identical ones are searched once, different ones in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from codesign.accelerator.mapper.bounds import lower_bound
from codesign.accelerator.mapper.find import Budget, Candidate, Found, search_mapping
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.size import choices_of, size_of
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.store import MappingStore
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible

__all__ = ["map_tasks"]


def map_tasks(
    tasks: Sequence[Task],
    goal: Goal,
    budget: Budget,
    *,
    seed: int = 0,
    workers: int = 0,
    store: MappingStore | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Found | Infeasible]:
    """An answer for every task, in order. The budget is that of each search; ``workers`` 0 is one a processor.

    A task that ``store`` knows is not searched; what is found is put into it. Ctrl-C ends the searches that run with
    their best so far, and those that wait with what the heuristic finds.
    """
    threads = workers or os.cpu_count() or 1
    unique: dict[str, Task] = {}
    for task in tasks:
        unique.setdefault(task.digest(), task)
    answers: dict[str, Found | Infeasible] = {}
    stop = Event()
    if len(unique) == 1:
        ((key, task),) = unique.items()
        answers[key] = _answer(task, goal, budget, seed, threads, store, progress, stop)
        return [answers[key]] * len(tasks)
    with ThreadPoolExecutor(threads) as pool:
        futures: dict[str, Future[Found | Infeasible]] = {
            key: pool.submit(_answer, task, goal, budget, seed, 1, store, None, stop) for key, task in unique.items()
        }
        for done, key in enumerate(futures):
            if progress is not None:
                progress(done, len(futures), unique[key].problem.name)
            try:
                answers[key] = futures[key].result()
            except KeyboardInterrupt:
                stop.set()
                answers[key] = futures[key].result()
        if progress is not None:
            progress(len(futures), len(futures), "")
    return [answers[task.digest()] for task in tasks]


def _answer(
    task: Task,
    goal: Goal,
    budget: Budget,
    seed: int,
    workers: int,
    store: MappingStore | None,
    progress: Callable[[int, int, str], None] | None,
    stop: Event,
) -> Found | Infeasible:
    known = None if store is None or goal.pareto else store.get(task, goal)
    if known is not None:
        space = MapSpace(task.architecture, task.problem, task.constraints)
        size = size_of(space, choices_of(space))
        best = (Candidate(known.mapping, known.result),)
        return Found(best, goal, 0, 0, 0.0, "stored", lower_bound(task), size)
    found = search_mapping(task, goal, budget, seed=seed, workers=workers, progress=progress, stop=stop)
    if store is not None and isinstance(found, Found) and not goal.pareto:
        best_one = found.best
        store.put(task, goal, best_one.mapping, best_one.result, note=f"{found.evaluated} evaluated, seed {seed}")
    return found
