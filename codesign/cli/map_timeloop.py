"""``codesign map --engine timeloop``: the real mapper's best mapping, with the real program's numbers for it."""

from __future__ import annotations

import time
from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import typer

from codesign.accelerator.engines.timeloop.mapper import Metric, TimeloopMapper
from codesign.accelerator.mapper.goal import value_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.loader import Design
from codesign.accelerator.spec.writer import mapping_to_yaml
from codesign.errors import InputError, did_you_mean

__all__ = ["DEFAULT_SECONDS", "map_with_timeloop"]

DEFAULT_SECONDS = 30.0
_INFEASIBLE = 3


def map_with_timeloop(
    layers: Sequence[tuple[Design, Task]],
    objective: str,
    seconds: float | None,
    unused: Map[str, object],
    *,
    out: Path | None,
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Search every layer for ``seconds``; returns the exit code.

    Args:
        unused: flag -> value of the settings that only the embedded search knows; giving one is an error.

    Raises:
        InputError: such a setting is given, or the objective is not one that the real mapper knows.
        ProgramError: the programs are missing or fail.
    """
    given = [flag for flag, value in unused.items() if value]
    if given:
        raise InputError(
            "the real mapper has no such setting", got=", ".join(given), key="--engine timeloop", fix="use --seconds"
        )
    metric = _metric(objective)
    limit = DEFAULT_SECONDS if seconds is None else seconds
    mapper = TimeloopMapper.found()
    rows = [_search(mapper, design, task, metric, limit, out) for design, task in layers]
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, rows[0] if len(rows) == 1 else {"layers": rows})
    if not quiet:
        for row in rows:
            best = row["best"]
            answer = f"{best['cycles']:,} cycles, {best['energy_pJ']:,.0f} pJ" if best["legal"] else best["message"]
            typer.echo(f"{row['layer']}: {answer}")
    return _INFEASIBLE if len(rows) == 1 and not rows[0]["best"]["legal"] else 0


def _metric(objective: str) -> Metric:
    for metric in get_args(Metric):
        if metric == objective:
            known: Metric = metric
            return known
    raise InputError(
        "the real mapper minimises one quantity",
        got=objective,
        key="--objective",
        fix=did_you_mean(objective, get_args(Metric)),
    )


def _search(
    mapper: TimeloopMapper, design: Design, task: Task, metric: Metric, seconds: float, out: Path | None
) -> dict[str, Any]:
    """One layer in the form of the contract; how many mappings the real program tried, it does not tell."""
    begin = time.monotonic()
    answer = mapper.search(design, task.problem, task.energy, seconds=seconds, objective=metric)
    row: dict[str, Any] = {"layer": task.problem.name, "engine": "timeloop", "evaluated": None, "valid": None}
    if isinstance(answer, Infeasible):
        return row | {"best": answer.to_json(), "mapping": [], "seconds": time.monotonic() - begin, "objective": None}
    mapping, result = answer
    text = mapping_to_yaml(mapping, task.architecture, task.problem)
    if out is not None:
        temporary = out.with_name(f".{out.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(out)
    from ruamel.yaml import YAML

    return row | {
        "best": result.to_json(),
        "mapping": YAML(typ="safe").load(text)["mapping"],
        "seconds": time.monotonic() - begin,
        "objective": value_of(result, metric),
    }
