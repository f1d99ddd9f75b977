"""The real timeloop-model as an engine: the same ``Case`` in, the same ``Result`` or ``Infeasible`` out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.front_end import flatten
from codesign.accelerator.engines.timeloop.inputs import BeyondTimeloopError, check_case, write_case
from codesign.accelerator.engines.timeloop.installation import Installation, find_installation
from codesign.accelerator.engines.timeloop.mask_pass import simulate_with_mask_pass
from codesign.accelerator.engines.timeloop.process import Finished, Runner, run_program
from codesign.accelerator.engines.timeloop.reading import join_stats
from codesign.accelerator.engines.timeloop.stats_text import StatsError, read_stats_text
from codesign.accelerator.engines.timeloop.stats_xml import read_stats_xml
from codesign.accelerator.engines.timeloop.verdict import read_verdict
from codesign.accelerator.model import Semantics, StrideRule
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.errors import InputError

__all__ = ["TimeloopEngine", "read_outputs"]

DEFAULT_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class TimeloopEngine:
    """Runs timeloop-model; ``TimeloopEngine.found()`` looks for it.

    Args:
        installation: the programs.
        timeout_seconds: limit for the front end and for the simulator, each. One sparse evaluation of a large layer can
            take minutes.
        keep: folder in which the files of every run stay, one folder a case; None removes them (those of a run that
            failed stay, and the error names them).
        runner: what runs the programs; a seam for tests.
    """

    installation: Installation
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    keep: Path | None = None
    runner: Runner = run_program

    @classmethod
    def found(cls, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, keep: Path | None = None) -> TimeloopEngine:
        """With the programs on PATH.

        Raises:
            ProgramError: they are missing or broken; the message says how upstream installs them.
        """
        installation = find_installation()
        installation.require()
        return cls(installation, timeout_seconds, keep)

    def __call__(
        self, case: Case, *, semantics: Semantics = "clean", stride_rule: StrideRule = "current"
    ) -> Result | Infeasible:
        """Simulate one case. The semantics are the real program's, whichever are asked for.

        Zeros and masks that it cannot be told of are this package's own pass over its dense counts (mask_pass.py),
        with ``semantics``; the result's warnings say so.

        Raises:
            InputError: the case is not complete, or Timeloop cannot express it.
            ProgramError: a program is missing, crashes, hangs, or writes what cannot be its answer.
        """
        if stride_rule != "current":
            raise InputError(
                "the stride rule of the real Timeloop is that of the installed version",
                got=stride_rule,
                key="--stride-rule",
                fix="use --engine embedded for the rule before a12fff5",
            )
        try:
            case.mapping.check(case.architecture, case.problem)
        except ValueError as error:
            raise InputError(str(error), key=f"{case.name}.mapping") from error
        try:
            check_case(case)
        except BeyondTimeloopError as error:
            return simulate_with_mask_pass(case, self, error.rule, semantics=semantics)
        return self._run(case)

    def _run(self, case: Case) -> Result | Infeasible:
        model, front_end = self.installation.require()
        with self._folder(case.name) as folder:
            files = write_case(case, folder)
            flat = flatten(
                files.specification,
                folder,
                "model",
                front_end=front_end,
                runner=self.runner,
                timeout_seconds=self.timeout_seconds,
            )
            outputs = [folder / f"timeloop-model.{name}" for name in ("stats.txt", "map+stats.xml")]
            for path in outputs:
                path.unlink(missing_ok=True)
            try:
                done = self.runner([str(model), str(flat), str(files.tables)], folder, self.timeout_seconds)
            except OSError as error:
                raise ProgramError(f"timeloop-model cannot be started: {error}", folder=folder) from error
            return _answer(case, done, *outputs)

    @contextmanager
    def _folder(self, name: str) -> Iterator[Path]:
        """A folder of the run's own; its path has no spaces, since programs paste it into a shell."""
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:80]
        parent = None if self.keep is None else self.keep.absolute()
        folder = Path(tempfile.mkdtemp(prefix=f"codesign-timeloop-{safe}-", dir=parent))
        if " " in str(folder):
            folder.rmdir()
            raise InputError("the path of a run's folder must have no spaces", got=str(folder), key="--keep-files")
        try:
            yield folder
        except ProgramError:
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if self.keep is None:
            shutil.rmtree(folder)


def _answer(case: Case, done: Finished, stats: Path, archive: Path) -> Result | Infeasible:
    """What the program's end and its files say; an exit code of 0 says nothing."""
    folder = stats.parent
    if done.returncode is None:
        raise ProgramError(
            f"timeloop-model was {done.how}", output=done.output, folder=folder, fix="allow more with --timeout"
        )
    infeasible = read_verdict(done.output, case)
    if infeasible is not None:
        return infeasible
    if done.returncode != 0:
        raise ProgramError(f"timeloop-model failed ({done.how})", output=done.output, folder=folder)
    return read_outputs(case, done, stats, archive)


def read_outputs(case: Case, done: Finished, stats: Path, archive: Path) -> Result:
    """The result in the two files that a run wrote.

    Raises:
        ProgramError: they are missing or empty, or cannot be the program's answer.
    """
    folder = stats.parent
    empty = [path.name for path in (stats, archive) if not path.is_file() or not path.stat().st_size]
    if empty:
        raise ProgramError(
            f"Timeloop ended with exit 0 but wrote no {' and no '.join(empty)}", output=done.output, folder=folder
        )
    place = stats
    try:
        text = read_stats_text(stats.read_text("utf-8", "replace"), case.architecture.compute.name)
        place = archive
        full = read_stats_xml(archive.read_text("utf-8", "replace"), len(case.problem.dataspaces))
        place = folder
        result = join_stats(case, text, full)
    except StatsError as error:
        raise ProgramError(
            f"what Timeloop wrote cannot be its answer: {error}", output=done.output, folder=place
        ) from error
    whose = "counted by the real Timeloop, with its own semantics"
    return replace(result, warnings=(whose, *result.warnings))
