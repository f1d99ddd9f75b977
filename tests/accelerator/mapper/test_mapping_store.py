"""The mapping store: what a key covers, what a broken entry says, and that no run breaks one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from codesign.accelerator.mapper.find import Budget, Found, search_mapping
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.store import STORE_VERSION, MappingStore
from codesign.accelerator.mapper.stored import find_mapping
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.density import Hypergeometric
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.loader import load_mapping
from codesign.errors import InputError
from tests.accelerator.mapper.mapper_designs import constraints, energy_table, nest, two_level

GOAL = Goal()


def small_task() -> Task:
    architecture, limits = two_level()
    return Task(architecture, nest(M=4, C=4, P=3), limits, energy_table(architecture))


@pytest.fixture
def task() -> Task:
    return small_task()


@pytest.fixture
def store(tmp_path: Path) -> MappingStore:
    return MappingStore(tmp_path / "mappings")


def filled(store: MappingStore, task: Task) -> Path:
    found = find_mapping(task, [store], keep_in=store, evaluations=500)
    assert not hasattr(found, "demand")
    return store.path(task, GOAL)


def test_a_stored_mapping_is_found_again_and_is_a_plain_timeloop_file(store, task):
    path = filled(store, task)
    known = store.get(task, GOAL)
    assert known is not None
    assert known.path == path
    assert load_mapping([path], task.architecture, task.problem) == known.mapping
    assert task.evaluate(known.mapping) == known.result


def test_the_first_store_that_knows_answers(store, task, tmp_path):
    filled(store, task)
    other = MappingStore(tmp_path / "other")
    again = find_mapping(task, [other, store], keep_in=other)
    assert again == store.get(task, GOAL)
    assert other.get(task, GOAL) is None


def test_the_key_is_the_content_and_not_the_name(task):
    same = replace(task, problem=replace(task.problem, name="another name"))
    assert MappingStore.key(task, GOAL) == MappingStore.key(same, GOAL)
    architecture, _ = two_level(words=4096)
    dearer = EnergyTable((*task.energy.energies, EnergyEntry("buffer", "random_read", 99.0, Provenance("test"))))
    others = [
        replace(task, architecture=architecture),
        replace(task, problem=nest(M=4, C=4, P=6)),
        replace(task, problem=replace(task.problem, densities=(Hypergeometric(0.5), *task.problem.densities[1:]))),
        replace(task, constraints=constraints(task.architecture, {"buffer": ["Weights"]})),
        replace(task, energy=dearer),
    ]
    keys = {MappingStore.key(one, GOAL) for one in (task, *others)} | {MappingStore.key(task, Goal(("energy",)))}
    assert len(keys) == len(others) + 2


def test_an_edit_by_hand_is_taken(store, task):
    path = filled(store, task)
    text = path.read_text()
    before = store.get(task, GOAL)
    start = text.index("mapping:\n")
    edited = (
        "mapping:\n- {target: dram, type: temporal, factors: [M=4, C=4, P=3]}\n"
        "- {target: buffer, type: temporal, factors: []}\n# end of mapping\n"
    )
    path.write_text(text[:start] + edited)
    after = store.get(task, GOAL)
    assert after is not None
    assert after.result.energy_pJ > before.result.energy_pJ


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[: len(text) // 2], "half-written"),
        (lambda _: "", "starts with the line"),
        (lambda text: text.replace(f"version {STORE_VERSION}", "version 99", 1), "must be of version"),
        (lambda text: text.replace("# key: ", "# key: 0", 1), "another task"),
        (lambda text: text.replace("M=4", "M=2"), "M"),
        (lambda text: text.replace("target: dram", "target: drum"), "drum"),
    ],
)
def test_a_broken_entry_is_a_clear_error(store, task, change, says):
    path = filled(store, task)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=says) as error:
        store.get(task, GOAL)
    assert path.name in str(error.value)


def test_a_worse_mapping_does_not_replace_a_better_one(store, task):
    filled(store, task)
    best = store.get(task, GOAL)
    found = search_mapping(task, Goal(("latency",)), Budget(100))
    assert isinstance(found, Found)
    worse = replace(best.result, energy_pJ=best.result.energy_pJ * 2)
    assert store.put(task, GOAL, found.best.mapping, worse).mapping == best.mapping


def test_what_a_killed_run_leaves_is_ignored(store, task):
    path = filled(store, task)
    path.with_name(f".{path.name}.12345.tmp").write_text("# codesign map")
    assert store.get(task, GOAL) is not None


def test_runs_at_once_leave_a_whole_entry(store, task):
    known = search_mapping(task, GOAL, Budget(300))
    assert isinstance(known, Found)

    def put(_: int) -> None:
        store.put(task, GOAL, known.best.mapping, known.best.result)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(24)))
    assert store.get(task, GOAL).mapping == known.best.mapping
    assert [path.name for path in store.path(task, GOAL).parent.glob(".*.tmp")] == []


def _put_for_ever(folder: Path) -> None:
    """Write the entry that is there again and again, as if something better had been found each time."""
    store, task = MappingStore(folder), small_task()
    known = store.get(task, GOAL)
    assert known is not None
    while True:
        store.put(task, GOAL, known.mapping, replace(known.result, energy_pJ=0.0), note=str(os.getpid()))


def test_killed_processes_that_write_the_same_entry_leave_a_whole_one(store, task):
    path = filled(store, task)
    before = store.get(task, GOAL)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put_for_ever, args=(store.folder,), daemon=True) for _ in range(2)]
    for writer in writers:
        writer.start()
    waiting = Event()
    for number, writer in enumerate(writers):
        while str(writer.pid) not in path.read_text():
            assert all(other.exitcode is None for other in writers[number:])
            waiting.wait(0.01)
        waiting.wait(0.05)
        writer.kill()
        writer.join()
    stored = store.get(task, GOAL)
    assert before is not None
    assert stored is not None
    assert stored.mapping == before.mapping
    better = replace(stored.result, energy_pJ=0.0)
    assert store.put(task, GOAL, stored.mapping, better).result == better


def test_imperfect_factors_have_an_entry_of_their_own(store, task):
    filled(store, task)
    assert store.get(task, replace(GOAL, perfect_only=not GOAL.perfect_only)) is None


def test_a_folder_that_cannot_be_written_is_a_clear_error(task, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(InputError, match="must be a folder that can be written"):
        find_mapping(task, [], keep_in=MappingStore(blocked), evaluations=100)


def test_looking_up_does_not_bring_the_compiler(tmp_path):
    code = (
        "import sys, codesign.cli.app, codesign.accelerator.mapper.stored, codesign.accelerator.mapper.heuristic\n"
        "sys.exit(any(name.split('.')[0] in ('numba', 'llvmlite', 'torch') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}).returncode == 0


SHIPPED = sorted((Path(__file__).parents[3] / "mappings").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_mappings_are_whole(path):
    lines = path.read_text().splitlines()
    assert lines[0] == f"# codesign mapping store, version {STORE_VERSION}"
    assert lines[1].startswith(f"# key: {path.stem}")
    assert lines[-1] == "# end of mapping"
