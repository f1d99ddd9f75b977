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

__all__ = ["RunFolder", "write_json"]

_KEY_FILE = "run-key.txt"
_STAGES = "stages"


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically; NaN and infinities are refused, since no report may show them."""
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class RunFolder:
    """The folder of one run while it is being written; use it as a context manager.

    Args:
        out: where the finished run goes.
        key: content hash of everything that decides the result.
        force: replace a finished run that is already at ``out``.

    Raises:
        InputError: ``out`` is already there and ``force`` is not set, is not a folder of a run, or is being written.
    """

    def __init__(self, out: Path, key: str, *, force: bool = False) -> None:
        self.out = out
        self.key = key
        self.force = force
        self.staging = out.parent / f".{out.name}.partial"
        self._lock = FileLock(out.parent / f".{out.name}.lock")
        self.resumed = False

    def __enter__(self) -> Self:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._check_destination()
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                "another run is writing there", path=self.out, key="--out", fix="wait for it, or choose another --out"
            ) from error
        key_file = self.staging / _KEY_FILE
        self.resumed = key_file.is_file() and key_file.read_text(encoding="utf-8") == self.key
        if not self.resumed:
            shutil.rmtree(self.staging, ignore_errors=True)
            (self.staging / _STAGES).mkdir(parents=True)
            key_file.write_text(self.key, encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Bad input leaves nothing behind; an interruption or a fault leaves the staging folder to resume from.
        if kind is not None and issubclass(kind, InputError):
            shutil.rmtree(self.staging, ignore_errors=True)
        # Unlinked while still held, so that no one can lock a file that is about to vanish.
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _check_destination(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise InputError("--out must be a folder", got="a file", path=self.out, key="--out")
        if any(self.out.iterdir()):
            if not self.force:
                raise InputError(
                    "a finished run is already there",
                    path=self.out,
                    key="--out",
                    fix="choose another --out, or --force to replace it",
                )
            if not (self.out / "results.json").is_file():
                raise InputError(
                    "--force replaces runs only, and this folder holds no results.json",
                    path=self.out,
                    key="--out",
                    fix="choose another --out",
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
        old = self.out.parent / f".{self.out.name}.replaced"
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        self.staging.rename(self.out)
        shutil.rmtree(old, ignore_errors=True)
