"""Mappings on disk: one valid Timeloop v0.4 file each, found by the content of the task that it answers.

A file starts with comments that say what it is and ends with one that says that it is whole; between them stands the
mapping, which may be edited by hand. Files are written beside their place and moved into it, under a lock, so that
neither a killed run nor two runs at once leave a broken one. Numbers in the comments are for people; what a mapping is
worth is always evaluated anew.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.loader import parse_mapping
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.writer import mapping_to_yaml
from codesign.errors import InputError

__all__ = ["STORE_VERSION", "MappingStore", "StoredMapping"]

STORE_VERSION = 1

_FIRST = "# codesign mapping store, version "
_KEY = "# key: "
_END = "# end of mapping"
_LOCK_SECONDS = 30.0
_KEY_LETTERS = 16


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """A mapping with the exact engine's answer for it; ``path`` is None where it is in no store."""

    mapping: Mapping
    result: Result
    path: Path | None


class MappingStore:
    """A folder of mappings.

    Args:
        folder: need not exist; it is made by the first ``put``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def key(task: Task, goal: Goal) -> str:
        """Hash of architecture, energies, layer shape, densities, constraints, objective and the store's version.

        What may have imperfect factors has a key of its own: ``codesign evaluate`` does not take it.
        """
        factors = "" if goal.perfect_only else "\0imperfect factors"
        return sha256(f"{STORE_VERSION}\0{task.digest()}\0{goal}{factors}".encode()).hexdigest()

    def path(self, task: Task, goal: Goal) -> Path:
        """Where the mapping of a task is, or would be."""
        return self.folder / _file_name(task.architecture.name) / f"{self.key(task, goal)[:_KEY_LETTERS]}.yaml"

    def get(self, task: Task, goal: Goal) -> StoredMapping | None:
        """The stored mapping; None if there is none.

        Raises:
            InputError: the file is half-written, of another version or key, or what it says is not a legal mapping
                of the task (an edit that went wrong).
        """
        path = self.path(task, goal)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                "a stored mapping must be readable text", got=str(error), path=path, fix=_REMOVE
            ) from error
        _check(text, path, self.key(task, goal))
        try:
            mapping = parse_mapping(text, task.architecture, task.problem, name=str(path))
            mapping.check(task.architecture, task.problem)
        except ValueError as error:
            raise InputError(str(error), path=path, key="mapping", fix=_REMOVE) from error
        result = task.evaluate(mapping)
        if isinstance(result, Infeasible):
            raise InputError(f"the stored mapping is illegal: {result.message}", path=path, fix=_REMOVE)
        return StoredMapping(mapping, result, path)

    def put(self, task: Task, goal: Goal, mapping: Mapping, result: Result, *, note: str = "") -> StoredMapping:
        """Store a mapping unless a better one is there already; returns what is stored now.

        Raises:
            InputError: the folder cannot be written, is locked for too long, or holds a broken entry in its place.
        """
        path = self.path(task, goal)
        text = _text(task, goal, mapping, result, self.key(task, goal), note)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / ".lock", timeout=_LOCK_SECONDS):
                there = self.get(task, goal)
                if there is not None and goal.key(there.result) <= goal.key(result):
                    return there
                temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(path)
        except Timeout as error:
            raise InputError(
                f"the mapping store is locked by another run for more than {_LOCK_SECONDS:.0f} s", path=path.parent
            ) from error
        except OSError as error:
            raise InputError("the mapping store must be a folder that can be written", got=str(error)) from error
        return StoredMapping(mapping, result, path)


_REMOVE = "correct the file, or delete it and the mapping is searched for again"


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "architecture"


def _text(task: Task, goal: Goal, mapping: Mapping, result: Result, key: str, note: str) -> str:
    bounds = ", ".join(f"{d}={n}" for d, n in zip(task.problem.dimensions, task.problem.bounds, strict=True))
    lines = [
        f"{_FIRST}{STORE_VERSION}",
        f"{_KEY}{key}",
        f"# architecture: {_one_line(task.architecture.name)}; layer: {_one_line(task.problem.name)} ({bounds})",
        f"# objective: {goal}; energy {result.energy_pJ:.6g} pJ, {result.cycles} cycles"
        + (f"; {note}" if note else ""),
        "# May be edited: what a mapping is worth is evaluated anew whenever it is read.",
    ]
    return "\n".join(lines) + "\n" + mapping_to_yaml(mapping, task.architecture, task.problem) + f"{_END}\n"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _check(text: str, path: Path, key: str) -> None:
    lines = text.splitlines()
    if not lines or not lines[0].startswith(_FIRST):
        raise InputError(
            "a stored mapping starts with the line that names the store and its version", path=path, line=1, fix=_REMOVE
        )
    version = lines[0].removeprefix(_FIRST).strip()
    if version != str(STORE_VERSION):
        raise InputError(
            f"the mapping store must be of version {STORE_VERSION}",
            got=f"version {version}",
            path=path,
            line=1,
            fix="use another folder, or delete this one and the mappings are searched for again",
        )
    if lines[-1].strip() != _END:
        raise InputError(
            f"a whole stored mapping ends with the line `{_END}`: this one is half-written", path=path, fix=_REMOVE
        )
    if f"{_KEY}{key}" not in lines[:8]:
        raise InputError("the stored mapping is of another task than its name says", path=path, line=2, fix=_REMOVE)
