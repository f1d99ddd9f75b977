"""``codesign map``: search mappings for a layer, several layers or a traced model on an architecture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import check_output_file
from codesign.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from codesign.accelerator.mapper.find import Found
    from codesign.accelerator.mapper.task import Task
    from codesign.accelerator.result import Infeasible

__all__ = ["map_command"]

_INFEASIBLE = 3
_ENGINES = ("embedded", "timeloop")
_DEFAULT_EVALUATIONS = 200_000


def map_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="ARCH PROBLEM.yaml... [ERT.yaml]",
            help="The architecture first: a YAML file or a shipped one's name. Then one problem a file (none with"
            " --model), and energy tables if the architecture has none.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Map all layers of a model: zoo name, module:factory, file.py:factory, .pt2, network.json."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights of the model, where it cannot be built without.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes of a model that takes them.")] = None,
    input_shape: Annotated[str | None, typer.Option(metavar="C,H,W", help="Images of the model.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Unsupported operator of the model to leave out; repeat.")
    ] = None,
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
    perfect_only: Annotated[
        bool,
        typer.Option("--perfect-only", help="No imperfect factors, as `codesign evaluate` and --model always have it."),
    ] = False,
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

    Examples: codesign map arch.yaml problem.yaml ert.yaml --seconds 2 --out mapping.yaml --explain;
    codesign map eyeriss_row_stationary --model resnet18 --mappings mappings
    """
    from dataclasses import replace

    from codesign.accelerator.mapper.find import Budget, Found
    from codesign.accelerator.mapper.goal import Goal
    from codesign.cli.map_layers import layers_of_files, layers_of_model
    from codesign.cli.map_report import report_answers, write_answers

    if engine not in _ENGINES:
        raise InputError("unknown engine", got=engine, key="--engine", fix=did_you_mean(engine, _ENGINES))
    goal = replace(Goal.parse(objective, pareto=pareto), perfect_only=perfect_only or model is not None)
    limit = Budget(_DEFAULT_EVALUATIONS if budget is None and seconds is None else budget, seconds)
    for path, flag in ((json_path, "--json"), (out, "--out")):
        check_output_file(path, flag)
    of_the_model = {
        "--checkpoint": checkpoint, "--num-classes": num_classes, "--input-shape": input_shape, "--ignore": ignore
    }  # fmt: skip
    if model is None:
        layers = layers_of_files(paths, constraints, of_the_model)
    else:
        layers = layers_of_model(
            model, paths, constraints, checkpoint=checkpoint, num_classes=num_classes, input_shape=input_shape,
            ignore=tuple(ignore or ()),
        )  # fmt: skip
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
    write_answers(tasks, answers, model, out, json_path)
    if not quiet:
        report_answers(tasks, answers, explained=explain)
    missing = [answer for answer in answers if not isinstance(answer, Found)]
    if missing and (model is not None or len(answers) == 1):
        raise typer.Exit(_INFEASIBLE)


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
