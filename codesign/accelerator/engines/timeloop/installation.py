"""What of Timeloop and Accelergy is installed, which versions, and how to get the rest.

Nothing of it is on PyPI (the `timeloop` there is something else). Upstream's routes are in ``ROUTES``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from codesign.accelerator.engines.timeloop.errors import ProgramError, last_lines
from codesign.accelerator.engines.timeloop.process import Runner, run_program

__all__ = ["KNOWN", "PYTHON_VARIABLE", "ROUTES", "FrontEnd", "Installation", "find_installation"]

PYTHON_VARIABLE = "CODESIGN_TIMELOOP_PYTHON"
"""Environment variable: the Python that has pytimeloop, where it is not the one that runs this package."""

KNOWN = "Timeloop 4cf6d4c (March 2025), Accelergy 0.4, timeloop-python b8aaf2c and 91ae9e4 (April 2025)"
"""The versions that the wrapper was written for."""

ROUTES = (
    "the container image timeloopaccelergy/timeloop-accelergy-pytorch:latest-amd64 (or -arm64)",
    "a native build of github.com/Accelergy-Project/accelergy-timeloop-infrastructure (make pull, make "
    "install_accelergy, make install_timeloop), then pip install -e . in timeloop-python with TIMELOOP_INCLUDE_PATH "
    "and TIMELOOP_LIB_PATH set",
)
"""Upstream's own ways to install."""

_PROBE_SECONDS = 60.0
_PROBE = """
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
found = {"pytimeloop": version("pytimeloop"), "accelergy": version("accelergy"), "error": None, "location": None}
try:
    import pytimeloop.timeloopfe.v4 as v4
    from pytimeloop.timeloopfe.common import backend_calls
    found["location"] = v4.__file__
    if not hasattr(v4, "Specification") or not hasattr(backend_calls, "_specification_to_yaml_string"):
        found["error"] = "its version is unknown: the functions that write Timeloop's input are not where they were"
except ModuleNotFoundError as error:
    found["error"] = None if error.name == "pytimeloop" else f"{type(error).__name__}: {error}"
except BaseException as error:
    found["error"] = f"{type(error).__name__}: {error}"
json.dump(found, sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """A Python and the pytimeloop in it; ``problem`` says why it does not work, None if it does."""

    python: Path
    version: str | None
    accelergy_version: str | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs that were found; None where one was not."""

    model: Path | None = None
    mapper: Path | None = None
    accelergy: Path | None = None
    front_end: FrontEnd | None = None
    routes: tuple[str, ...] = field(default=ROUTES)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is missing for simulations with a given energy table."""
        found = {"timeloop-model": self.model, "pytimeloop (Python)": self.front_end}
        return tuple(name for name, what in found.items() if what is None)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is installed but does not work."""
        if self.front_end is None or self.front_end.problem is None:
            return ()
        return (f"pytimeloop in {self.front_end.python}: {self.front_end.problem}",)

    @property
    def works(self) -> bool:
        """True if simulations can be tried."""
        return not self.missing and not self.problems

    def versions(self) -> dict[str, str]:
        """Version of each part that was found. The C++ programs know none: theirs is a hash of the file."""
        found = {
            name: f"sha256 {_fingerprint(path)}"
            for name, path in (("timeloop-model", self.model), ("timeloop-mapper", self.mapper))
            if path is not None
        }
        if self.accelergy is not None:
            known = self.front_end.accelergy_version if self.front_end else None
            found["accelergy"] = known or f"sha256 {_fingerprint(self.accelergy)}"
        if self.front_end is not None:
            found["pytimeloop"] = self.front_end.version or "unknown version"
        return found

    def require(self) -> tuple[Path, FrontEnd]:
        """The simulator and the front end.

        Raises:
            ProgramError: one is missing or broken; the message says how upstream installs them.
        """
        if self.model is None or self.front_end is None:
            raise ProgramError(
                f"the engine `timeloop` needs programs that are not installed: {', '.join(self.missing)}",
                fix="use --engine embedded, or install them: " + "; or ".join(self.routes),
            )
        if self.front_end.problem is not None:
            raise ProgramError(
                "Timeloop's front end is installed but does not work",
                output=self.problems[0],
                fix=f"the wrapper was written for {KNOWN}",
            )
        return self.model, self.front_end


def find_installation(environment: Mapping[str, str] | None = None, runner: Runner = run_program) -> Installation:
    """Look for the programs on PATH and for a Python with pytimeloop (tries at most two of them)."""
    environment = os.environ if environment is None else environment
    path = environment.get("PATH")
    programs = {name: shutil.which(name, path=path) for name in ("timeloop-model", "timeloop-mapper", "accelergy")}
    found = {name: None if where is None else Path(where).absolute() for name, where in programs.items()}
    return Installation(
        model=found["timeloop-model"],
        mapper=found["timeloop-mapper"],
        accelergy=found["accelergy"],
        front_end=_front_end(environment, runner),
    )


def _front_end(environment: Mapping[str, str], runner: Runner) -> FrontEnd | None:
    """The first Python that has pytimeloop; the user's choice is the only one tried."""
    chosen = environment.get(PYTHON_VARIABLE)
    candidates = [chosen] if chosen else [sys.executable, shutil.which("python3", path=environment.get("PATH"))]
    for python in dict.fromkeys(candidate for candidate in candidates if candidate):
        found = _probe(Path(python), runner)
        if found is not None:
            return found
    return None


def _probe(python: Path, runner: Runner) -> FrontEnd | None:
    """What the Python says of its pytimeloop; None if it has none."""
    with tempfile.TemporaryDirectory(prefix="codesign-probe-") as folder:
        try:
            done = runner([str(python), "-c", _PROBE], Path(folder), _PROBE_SECONDS)
        except OSError as error:
            return FrontEnd(python, None, None, f"it cannot be started: {error}")
    try:
        # C++ bindings may print before.
        told = json.loads(done.stdout[done.stdout.rindex('{"pytimeloop"') :])
    except ValueError:
        return FrontEnd(python, None, None, f"importing it ends with {done.how}: {last_lines(done.output).strip()}")
    if told["location"] is None and told["error"] is None:
        return None
    return FrontEnd(python, told["pytimeloop"], told["accelergy"], told["error"])


def _fingerprint(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]
