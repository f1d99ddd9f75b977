"""``codesign map``: search mappings for a layer, several layers or a traced model on an architecture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from codesign.accelerator.mapper.find import Found
    from codesign.accelerator.mapper.task import Task
    from codesign.accelerator.result import Infeasible
    from codesign.accelerator.spec.loader import Design

__all__ = ["map_command"]

_INFEASIBLE = 3
_ENGINES = ("embedded", "timeloop")
_DEFAULT_EVALUATIONS = 200_000


def map_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="ARCH.yaml PROBLEM.yaml... [ERT.yaml]",
            help="The architecture first; then one problem a file, and energy tables if the architecture has none.",
        ),
    ],
    engine: Annotated[
        str, typer.Option(help="embedded, or timeloop: the real mapper where it is installed.")
    ] = "embedded",
    constraints: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Further constraints (top-level key `constraints`).")
    ] = None,
    objective: Annotated[
        str, typer.Option(help="edp, energy or latency; or two, e.g. latency,energy: the second breaks ties.")
    ] = "edp",
    pareto: Annotated[bool, typer.Option("--pareto", help="Trade the two objectives off: a set of mappings.")] = False,
    budget: Annotated[
        int | None, typer.Option(metavar="EVALUATIONS", help=f"Mappings to evaluate. (default {_DEFAULT_EVALUATIONS})")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after this time; without --budget the only limit.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search; the answer is the same for any --workers.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads; 0: one a processor.")] = 0,
    mappings: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Mapping store: taken from there if known, and kept there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="MAPPING.yaml", help="Write the best mapping.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the mapping as a loop nest with tiles and bandwidths.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the answer as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no tables.")] = False,
) -> None:
    """Find mappings of layers onto an accelerator.

    Example: codesign map arch.yaml problem.yaml ert.yaml --seconds 2 --out mapping.yaml --explain
    """
    from codesign.accelerator.mapper.find import Budget, Found
    from codesign.accelerator.mapper.goal import Goal

    if engine not in _ENGINES:
        raise InputError("unknown engine", got=engine, key="--engine", fix=did_you_mean(engine, _ENGINES))
    goal = Goal.parse(objective, pareto=pareto)
    limit = Budget(_DEFAULT_EVALUATIONS if budget is None and seconds is None else budget, seconds)
    for path, flag in ((json_path, "--json"), (out, "--out")):
        if path is not None and not path.absolute().parent.is_dir():
            raise InputError("the folder of the file must exist", got=str(path), key=flag)
    layers = _layers(paths, constraints)
    tasks = [task for _, task in layers]
    if out is not None and len(tasks) > 1:
        raise InputError(
            "one file holds one mapping", got=f"{len(tasks)} problems", key="--out", fix="use --mappings DIR"
        )
    if engine == "timeloop":
        from codesign.cli.map_timeloop import map_with_timeloop

        unused = {"--pareto": pareto, "--budget": budget, "--seed": seed, "--mappings": mappings, "--explain": explain}
        raise typer.Exit(
            map_with_timeloop(layers, objective, seconds, unused, out=out, json_path=json_path, quiet=quiet)
        )
    answers = _search(tasks, goal, limit, seed=seed, workers=workers, mappings=mappings, quiet=quiet)
    _write(tasks, answers, out, json_path)
    if not quiet:
        _report(tasks, answers, explained=explain)
    if len(answers) == 1 and not isinstance(answers[0], Found):
        raise typer.Exit(_INFEASIBLE)


def _layers(paths: Sequence[Path], constraints: Path | None) -> list[tuple[Design, Task]]:
    """One design and task a problem; every file that is no problem belongs to the architecture."""
    from codesign.accelerator.energy import estimate
    from codesign.accelerator.mapper.task import Task
    from codesign.accelerator.spec.document import read_document
    from codesign.accelerator.spec.loader import load_design, load_problem

    unique = list(dict.fromkeys(paths))
    problems = [path for path in unique if "problem" in read_document([path]).sections]
    if not problems:
        raise InputError("a file with a top-level `problem` is needed", fix="codesign map ARCH.yaml PROBLEM.yaml")
    shared = [path for path in unique if path not in problems]
    if constraints is not None and constraints not in shared:
        shared.append(constraints)
    layers = []
    for path in problems:
        sections = read_document([path]).sections
        own = [path] if set(sections) - {"problem", "variables"} else []
        design = load_design([*shared, *own])
        problem = load_problem([path])
        energy = design.energy
        if energy is None:
            energy = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
        task = Task(design.architecture, problem, design.constraints(problem), energy, design.sparse)
        layers.append((design, task))
    return layers


def _search(
    tasks: Sequence[Task],
    goal: Any,
    limit: Any,
    *,
    seed: int,
    workers: int,
    mappings: Path | None,
    quiet: bool,
) -> list[Found | Infeasible]:
    from codesign.accelerator.mapper.layers import map_tasks
    from codesign.accelerator.mapper.store import MappingStore
    from codesign.cli.progress import RichProgress

    store = None if mappings is None else MappingStore(mappings)
    with RichProgress(enabled=not quiet and sys.stderr.isatty()) as progress:
        return map_tasks(
            tasks,
            goal,
            limit,
            seed=seed,
            workers=workers,
            store=store,
            progress=lambda done, total, detail: progress("map", done, total, detail),
        )


def _json(task: Task, answer: Found | Infeasible) -> dict[str, Any]:
    from codesign.accelerator.mapper.find import Found

    if not isinstance(answer, Found):
        return {"layer": task.problem.name, "best": answer.to_json()}
    return {"layer": task.problem.name, **answer.to_json(task)}


def _write(
    tasks: Sequence[Task], answers: Sequence[Found | Infeasible], out: Path | None, json_path: Path | None
) -> None:
    from codesign.accelerator.mapper.find import Found

    if json_path is not None:
        from codesign.store import write_json

        rows = [_json(task, answer) for task, answer in zip(tasks, answers, strict=True)]
        write_json(json_path, rows[0] if len(rows) == 1 else {"layers": rows})
    if out is not None and isinstance(answers[0], Found):
        from codesign.accelerator.spec.writer import mapping_to_yaml

        text = mapping_to_yaml(answers[0].best.mapping, tasks[0].architecture, tasks[0].problem)
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out)


def _report(tasks: Sequence[Task], answers: Sequence[Found | Infeasible], *, explained: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from codesign.accelerator.mapper.explain import explain
    from codesign.accelerator.mapper.find import Found

    console = Console()
    table = Table("layer", box=None)
    for heading in ("cycles", "energy pJ", "pJ x cycles", "/ bound", "used", "tried", "s"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for task, answer in zip(tasks, answers, strict=True):
        if not isinstance(answer, Found):
            table.add_row(task.problem.name, *[""] * 7, "no legal mapping")
            continue
        for candidate in answer.front:
            result = candidate.result
            table.add_row(
                task.problem.name,
                f"{result.cycles:,}",
                f"{result.energy_pJ:,.0f}",
                f"{result.energy_pJ * result.cycles:.4g}",
                f"{result.energy_pJ * result.cycles / answer.bound.edp:.2f}x" if answer.bound.edp else "",
                f"{result.utilization:.1%}",
                f"{answer.evaluated:,}",
                f"{answer.seconds:.2f}",
                answer.stopped,
            )
    console.print(table)
    for task, answer in zip(tasks, answers, strict=True):
        if not isinstance(answer, Found):
            hint = f" (what helps: {'; '.join(answer.levers)})" if answer.levers else ""
            typer.echo(f"{task.problem.name}: no legal mapping: {answer.message}{hint}", err=True)
        elif explained:
            typer.echo("\n" + explain(task, answer.best.mapping, answer.best.result))
