"""Against the real programs: the counts of timeloop-model, and the best mappings of timeloop-mapper (random, 40 s)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.accelerator.mapper.closed_form import ClosedForm
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.mapper.nest import Nest, batch_of
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import case_files, load_case, load_design, load_problem
from codesign.accelerator.spec.mapping import Mapping

REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
ROWS = json.loads((REFERENCE / "mapper.json").read_text()) if REFERENCE.is_dir() else []
WITHOUT_REFERENCE = pytest.mark.skipif(not ROWS, reason="the reference answers are not here")


@WITHOUT_REFERENCE
def test_all_dense_counts_are_those_of_the_real_model():
    compared = 0
    for folder in sorted((REFERENCE / "cases" / "dense").iterdir()):
        expected = json.loads((folder / "expected.json").read_text())
        if not expected["legal"]:
            continue
        case = load_case(case_files(folder))
        places = Nest.of(case.architecture, range(len(case.problem.bounds)))
        form = ClosedForm(case.architecture, case.problem, places, flags=case.mapping.levels)
        counts = form.counts(batch_of(places, [case.mapping]))
        for level, storage in enumerate(case.architecture.storage):
            for column, dataspace in enumerate(case.problem.dataspaces):
                if case.mapping.levels[level].keep[column]:
                    printed = expected["levels"][storage.name]["dataspaces"][dataspace.name]
                    for kind in ("reads", "fills", "updates"):
                        found = getattr(counts, kind)[0, level, column]
                        assert found == printed[f"algorithmic_{kind}"], (folder.name, storage.name, dataspace.name)
                        compared += 1
    assert compared > 1000


@WITHOUT_REFERENCE
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
