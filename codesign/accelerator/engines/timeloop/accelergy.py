"""The real Accelergy: energy and area tables of a design, kept by the design's content and the programs' versions."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.front_end import flatten
from codesign.accelerator.engines.timeloop.installation import Installation, find_installation
from codesign.accelerator.engines.timeloop.process import Runner, run_program
from codesign.accelerator.spec.document import read_document
from codesign.accelerator.spec.energy_table import EnergyTable, Provenance
from codesign.accelerator.spec.tables_reader import read_tables
from codesign.errors import InputError

__all__ = ["Accelergy", "cache_folder"]

_TABLES = ("ERT.yaml", "ART.yaml")
_NO_DESIGN = frozenset({"problem", "mapping", "mapper", "mapspace"})
_ANY_PROBLEM = """problem:
  version: 0.4
  shape:
    name: any
    dimensions: [N]
    data_spaces:
    - {name: Inputs, projection: [[[N]]]}
    - {name: Weights, projection: [[[N]]]}
    - {name: Outputs, projection: [[[N]]], read_write: true}
  instance: {N: 1}
"""


def cache_folder() -> Path:
    """Where tables are kept: ``$XDG_CACHE_HOME/codesign/accelergy``, by default under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "codesign" / "accelergy"


@dataclass(frozen=True)
class Accelergy:
    """Runs accelergy on a design's files; ``Accelergy.found()`` looks for it.

    Args:
        installation: the programs.
        cache: folder for the tables.
        timeout_seconds: limit for the front end and for accelergy, each.
        runner: what runs the programs; a seam for tests.
    """

    installation: Installation
    cache: Path
    timeout_seconds: float = 300.0
    runner: Runner = run_program

    @classmethod
    def found(cls, *, cache: Path | None = None, timeout_seconds: float = 300.0) -> Accelergy:
        """With the programs on PATH and the user's cache folder."""
        return cls(find_installation(), cache_folder() if cache is None else cache, timeout_seconds)

    def tables(self, files: tuple[Path, ...]) -> EnergyTable:
        """ERT and ART of the design that v0.4 files describe; a problem and a mapping among them change nothing.

        A design that was asked for before, with the same programs, is answered from the cache; a changed file,
        Accelergy or pytimeloop is not. Plug-ins are not part of the key: clear the folder after changing one.

        Raises:
            ProgramError: accelergy is missing, fails, hangs or writes nothing.
            InputError: what it wrote is no energy table.
        """
        if self.installation.accelergy is None:
            raise ProgramError(
                "the files give no ERT, and accelergy, which would make one, is not installed",
                fix="give an ERT, make one with `codesign energy ARCH.yaml --out ert.yaml`, or install Accelergy: "
                + "; or ".join(self.installation.routes),
            )
        files = tuple(path.absolute() for path in files)
        folder = self.cache / self._key(files)
        if not all((folder / name).is_file() for name in _TABLES):
            self._make(files, folder)
        return self._read(folder)

    def _key(self, files: tuple[Path, ...]) -> str:
        design = [path for path in files if set(read_document([path]).sections) - _NO_DESIGN]
        versions = json.dumps(self.installation.versions(), sort_keys=True)
        return sha256(f"{read_document(design).sha256} {versions}".encode()).hexdigest()[:32]

    def _make(self, files: tuple[Path, ...], target: Path) -> None:
        """Run in a folder of its own, then move the tables into place at once."""
        front_end, program = self.installation.front_end, self.installation.accelergy
        if front_end is None or front_end.problem is not None or program is None:
            self.installation.require()
            raise ProgramError("Accelergy needs Timeloop's front end, which does not work")
        with tempfile.TemporaryDirectory(prefix="codesign-accelergy-") as name:
            folder = Path(name)
            flat = flatten(
                _with_problem(files, folder),
                folder,
                "mapper",
                front_end=front_end,
                runner=self.runner,
                timeout_seconds=self.timeout_seconds,
            )
            try:
                done = self.runner([str(program), "-v", str(flat), "-o", f"{folder}/"], folder, self.timeout_seconds)
            except OSError as error:
                raise ProgramError(f"accelergy cannot be started: {error}") from error
            missing = [name for name in _TABLES if not (folder / name).is_file() or not (folder / name).stat().st_size]
            if missing or done.returncode != 0:
                wrote = f", and wrote no {' and no '.join(missing)}" if missing else ""
                raise ProgramError(f"accelergy failed ({done.how}){wrote}", output=done.output)
            self._read(folder)
            target.mkdir(parents=True, exist_ok=True)
            for table in _TABLES:
                temporary = target / f".{table}.{os.getpid()}.tmp"
                temporary.write_bytes((folder / table).read_bytes())
                temporary.replace(target / table)

    def _read(self, folder: Path) -> EnergyTable:
        document = read_document([folder / name for name in _TABLES])
        table = read_tables(document.one("ERT"), document.one("ART"))
        if table is None or not table.energies:
            raise InputError("what accelergy wrote holds no energies", path=folder)
        version = self.installation.versions().get("accelergy", "unknown version")
        origin = Provenance(f"Accelergy {version}, with the plug-ins installed there")
        return replace(
            table,
            energies=tuple(replace(entry, provenance=origin) for entry in table.energies),
            areas=tuple(replace(entry, provenance=origin) for entry in table.areas),
        )


def _with_problem(files: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """The files, and a problem where they have none: the front end does not go without, though energies do."""
    if read_document(files).one("problem") is not None:
        return files
    path = folder / "any_problem.yaml"
    path.write_text(_ANY_PROBLEM, encoding="utf-8")
    return (*files, path)
