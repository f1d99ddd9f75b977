"""The mapper against the best mappings of the real timeloop-mapper: ``python benchmarks/mapper_reference.py FOLDER``.

FOLDER holds ``mapper.json`` (rows of arch, layer, edp), ``arch/`` and ``mapper_ert/``. For every row the search runs on
one thread for each of the given times, and one JSON object is printed: our energy-delay product over the reference's,
the lower bound over the reference's, and the numbers behind them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from codesign.accelerator.mapper.find import Budget, Found, search_mapping
from codesign.accelerator.mapper.goal import EDP
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.loader import load_design, load_problem


def task_of(folder: Path, row: dict[str, Any]) -> Task:
    """The task of one row, with the energies of the reference."""
    case = folder / "mapper_ert" / f"{row['arch']}__{row['layer']}"
    design = load_design([folder / "arch" / f"{row['arch']}.yaml", case.with_name(f"{case.name}.ert.yaml")])
    problem = load_problem([case.with_name(f"{case.name}.problem.yaml")])
    if design.energy is None:
        raise SystemExit(f"{case}: no energy table")
    return Task(design.architecture, problem, design.constraints(problem), design.energy, design.sparse)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[2.0, 20.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processor-time", action="store_true", help="seconds of a core, on a busy machine")
    arguments = parser.parse_args()
    rows = json.loads((arguments.folder / "mapper.json").read_text(encoding="utf-8"))
    answers = []
    search_mapping(task_of(arguments.folder, rows[0]), EDP, Budget(20_000))  # compiles
    for row in rows:
        task = task_of(arguments.folder, row)
        for seconds in arguments.seconds:
            found = search_mapping(task, EDP, Budget(None, seconds, arguments.processor_time), seed=arguments.seed)
            if not isinstance(found, Found):
                raise SystemExit(f"{row['arch']} {row['layer']}: {found.message}")
            result = found.best.result
            answers.append(
                {
                    "arch": row["arch"],
                    "layer": row["layer"],
                    "budget_s": seconds,
                    "spent_s": round(found.seconds, 3),
                    "of_processor": arguments.processor_time,
                    "edp_over_reference": result.energy_pJ * result.cycles / row["edp"],
                    "bound_over_reference": found.bound.edp / row["edp"],
                    "edp": result.energy_pJ * result.cycles,
                    "energy_pJ": result.energy_pJ,
                    "cycles": result.cycles,
                    "imperfect": not all(
                        loop.perfect
                        for level in found.best.mapping.levels
                        for loop in (*level.spatial_x, *level.spatial_y, *level.temporal)
                    ),
                    "evaluated": found.evaluated,
                    "valid": found.valid,
                    "reference_cpu_s": row["cpu_s"],
                }
            )
    json.dump(answers, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
