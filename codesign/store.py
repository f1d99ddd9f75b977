"""Runs on disk: a run is built in a staging folder beside its destination and moved into place when it is whole.

A killed run leaves its staging folder; the next run with the same key (configuration and content of the inputs)
takes its finished stages over, another key starts afresh. Two runs at once on one destination are refused.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from codesign.errors import InputError

__all__ = ["RunFolder", "check_destination", "write_json"]

_KEY_FILE = "run-key.txt"
_STAGES = "stages"


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically; NaN and infinities are refused, since no report may show them."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def check_destination(out: Path, *, force: bool) -> None:
    """Raise InputError unless a run may be written to ``out``; nothing is created.

    Made before any work, so that nobody waits for a result that has no place to go.
    """
    target = _target(out)
    try:
        there = target.exists()
    except OSError as error:
        raise _unwritable(out, error) from error
    if there and not target.is_dir():
        raise InputError("--out must be a folder", got="a file", path=out, key="--out")
    if Path.cwd().is_relative_to(target):
        raise InputError(
            "a run needs a folder of its own",
            got="the working folder or one above it",
            path=out,
            key="--out",
            fix="for example --out reports/run",
        )
    if there and any(target.iterdir()):
        _check_replaceable(out, target, force=force)
    _check_parent(out, target)


def _target(out: Path) -> Path:
    """Where a run really goes: links are followed, so that a link to a folder stays a link."""
    return Path(os.path.realpath(out))


def _check_replaceable(out: Path, target: Path, *, force: bool) -> None:
    if not (target / "results.json").is_file():
        raise InputError(
            "only a finished run is replaced, and this folder has files but no results.json",
            path=out,
            key="--out",
            fix="choose another --out",
        )
    if not force:
        raise InputError(
            "a finished run is already there",
            path=out,
            key="--out",
            fix="choose another --out, or --force to replace it",
        )


def _check_parent(out: Path, target: Path) -> None:
    """The nearest folder above that is there must take new folders."""
    above = next(folder for folder in target.parents if folder.exists())
    if not above.is_dir():
        raise InputError("folders can only be made in a folder", got=f"{above} is a file", path=out, key="--out")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError("the folder of --out must be writable", got=f"{above} is not", path=out, key="--out")


def _unwritable(out: Path, error: OSError) -> InputError:
    return InputError(
        "--out must be a folder that can be written",
        got=error.strerror or str(error),
        path=out,
        key="--out",
        fix="choose another --out",
    )


class RunFolder:
    """The folder of one run while it is being written; use it as a context manager.

    Args:
        out: where the finished run goes.
        key: content hash of everything that decides the result.
        force: replace a finished run that is already at ``out``.

    Raises:
        InputError: ``out`` is already there and ``force`` is not set, is not a folder of a run, is being written, or
            cannot be written.
    """

    def __init__(self, out: Path, key: str, *, force: bool = False) -> None:
        self.out = out
        self.key = key
        self.force = force
        self._target = _target(out)
        self.staging = self._target.parent / f".{self._target.name}.partial"
        self._lock = FileLock(self._target.parent / f".{self._target.name}.lock")
        self.resumed = False

    def __enter__(self) -> Self:
        check_destination(self.out, force=self.force)
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise self._busy() from error
        except OSError as error:
            raise _unwritable(self.out, error) from error
        key_file = self.staging / _KEY_FILE
        self.resumed = key_file.is_file() and key_file.read_text(encoding="utf-8") == self.key
        if self.resumed:
            self._drop_half_written()
        else:
            shutil.rmtree(self.staging, ignore_errors=True)
            (self.staging / _STAGES).mkdir(parents=True)
            key_file.write_text(self.key, encoding="utf-8")
        return self

    def _drop_half_written(self) -> None:
        """Only finished stages are taken over: whatever else a killed run left would be published with the new."""
        for path in self.staging.iterdir():
            if path.name in {_STAGES, _KEY_FILE}:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Bad input leaves nothing behind; an interruption or a fault leaves the staging folder to resume from.
        if kind is not None and issubclass(kind, InputError):
            shutil.rmtree(self.staging, ignore_errors=True)
        # Unlinked while still held, so that no one can lock a file that is about to vanish.
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _busy(self) -> InputError:
        # Some file systems (/proc) answer a lock that cannot be made like one that is taken.
        if not Path(self._lock.lock_file).exists():
            return InputError("--out must be a folder that can be written", path=self.out, key="--out")
        return InputError(
            "another run is writing there", path=self.out, key="--out", fix="wait for it, or choose another --out"
        )

    def stage(self, name: str) -> Any | None:
        """What ``save_stage`` kept under that name in this run, or in the killed one that it resumes."""
        file = self.staging / _STAGES / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def save_stage(self, name: str, data: Any) -> None:
        """Keep a finished stage's JSON data, so that a resumed run need not do it again."""
        write_json(self.staging / _STAGES / f"{name}.json", data)

    def scratch(self, name: str) -> Path:
        """A folder for intermediate files; it lives until the run is finished and is not part of the result."""
        folder = self.staging / _STAGES / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self) -> None:
        """Drop what was only needed for resuming and move the run to its destination in one rename."""
        shutil.rmtree(self.staging / _STAGES)
        (self.staging / _KEY_FILE).unlink()
        old = self._target.parent / f".{self._target.name}.replaced"
        shutil.rmtree(old, ignore_errors=True)
        if self._target.exists():
            self._target.rename(old)
        self.staging.rename(self._target)
        shutil.rmtree(old, ignore_errors=True)
