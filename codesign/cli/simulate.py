"""``codesign simulate``: counts, cycles and energy of mappings, from Timeloop v0.4 files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import check_output_file
from codesign.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.accelerator.result import Infeasible, Result
    from codesign.accelerator.spec.case import Case

__all__ = ["simulate"]

_INFEASIBLE = 3
_BAD_INPUT = 2


class Engine(StrEnum):
    """What computes the answer."""

    EMBEDDED = "embedded"
    TIMELOOP = "timeloop"


class Semantics(StrEnum):
    """``compat`` reproduces the real program's quirks, ``clean`` clamps and warns."""

    CLEAN = "clean"
    COMPAT = "compat"


class StrideRule(StrEnum):
    """Rule for the reuse of sliding windows: Timeloop's since a12fff5 (January 2025), or the one before."""

    CURRENT = "current"
    PRE_A12FFF5 = "pre_a12fff5"


def simulate(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="YAML files that together make one case, or folders, each one case."),
    ],
    engine: Annotated[Engine, typer.Option(help="What computes the answer.")] = Engine.EMBEDDED,
    semantics: Annotated[
        Semantics, typer.Option(help="compat: with the real program's quirks; clean: clamped, with a warning.")
    ] = Semantics.CLEAN,
    stride_rule: Annotated[
        StrideRule, typer.Option(help="Reuse of sliding windows as in Timeloop since a12fff5, or before.")
    ] = StrideRule.CURRENT,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the results as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No tables, no warnings.")] = False,
    seed: Annotated[int, typer.Option(help="Accepted by every command; a simulation draws nothing at random.")] = 0,
) -> None:
    """Simulate mappings on accelerators: counts, cycles and energy.

    Example: codesign simulate arch.yaml problem.yaml mapping.yaml ert.yaml --json result.json
    """
    del seed
    if engine is Engine.TIMELOOP:
        raise InputError(
            "the engine `timeloop` is not driven yet", key="--engine", fix="use --engine embedded; it gives its numbers"
        )
    check_output_file(json_path, "--json")
    cases = _cases(paths)
    if len(cases) == 1:
        outcomes = [_run(*cases[0], semantics, stride_rule)]
    else:
        outcomes = _run_all(cases, semantics, stride_rule, quiet=quiet)
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, [{"case": outcome.name, "result": outcome.to_json()} for outcome in outcomes])
    if not quiet:
        _report(outcomes)
    bad = [outcome for outcome in outcomes if isinstance(outcome.result, InputError)]
    for outcome in bad:
        typer.echo(f"codesign: error: {outcome.name}: {outcome.result}", err=True)
    if bad:
        raise typer.Exit(_BAD_INPUT)
    if len(outcomes) == 1 and not outcomes[0].legal:
        raise typer.Exit(_INFEASIBLE)


class _Outcome:
    """One case and what came of it: a result, the reason why its mapping is illegal, or the error in its input."""

    def __init__(self, name: str, case: Case | None, result: Result | Infeasible | InputError) -> None:
        self.name = name
        self.case = case
        self.result = result

    @property
    def legal(self) -> bool:
        """True if there are numbers."""
        return not isinstance(self.result, InputError) and self.result.legal

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the front end and the engine had to assume, ignore or clamp."""
        front = () if self.case is None else self.case.warnings
        return (*front, *getattr(self.result, "warnings", ()))

    def to_json(self) -> dict[str, Any]:
        """The ``R`` of the contract; bad input in one of several cases is marked as such."""
        if isinstance(self.result, InputError):
            return {"legal": False, "bad_input": True, "message": str(self.result)}
        return {**self.result.to_json(), "warnings": list(self.warnings)}


def _cases(paths: Sequence[Path]) -> list[tuple[str, tuple[Path, ...]]]:
    """Name and files of every case: each folder is one, all loose files together are one, named after their folder."""
    from codesign.accelerator.spec.loader import case_files

    unique = list(dict.fromkeys(paths))
    cases = [(path.resolve().name, case_files(path)) for path in unique if path.is_dir()]
    loose = tuple(path for path in unique if not path.is_dir())
    return [*cases, (loose[0].resolve().parent.name, loose)] if loose else cases


def _run(name: str, files: Sequence[Path], semantics: Semantics, stride_rule: StrideRule) -> _Outcome:
    """Load and simulate one case; energies that its files do not give are estimated."""
    from codesign.accelerator.engines import embedded
    from codesign.accelerator.spec.loader import load_case

    case = load_case(files, name=name)
    if case.energy is None:
        from codesign.accelerator.energy import estimate

        table = estimate(case.architecture, case.sparse, compound_classes=case.compound_classes)
        case = replace(case, energy=table)
    result = embedded.simulate(
        case,
        semantics="compat" if semantics is Semantics.COMPAT else "clean",
        stride_rule="current" if stride_rule is StrideRule.CURRENT else "pre_a12fff5",
    )
    return _Outcome(name, case, result)


def _run_all(
    cases: Sequence[tuple[str, tuple[Path, ...]]], semantics: Semantics, stride_rule: StrideRule, *, quiet: bool
) -> list[_Outcome]:
    """Every case in turn; bad input in one is reported at the end and does not lose the others."""
    from codesign.cli.progress import RichProgress

    outcomes = []
    with RichProgress(enabled=not quiet and sys.stderr.isatty()) as progress:
        for done, (name, files) in enumerate(cases):
            progress("simulate", done, len(cases), name)
            try:
                outcomes.append(_run(name, files, semantics, stride_rule))
            except InputError as error:
                outcomes.append(_Outcome(name, None, error))
        progress("simulate", len(cases), len(cases))
    return outcomes


def _report(outcomes: Sequence[_Outcome]) -> None:
    from rich.console import Console

    console = Console()
    if len(outcomes) == 1:
        outcome = outcomes[0]
        if isinstance(outcome.result, InputError) or not outcome.result.legal:
            console.print(f"{outcome.name}: {_why(outcome)}", markup=False, highlight=False)
        else:
            console.print(_levels_table(outcome))
    else:
        console.print(_cases_table(outcomes))
    for outcome in outcomes:
        for warning in outcome.warnings:
            typer.echo(f"codesign: warning: {outcome.name}: {warning}", err=True)


def _why(outcome: _Outcome) -> str:
    """Why there are no numbers."""
    if isinstance(outcome.result, InputError):
        return "bad input"
    levers = getattr(outcome.result, "levers", ())
    hint = f" (what helps: {', '.join(levers)})" if levers else ""
    return f"illegal mapping: {getattr(outcome.result, 'message', '')}{hint}"


def _cases_table(outcomes: Sequence[_Outcome]) -> Table:
    from rich.table import Table

    from codesign.accelerator.result import Result

    table = Table("case", box=None)
    for heading in ("cycles", "energy pJ", "utilization"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for outcome in outcomes:
        if isinstance(outcome.result, Result):
            numbers = (
                f"{outcome.result.cycles:,}",
                f"{outcome.result.energy_pJ:,.2f}",
                f"{outcome.result.utilization:.4f}",
            )
            table.add_row(outcome.name, *numbers, "")
        else:
            table.add_row(outcome.name, "", "", "", getattr(outcome.result, "message", "bad input"))
    return table


def _levels_table(outcome: _Outcome) -> Table:
    """Accesses per instance and energies over all instances, level by level, with the totals in the caption."""
    from rich.table import Table

    from codesign.accelerator.result import Result

    result = outcome.result
    table = Table("level", "dataspace", title=outcome.name, title_justify="left", box=None)
    for heading in ("reads", "fills", "updates", "capacity", "energy pJ"):
        table.add_column(heading, justify="right")
    if not isinstance(result, Result):
        return table
    for name, level in result.levels.items():
        for dataspace, stats in level.dataspaces.items():
            counts = (stats.actual_reads, stats.actual_fills, stats.actual_updates, stats.utilized_capacity)
            table.add_row(name, dataspace, *(f"{count:,}" for count in counts), f"{stats.energy_pJ:,.2f}")
        table.add_row(name, "(leakage)", "", "", "", "", f"{level.leakage_pJ:,.2f}")
    computes = result.computes
    for what, count in (("done", computes.actual), ("gated", computes.gated), ("skipped", computes.skipped)):
        energy = f"{computes.energy_pJ:,.2f}" if what == "done" else ""
        table.add_row("compute", f"({what})", f"{count:,}", "", "", "", energy)
    energy, utilization = f"energy {result.energy_pJ:,.2f} pJ", f"utilization {result.utilization:.4f}"
    table.caption, table.caption_justify = f"cycles {result.cycles:,}   {energy}   {utilization}", "left"
    return table
