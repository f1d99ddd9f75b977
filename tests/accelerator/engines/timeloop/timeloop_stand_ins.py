"""Stand-ins for the real programs: small scripts on PATH and a package ``pytimeloop`` that behave as told."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from timeloop_rendering import render_text, render_xml

from codesign.accelerator.result import Result
from codesign.accelerator.spec.case import Case

FRONT_END = """
class Specification(list):
    @classmethod
    def from_yaml_files(cls, *files):
        found = cls()
        for name in files:
            with open(name, encoding="utf-8") as file:
                found.append(file.read())
        return found
"""
BACKEND_CALLS = """
def delayed_import():
    pass
def _specification_to_yaml_string(specification, for_model=False):
    {body}
    return "dumped_by_stand_in: true\\n" + "\\n".join(specification)
"""


class StandIns:
    """A folder with programs that comes first on PATH and PYTHONPATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        # The folders of failed runs stay, by design: here they go with the test's own.
        (folder / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")
        monkeypatch.setenv("PYTHONPATH", str(folder / "lib"))
        monkeypatch.setenv("CODESIGN_TIMELOOP_PYTHON", sys.executable)

    def program(self, name: str, script: str) -> Path:
        """A shell script of that name."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def front_end(self, *, body: str = "pass", at_import: str = "") -> None:
        """A package ``pytimeloop``; ``body`` runs before it answers."""
        package = self.folder / "lib" / "pytimeloop"
        parts = {"": at_import, "timeloopfe": "", "timeloopfe/v4": FRONT_END, "timeloopfe/common": ""}
        for name, text in parts.items():
            (package / name).mkdir(parents=True, exist_ok=True)
            (package / name / "__init__.py").write_text(text)
        (package / "timeloopfe/common/backend_calls.py").write_text(BACKEND_CALLS.format(body=body))

    def model(self, before: str = "", *, stats: str | None = None, xml: str | None = None, after: str = "") -> Path:
        """A ``timeloop-model`` that writes the given files into its folder."""
        lines = [before]
        for name, text in (("timeloop-model.stats.txt", stats), ("timeloop-model.map+stats.xml", xml)):
            if text is not None:
                source = self.folder / name
                source.write_text(text)
                lines.append(f"cp '{source}' '{name}'")
        return self.program("timeloop-model", "\n".join([*lines, after]))

    def answering(self, case: Case, result: Result) -> Path:
        """A ``timeloop-model`` that writes this result."""
        utilized = utilized_instances(result)
        return self.model(stats=render_text(case, result, utilized), xml=render_xml(case, result, utilized))


def utilized_instances(result: Result) -> dict[tuple[str, str], float]:
    """Utilised instances by (level, dataspace)."""
    return {
        (name, dataspace): level.utilized_instances
        for name, level in result.levels.items()
        for dataspace in level.dataspaces
    }
