"""``codesign crosscheck``: two engines on the same cases, or one against recorded answers of the real program."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import UnusedSeedOption, check_output_file
from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.accelerator.engines import Engine
    from codesign.accelerator.engines.comparison import Comparison
    from codesign.accelerator.spec.case import Case

__all__ = ["crosscheck"]

_DIFFERENT = 1
_SHOWN = 3


def crosscheck(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CASE...", help="Folders, each one case with its mapping and energies."),
    ] = None,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Compare the embedded engine with the expected.json files under DIR instead."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one of Timeloop's programs may run.")] = 300,
    keep_files: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the files of Timeloop's runs there.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the comparison as JSON.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only the exit code says whether all cases agree.")
    ] = False,
    seed: UnusedSeedOption = 0,
) -> None:
    """Check the embedded engine against the real Timeloop: differences per count, in one table.

    Exit code 0: all cases agree; 1: some differ.

    Example: codesign crosscheck cases/*/ --json differences.json
    """
    from codesign.accelerator.engines.comparison import summarise

    del seed
    check_output_file(json_path, "--json")
    if bool(paths) == bool(recorded):
        raise InputError(
            "cases are given either as folders, for both engines, or with --recorded",
            fix="codesign crosscheck CASE... or codesign crosscheck --recorded DIR",
        )
    if recorded:
        comparisons = _all(_recorded(recorded), None, quiet=quiet)
        other = "recorded answers"
    else:
        from codesign.accelerator.engines.timeloop import TimeloopEngine

        engine = TimeloopEngine.found(timeout_seconds=timeout, keep=keep_files)
        comparisons = _all(paths or [], engine, quiet=quiet)
        other = ", ".join(f"{name} {version}" for name, version in engine.installation.versions().items())
    if json_path is not None:
        from codesign.store import write_json

        rows = [row.to_json() for row in summarise(comparisons)]
        cases = [_case_json(comparison) for comparison in comparisons]
        agree = sum(comparison.agrees for comparison in comparisons)
        write_json(json_path, {"against": other, "agree": agree, "cases": cases, "quantities": rows})
    if not quiet:
        _report(comparisons, other)
    if not all(comparison.agrees for comparison in comparisons):
        raise typer.Exit(_DIFFERENT)


def _recorded(folders: Sequence[Path]) -> list[Path]:
    """Every folder with a recorded answer below the given ones."""
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError("a folder of recorded cases is needed", got=str(folder), key="--recorded")
        answers = sorted(path.parent for path in folder.rglob("expected.json"))
        if not answers:
            raise InputError("there is no expected.json below the folder", got=str(folder), key="--recorded")
        found += answers
    return found


def _all(folders: Sequence[Path], engine: Engine | None, *, quiet: bool) -> list[Comparison]:
    from codesign.accelerator.engines.comparison import Comparison
    from codesign.cli.progress import RichProgress

    found = []
    with RichProgress(enabled=not quiet and sys.stderr.isatty()) as progress:
        for done, folder in enumerate(folders):
            progress("crosscheck", done, len(folders), folder.name)
            try:
                found.append(_one(folder, engine))
            except InputError as error:
                found.append(Comparison(folder.resolve().name, disagreement=str(error)))
        progress("crosscheck", len(folders), len(folders))
    return found


def _one(folder: Path, engine: Engine | None) -> Comparison:
    from codesign.accelerator.engines import embedded
    from codesign.accelerator.engines.comparison import compare, read_recorded
    from codesign.accelerator.engines.timeloop.verdict import read_verdict

    case = _load(folder)
    if engine is not None:
        second = engine(case).to_json()
    else:
        second = dict(read_recorded(folder))
        # A recorded refusal is the program's own line: it tells level, demand and capacity.
        told = None if second["legal"] else read_verdict(str(second.get("message", "")), case)
        second = second if told is None else told.to_json()
    return compare(case.name, embedded.simulate(case, semantics="compat").to_json(), second)


def _load(folder: Path) -> Case:
    from codesign.accelerator.spec.loader import case_files, load_case

    if not folder.is_dir():
        raise InputError("a case is a folder", path=folder, fix="e.g. with arch, problem, mapping and ert.yaml in it")
    case = load_case(case_files(folder), name=folder.resolve().name)
    if case.energy is not None:
        return case
    from codesign.accelerator.energy import estimate

    # Both engines get the same energies; whose does not matter for the comparison.
    table = estimate(case.architecture, case.sparse, compound_classes=case.compound_classes)
    return replace(case, energy=table)


def _case_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "case": comparison.case,
        "agrees": comparison.agrees,
        "disagreement": comparison.disagreement,
        "differences": [
            {"quantity": found.name, "place": found.place, "embedded": found.first, "other": found.second}
            for found in comparison.differences
        ],
    }


def _report(comparisons: Sequence[Comparison], other: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from codesign.accelerator.engines.comparison import summarise

    console = Console()
    table = Table("quantity", box=None, title=f"embedded engine against {other}", title_justify="left")
    for heading in ("compared", "different", "largest difference"):
        table.add_column(heading, justify="right")
    table.add_column("where")
    for row in summarise(comparisons):
        largest = f"{row.largest_relative:.2%}" if row.different else ""
        table.add_row(row.name, f"{row.compared:,}", f"{row.different:,}", largest, row.where)
    console.print(table)
    for line in _differing(comparisons):
        console.print(line, markup=False, highlight=False)
    agree = sum(comparison.agrees for comparison in comparisons)
    illegal = sum(comparison.agrees and not comparison.quantities for comparison in comparisons)
    console.print(f"{agree} of {len(comparisons)} cases agree ({illegal} of them call the mapping illegal)")


def _differing(comparisons: Sequence[Comparison]) -> Iterator[str]:
    for comparison in comparisons:
        if comparison.disagreement is not None:
            yield f"{comparison.case}: {comparison.disagreement}"
        for found in comparison.differences[:_SHOWN]:
            place = f"{found.place}: " if found.place else ""
            yield f"{comparison.case}: {place}{found.name}: embedded {found.first:.10g}, other {found.second:.10g}"
        if len(comparison.differences) > _SHOWN:
            yield f"{comparison.case}: {len(comparison.differences) - _SHOWN} more"
