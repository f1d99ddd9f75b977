"""Runs one of the real programs: its own folder and session, nothing on stdin, a time limit, a clean environment.

This is the seam for tests: an engine calls whatever ``Runner`` it is given.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Finished", "Runner", "clean_environment", "run_program"]

_MOST_BYTES = 200_000
_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "TMPDIR",
    "TIMELOOP_INCLUDE_PATH",
    "TIMELOOP_LIB_PATH",
    "TIMELOOP_BASE_PATH",
)
_SET: Mapping[str, str] = {
    "LC_ALL": "C.UTF-8",
    # All levels and networks are printed, so that one that is missing is an error and not a zero.
    "TIMELOOP_HIDE_INCONSEQUENTIAL_STATS": "0",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended; ``returncode`` is negative for a signal, None if it ran past its time."""

    returncode: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        """Everything that it printed, errors last."""
        return f"{self.stdout}\n{self.stderr}"

    @property
    def how(self) -> str:
        """How it ended, for a message: "exit 1", "SIGABRT", "stopped after 60 s"."""
        if self.returncode is None:
            return f"stopped after {self.seconds:.0f} s without an end"
        number = -self.returncode if self.returncode < 0 else self.returncode - 128
        # A shell in between says 128 + signal.
        if self.returncode < 0 or self.returncode > 128:
            try:
                return f"killed by {signal.Signals(number).name}"
            except ValueError:
                return f"exit {self.returncode}"
        return f"exit {self.returncode}"


class Runner(Protocol):
    """Anything that can run a command the way ``run_program`` does."""

    def __call__(
        self, command: Sequence[str], folder: Path, timeout_seconds: float, *, interrupt_seconds: float | None = None
    ) -> Finished:
        """Run ``command`` in ``folder``; OSError if it cannot be started."""
        ...


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that programs need; those that change Timeloop's numbers or print format are left out."""
    return {**{name: environment[name] for name in _PASSED_ON if name in environment}, **_SET}


def run_program(
    command: Sequence[str], folder: Path, timeout_seconds: float, *, interrupt_seconds: float | None = None
) -> Finished:
    """Run a command in ``folder`` and wait for it; past its time the whole process group is killed.

    With ``interrupt_seconds`` it gets a SIGINT after that time (timeloop-mapper then writes the best it has) and
    ``timeout_seconds`` more to end.

    Output goes to files in the folder (a chatty program cannot fill the memory); their ends are returned.

    Raises:
        OSError: the program cannot be started.
    """
    began = time.monotonic()
    out, err = folder / "stdout.log", folder / "stderr.log"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        returncode: int | None
        try:
            returncode = _wait(process, timeout_seconds, interrupt_seconds)
        except subprocess.TimeoutExpired:
            returncode = None
        finally:
            _end(process)
    return Finished(returncode, _tail(out), _tail(err), time.monotonic() - began)


def _wait(process: subprocess.Popen[bytes], timeout_seconds: float, interrupt_seconds: float | None) -> int:
    if interrupt_seconds is not None:
        try:
            return process.wait(interrupt_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    return process.wait(timeout_seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the program's process group (children too); also when the user interrupts."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_BYTES))
        return file.read().decode("utf-8", "replace")
