"""The real timeloop-mapper: the best mapping that it finds in a given time, read back as this package's objects."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from codesign.accelerator.engines.timeloop.engine import read_outputs
from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.front_end import flatten
from codesign.accelerator.engines.timeloop.inputs import check_table, write_tables
from codesign.accelerator.engines.timeloop.installation import Installation, find_installation
from codesign.accelerator.engines.timeloop.process import Finished, Runner, run_program
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.document import read_document
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.loader import Design, parse_mapping
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.writer import problem_to_yaml
from codesign.errors import InputError

__all__ = ["TimeloopMapper"]

Metric = Literal["edp", "energy", "latency"]

_METRICS: Map[str, str] = MappingProxyType({"edp": "edp", "energy": "energy", "latency": "delay"})
_LARGE = 2**31 - 1
_END_SECONDS = 60.0
_PAST = frozenset({"problem", "mapping", "mapper", "mapspace", "ERT", "ART"})
"""Sections of the design's files that must not reach the mapper: it is given its own."""


@dataclass(frozen=True)
class TimeloopMapper:
    """Runs timeloop-mapper; ``TimeloopMapper.found()`` looks for it.

    Its own limits end many searches without a mapping (1000 invalid ones in a row, 500 without improvement), so they
    are lifted and the search is ended by time: the first SIGINT makes it write the best mapping that it has.

    Args:
        installation: the programs.
        threads: the search is deterministic for a given number, up to when it is ended.
        algorithm: one of the program's (random_pruned, hybrid, linear_pruned, exhaustive, random).
        runner: what runs the programs; a seam for tests.
    """

    installation: Installation
    threads: int = 1
    algorithm: str = "random_pruned"
    runner: Runner = run_program

    @classmethod
    def found(cls, *, threads: int = 1) -> TimeloopMapper:
        """With the programs on PATH; ProgramError if they are missing or broken."""
        installation = find_installation()
        installation.require()
        return cls(installation, threads)

    def search(
        self, design: Design, problem: Problem, energy: EnergyTable, *, seconds: float, objective: Metric = "edp"
    ) -> tuple[Mapping, Result] | Infeasible:
        """The best mapping found within ``seconds``, with the program's own numbers for it.

        The design's files are read by the real front end, constraints included.

        Raises:
            InputError: a file of the design also holds a problem, a mapping or tables; a table is not complete.
            ProgramError: a program is missing, crashes, hangs, or writes what cannot be its answer.
        """
        check_table(energy, design.architecture)
        _, front_end = self.installation.require()
        mapper = self.installation.mapper
        if mapper is None:
            raise ProgramError("timeloop-mapper is not installed", fix="; or ".join(self.installation.routes))
        with tempfile.TemporaryDirectory(prefix="codesign-timeloop-mapper-") as name:
            folder = Path(name)
            files = (*_design_files(design), *self._own_files(problem, objective, folder))
            tables = write_tables(energy, design.architecture, folder)
            flat = flatten(
                files, folder, "mapper", front_end=front_end, runner=self.runner, timeout_seconds=_END_SECONDS
            )
            try:
                done = self.runner(
                    [str(mapper), str(flat), str(tables)], folder, _END_SECONDS, interrupt_seconds=seconds
                )
            except OSError as error:
                raise ProgramError(f"timeloop-mapper cannot be started: {error}") from error
            return _best(design, problem, energy, done, folder, seconds)

    def _own_files(self, problem: Problem, objective: Metric, folder: Path) -> tuple[Path, Path]:
        paths = folder / "problem.yaml", folder / "mapper.yaml"
        paths[0].write_text(problem_to_yaml(problem), encoding="utf-8")
        paths[1].write_text(
            "mapper:\n"
            "  version: 0.4\n"
            f"  algorithm: {self.algorithm}\n"
            f"  optimization_metric: [{_METRICS[objective]}]\n"
            f"  num_threads: {self.threads}\n"
            f"  timeout: {_LARGE}\n"
            "  victory_condition: 0\n"
            "  search_size: 0\n"
            "  live_status: false\n",
            encoding="utf-8",
        )
        return paths


def _design_files(design: Design) -> tuple[Path, ...]:
    """The files that say something of the design; what they say besides must be in files of its own."""
    found = []
    for path in design.paths:
        sections = set(read_document([path]).sections)
        if not sections - _PAST:
            continue
        if sections & _PAST:
            raise InputError(
                "for the real mapper a file with the design may hold nothing else",
                got=", ".join(sorted(sections & _PAST)),
                path=path,
                fix="move these sections to another file",
            )
        found.append(path.absolute())
    return tuple(found)


def _best(
    design: Design, problem: Problem, energy: EnergyTable, done: Finished, folder: Path, seconds: float
) -> tuple[Mapping, Result] | Infeasible:
    if done.returncode != 0:
        raise ProgramError(f"timeloop-mapper failed ({done.how})", output=done.output)
    written = folder / "timeloop-mapper.map.yaml"
    stats = folder / "timeloop-mapper.stats.txt"
    if not stats.is_file():
        raise ProgramError("timeloop-mapper ended with exit 0 but wrote no stats", output=done.output)
    if not stats.stat().st_size:
        # Exit 0 and empty files are its way of saying so.
        return Infeasible(
            level=design.architecture.name,
            demand=1,
            capacity=0,
            unit="mappings",
            message=f"timeloop-mapper found no valid mapping in {seconds:g} s",
            levers=("more time", "weaker constraints"),
        )
    if not written.is_file():
        raise ProgramError("timeloop-mapper wrote no map.yaml: its version is unknown", output=done.output)
    bare = replace(design, directives=())
    mapping = parse_mapping(written.read_text("utf-8", "replace"), bare, problem, name=written.name)
    case = Case(problem.name, design.architecture, problem, mapping, design.sparse, energy)
    return mapping, read_outputs(case, done, stats, folder / "timeloop-mapper.map+stats.xml")
