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
from codesign.cli.simulate_masks import Findings, Questions, findings
from codesign.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.accelerator.engines import Engine
    from codesign.accelerator.result import Infeasible, Result
    from codesign.accelerator.spec.case import Case
    from codesign.accelerator.spec.energy_table import EnergyTable

__all__ = ["simulate"]

_INFEASIBLE = 3
_BAD_INPUT = 2
_FAILED = 1


class EngineName(StrEnum):
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
    engine: Annotated[
        EngineName, typer.Option(help="What computes the answer; timeloop: the real programs, where installed.")
    ] = EngineName.EMBEDDED,
    semantics: Annotated[
        Semantics, typer.Option(help="compat: with the real program's quirks; clean: clamped, with a warning.")
    ] = Semantics.CLEAN,
    stride_rule: Annotated[
        StrideRule, typer.Option(help="Reuse of sliding windows as in Timeloop since a12fff5, or before.")
    ] = StrideRule.CURRENT,
    waterfall: Annotated[
        bool, typer.Option("--waterfall", help="From superfluous MACs to saved energy, every loss named.")
    ] = False,
    realised: Annotated[
        bool, typer.Option("--realised", help="With actual data: latency with the imbalance between instances.")
    ] = False,
    reorder_channels: Annotated[
        bool, typer.Option("--reorder-channels", help="With --realised: what another order of channels wins back.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the results as JSON.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one of Timeloop's programs may run.")] = 300,
    keep_files: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the files of Timeloop's runs there.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No tables, no warnings.")] = False,
    seed: Annotated[int, typer.Option(help="Accepted by every command; a simulation draws nothing at random.")] = 0,
) -> None:
    """Simulate mappings on accelerators: counts, cycles and energy.

    Example: codesign simulate arch.yaml problem.yaml mapping.yaml ert.yaml --json result.json
    """
    del seed
    check_output_file(json_path, "--json")
    questions = Questions(waterfall, realised, reorder_channels)
    questions.check(engine=engine.value, semantics=semantics.value)
    cases = _cases(paths)
    simulator = _Simulator(engine, semantics, stride_rule, timeout, keep_files, questions)
    outcomes = [simulator.run(*cases[0])] if len(cases) == 1 else _run_all(cases, simulator, quiet=quiet)
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, [{"case": outcome.name, "result": outcome.to_json()} for outcome in outcomes])
    if not quiet:
        _report(outcomes)
    bad = [outcome for outcome in outcomes if isinstance(outcome.result, InputError)]
    for outcome in bad:
        typer.echo(f"codesign: error: {outcome.name}: {outcome.result}", err=True)
    if bad:
        raise typer.Exit(_FAILED if all(outcome.failed for outcome in bad) else _BAD_INPUT)
    if len(outcomes) == 1 and not outcomes[0].legal:
        raise typer.Exit(_INFEASIBLE)


class _Outcome:
    """One case and what came of it: a result, the reason why its mapping is illegal, or the error in its input."""

    def __init__(
        self,
        name: str,
        case: Case | None,
        result: Result | Infeasible | InputError,
        further: Findings | None = None,
    ) -> None:
        self.name = name
        self.case = case
        self.result = result
        self.further = Findings() if further is None else further

    @property
    def legal(self) -> bool:
        """True if there are numbers."""
        return not isinstance(self.result, InputError) and self.result.legal

    @property
    def failed(self) -> bool:
        """True if a program of the engine failed, which is not the input's fault."""
        from codesign.accelerator.engines.timeloop.errors import ProgramError

        return isinstance(self.result, ProgramError)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the front end and the engine had to assume, ignore or clamp."""
        front = () if self.case is None else self.case.warnings
        return (*front, *getattr(self.result, "warnings", ()))

    def to_json(self) -> dict[str, Any]:
        """The ``R`` of the contract; bad input in one of several cases is marked as such."""
        if isinstance(self.result, InputError):
            return {"legal": False, "bad_input": not self.failed, "message": str(self.result)}
        return {**self.result.to_json(), **self.further.to_json(), "warnings": list(self.warnings)}


def _cases(paths: Sequence[Path]) -> list[tuple[str, tuple[Path, ...]]]:
    """Name and files of every case: each folder is one, all loose files together are one, named after their folder."""
    from codesign.accelerator.spec.loader import case_files

    unique = list(dict.fromkeys(paths))
    cases = [(path.resolve().name, case_files(path)) for path in unique if path.is_dir()]
    loose = tuple(path for path in unique if not path.is_dir())
    return [*cases, (loose[0].resolve().parent.name, loose)] if loose else cases


class _Simulator:
    """The chosen engine with its settings; the real programs are looked for once."""

    def __init__(
        self,
        name: EngineName,
        semantics: Semantics,
        stride_rule: StrideRule,
        timeout: float,
        keep: Path | None,
        questions: Questions,
    ) -> None:
        self._name = name
        self._semantics = semantics
        self._stride_rule = stride_rule
        self._timeout = timeout
        self._questions = questions
        self._engine = self._found(keep)

    def run(self, name: str, files: Sequence[Path]) -> _Outcome:
        """Load and simulate one case; energies that its files do not give are estimated."""
        from codesign.accelerator.spec.loader import load_case

        case = load_case(files, name=name)
        if case.energy is None:
            case = replace(case, energy=self._table(case, tuple(files)))
        if self._semantics is Semantics.CLEAN and self._name is EngineName.EMBEDDED:
            from codesign.accelerator.model.rank_check import check_ranks

            check_ranks(case.architecture, case.problem, case.mapping, case.sparse)
        result = self._engine(
            case,
            semantics="compat" if self._semantics is Semantics.COMPAT else "clean",
            stride_rule="current" if self._stride_rule is StrideRule.CURRENT else "pre_a12fff5",
        )
        return _Outcome(name, case, result, findings(case, self._questions) if result.legal else None)

    def _found(self, keep: Path | None) -> Engine:
        if self._name is EngineName.TIMELOOP:
            from codesign.accelerator.engines.timeloop import TimeloopEngine

            return TimeloopEngine.found(timeout_seconds=self._timeout, keep=keep)
        from codesign.accelerator.engines import embedded

        return embedded.simulate

    def _table(self, case: Case, files: tuple[Path, ...]) -> EnergyTable:
        """Energies by this package's estimator, or by Accelergy where the real programs are asked."""
        if self._name is EngineName.TIMELOOP:
            from codesign.accelerator.engines.timeloop.accelergy import Accelergy

            return Accelergy.found(timeout_seconds=self._timeout).tables(files)
        from codesign.accelerator.energy import estimate

        return estimate(case.architecture, case.sparse, compound_classes=case.compound_classes)


def _run_all(cases: Sequence[tuple[str, tuple[Path, ...]]], simulator: _Simulator, *, quiet: bool) -> list[_Outcome]:
    """Every case in turn; bad input in one is reported at the end and does not lose the others."""
    from codesign.cli.progress import RichProgress

    outcomes = []
    with RichProgress(enabled=not quiet and sys.stderr.isatty()) as progress:
        for done, (name, files) in enumerate(cases):
            progress("simulate", done, len(cases), name)
            try:
                outcomes.append(simulator.run(name, files))
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
        for number, table in enumerate(outcome.further.tables()):
            console.print()
            if len(outcomes) > 1 and number == 0:
                console.print(outcome.name, markup=False, highlight=False)
            console.print(table)
    for outcome in outcomes:
        for warning in outcome.warnings:
            typer.echo(f"codesign: warning: {outcome.name}: {warning}", err=True)


def _why(outcome: _Outcome) -> str:
    """Why there are no numbers."""
    if isinstance(outcome.result, InputError):
        return "the engine failed" if outcome.failed else "bad input"
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
