"""Against the best mappings that the real timeloop-mapper (random, 40 s) found on the reference designs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import load_design, load_problem
from codesign.accelerator.spec.mapping import Mapping

REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
ROWS = json.loads((REFERENCE / "mapper.json").read_text()) if REFERENCE.is_dir() else []


@pytest.mark.skipif(not ROWS, reason="the reference answers are not here")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['arch']}-{row['layer']}")
def test_the_energy_delay_product_is_no_worse_than_the_real_mappers(row):
    case = REFERENCE / "mapper_ert" / f"{row['arch']}__{row['layer']}"
    files = [REFERENCE / "arch" / f"{row['arch']}.yaml", case.with_name(f"{case.name}.ert.yaml")]
    design = load_design(files)
    problem = load_problem([case.with_name(f"{case.name}.problem.yaml")])
    energy = design.energy
    assert energy is not None
    found = heuristic_mapping(design.architecture, problem, design.constraints(problem), energy)
    assert isinstance(found, Mapping)
    result = evaluate(design.architecture, problem, found, energy)
    assert isinstance(result, Result)
    assert result.energy_pJ * result.cycles <= row["edp"]
