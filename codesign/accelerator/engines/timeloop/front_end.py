"""The real front end: turns v0.4 files into the flat form that timeloop-model, timeloop-mapper and accelergy read.

It runs in a process of its own, in the Python that has pytimeloop: what it imports is no business of this process, and
errors in its C++ part end the interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.installation import KNOWN, FrontEnd
from codesign.accelerator.engines.timeloop.process import Runner

__all__ = ["FLAT_NAME", "flatten"]

FLAT_NAME = "parsed-processed-input.yaml"

_DRIVER = """
import sys
from pytimeloop.timeloopfe import v4
from pytimeloop.timeloopfe.common import backend_calls
target, purpose, *files = sys.argv[1:]
specification = v4.Specification.from_yaml_files(*files)
backend_calls.delayed_import()
text = backend_calls._specification_to_yaml_string(specification, for_model=purpose == "model")
with open(target, "w", encoding="utf-8") as file:
    file.write(text)
"""


def flatten(
    files: Sequence[Path],
    folder: Path,
    purpose: Literal["model", "mapper"],
    *,
    front_end: FrontEnd,
    runner: Runner,
    timeout_seconds: float,
) -> Path:
    """Write the flat form of v0.4 files into ``folder`` (for Accelergy it is that of the mapper).

    Raises:
        ProgramError: the front end refuses the files, crashes, hangs or writes nothing.
    """
    target = folder / FLAT_NAME
    target.unlink(missing_ok=True)
    command = [str(front_end.python), "-c", _DRIVER, str(target), purpose, *(str(path) for path in files)]
    try:
        done = runner(command, folder, timeout_seconds)
    except OSError as error:
        raise ProgramError(f"Timeloop's front end cannot be started: {error}", folder=folder) from error
    if done.returncode != 0 or not target.is_file() or not target.stat().st_size:
        raise ProgramError(
            f"Timeloop's front end wrote no input for the simulator ({done.how})",
            output=done.output,
            folder=folder,
            fix=_advice(done.output) or f"the wrapper was written for {KNOWN}",
        )
    return target


def _advice(output: str) -> str | None:
    if "depth" in output and ("required" in output.lower() or "KeyError" in output or "Missing" in output):
        return (
            "timeloop-python of April 2025 (ada06ac to b8aaf2c) wants a depth for every storage: give the DRAM one, "
            "large enough for the problem"
        )
    return None
