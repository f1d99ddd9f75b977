"""What ``codesign map`` says and writes: a table with totals, JSON, mapping files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from codesign.accelerator.mapper.find import Found
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible

__all__ = ["report_answers", "write_answers"]

_WIDTH = 140
_Answers = Sequence[Found | Infeasible]


def _json(task: Task, answer: Found | Infeasible) -> dict[str, Any]:
    if not isinstance(answer, Found):
        return {"layer": task.problem.name, "best": answer.to_json()}
    return {"layer": task.problem.name, **answer.to_json(task)}


def totals(tasks: Sequence[Task], answers: _Answers) -> dict[str, Any]:
    """Sums over the layers that have a mapping; one after the other, nothing of one overlaps with the next."""
    found = [answer for answer in answers if isinstance(answer, Found)]
    energy_pJ, cycles = sum(one.best.result.energy_pJ for one in found), sum(one.best.result.cycles for one in found)
    different = {id(answer): answer for answer in found}.values()
    return {
        "layers": len(answers),
        "different_layers": len({task.digest() for task in tasks}),
        "mapped": len(found),
        "macs": sum(task.problem.macs for task in tasks),
        "energy_pJ": energy_pJ,
        "cycles": cycles,
        "edp": energy_pJ * cycles,
        "lower_bound": {
            "energy_pJ": sum(one.bound.energy_pJ for one in found),
            "cycles": sum(one.bound.cycles for one in found),
        },
        "evaluated": sum(one.evaluated for one in different),
        "search_seconds": sum(one.seconds for one in different),
    }


def write_answers(
    tasks: Sequence[Task], answers: _Answers, model: str | None, out: Path | None, json_path: Path | None
) -> None:
    """The mapping of a single task to ``out``; everything to ``json_path``: of one problem an object, else a list."""
    if json_path is not None:
        from codesign.store import write_json

        rows = [_json(task, answer) for task, answer in zip(tasks, answers, strict=True)]
        if model is not None:
            named = {"model": model, "architecture": tasks[0].architecture.name}
            write_json(json_path, {**named, "total": totals(tasks, answers), "layers": rows})
        else:
            write_json(json_path, rows[0] if len(rows) == 1 else {"layers": rows})
    if out is not None and isinstance(answers[0], Found):
        from codesign.accelerator.spec.writer import mapping_to_yaml

        text = mapping_to_yaml(answers[0].best.mapping, tasks[0].architecture, tasks[0].problem)
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out)


def report_answers(tasks: Sequence[Task], answers: _Answers, *, explained: bool) -> None:
    """The table on standard output; what has no mapping, and why, on standard error."""
    from rich.console import Console
    from rich.table import Table

    from codesign.accelerator.mapper.explain import explain

    table = Table("layer", box=None)
    for heading in ("cycles", "energy uJ", "pJ x cycles", "/ bound", "used", "tried", "s"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for task, answer in zip(tasks, answers, strict=True):
        if isinstance(answer, Found):
            for cells in _rows(answer):
                table.add_row(task.problem.name, *cells)
        else:
            table.add_row(task.problem.name, *[""] * 7, "no legal mapping")
    if len(tasks) > 1:
        table.add_row(*_total(tasks, answers), style="bold")
    # A file or a pipe has no width of its own to squeeze the numbers into.
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)
    for task, answer in zip(tasks, answers, strict=True):
        if not isinstance(answer, Found):
            hint = f" (what helps: {'; '.join(answer.levers)})" if answer.levers else ""
            typer.echo(f"{task.problem.name}: no legal mapping: {answer.message}{hint}", err=True)
        elif explained:
            typer.echo("\n" + explain(task, answer.best.mapping, answer.best.result))


def _rows(answer: Found) -> list[list[str]]:
    """Cells of every mapping of the front."""
    rows = []
    for result in (candidate.result for candidate in answer.front):
        product = result.energy_pJ * result.cycles
        rows.append(
            [
                f"{result.cycles:,}",
                f"{result.energy_pJ / 1e6:,.4g}",
                f"{product:.4g}",
                f"{product / answer.bound.edp:.2f}x" if answer.bound.edp else "",
                f"{result.utilization:.1%}",
                f"{answer.evaluated:,}",
                f"{answer.seconds:.2f}",
                answer.stopped,
            ]
        )
    return rows


def _total(tasks: Sequence[Task], answers: _Answers) -> list[str]:
    """Of all layers; their product of energy and cycles is that of the sums."""
    own = totals(tasks, answers)
    bound = own["lower_bound"]["energy_pJ"] * own["lower_bound"]["cycles"]
    return [
        f"total ({own['different_layers']} different)",
        f"{own['cycles']:,}",
        f"{own['energy_pJ'] / 1e6:,.4g}",
        f"{own['edp']:.4g}",
        f"{own['edp'] / bound:.2f}x" if bound else "",
        "",
        f"{own['evaluated']:,}",
        f"{own['search_seconds']:.2f}",
        "" if own["mapped"] == own["layers"] else f"{own['mapped']} of {own['layers']} mapped",
    ]
