"""The compiled evaluator against the exact engine: every number of every mapping, and what it says of legality."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.batch import BatchEvaluator, why_inexact
from codesign.accelerator.mapper.closed_form import ClosedForm
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import load_design, load_problem
from codesign.accelerator.spec.sparse import ComputeOptimization, SparseOptimizations
from tests.accelerator.mapper.mapper_designs import DESIGNS, energy_table, nest
from tests.accelerator.mapper.random_tasks import SPACES, random_batch, rows_of, task_of

SPECS = Path(__file__).parents[3] / "arch_specs"
REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
ROWS = json.loads((REFERENCE / "mapper.json").read_text()) if REFERENCE.is_dir() else []


def compare(task: Task, count: int, seed: int) -> int:
    """Check a random batch; returns how many mappings were legal."""
    evaluator = BatchEvaluator(task)
    batch = random_batch(evaluator, count, seed)
    answers = evaluator(batch)
    for row, one in enumerate(rows_of(batch)):
        try:
            mapping = evaluator.space.mapping(one, 0)
        except ValueError:  # no permutation has its loops on these axes
            assert not answers.legal[row]
            continue
        mapping.check(task.architecture, task.problem)
        expected = why_illegal(task.architecture, task.problem, task.constraints, mapping) or task.evaluate(mapping)
        assert answers.legal[row] == expected.legal, (row, expected)
        if isinstance(expected, Result):
            assert answers.exact[row]
            assert answers.cycles[row] == expected.cycles, mapping
            assert answers.energy_pJ[row] == pytest.approx(expected.energy_pJ, rel=1e-12), mapping
    return int(answers.legal.sum())


def test_random_tasks_have_the_engines_numbers():
    legal = sum(compare(task_of(seed), 40, seed) for seed in range(80))
    assert legal > 600


def test_random_constraints_are_decided_as_the_loop_by_loop_check_does():
    legal = sum(compare(task_of(seed, constrained=True), 40, seed) for seed in range(1000, 1060))
    assert legal > 50


@pytest.mark.parametrize("design", DESIGNS)
def test_mappings_of_a_real_layer_on_the_reference_designs(design):
    architecture, limits = DESIGNS[design]()
    task = Task(architecture, nest(M=16, C=8, P=14, Q=14, R=3, S=3), limits, energy_table(architecture))
    assert compare(task, 1200, 1) > 5


@pytest.mark.parametrize("name", ["eyeriss_row_stationary", "systolic_weight_stationary", "vector_pe_edge"])
def test_dense_layers_on_the_shipped_designs_with_their_gating(name):
    design = load_design([SPECS / f"{name}.yaml"])
    problem = nest(M=16, C=8, P=14, Q=14, R=3, S=3)
    energy = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    task = Task(design.architecture, problem, design.constraints(problem), energy, design.sparse)
    assert compare(task, 2000, 4) > 5


@pytest.mark.skipif(not ROWS, reason="the reference answers are not here")
@pytest.mark.parametrize("row", ROWS[::3], ids=lambda row: f"{row['arch']}-{row['layer']}")
def test_mappings_on_the_reference_architectures(row):
    case = REFERENCE / "mapper_ert" / f"{row['arch']}__{row['layer']}"
    design = load_design([REFERENCE / "arch" / f"{row['arch']}.yaml", case.with_name(f"{case.name}.ert.yaml")])
    problem = load_problem([case.with_name(f"{case.name}.problem.yaml")])
    assert design.energy is not None
    assert compare(Task(design.architecture, problem, design.constraints(problem), design.energy), 2000, 2) > 3


def test_neighbours_pass_data_on_in_the_random_tasks():
    different = 0
    for seed in range(40):
        task = task_of(seed)
        evaluator = BatchEvaluator(task)
        batch = random_batch(evaluator, 20, seed)
        levels = [replace(level, no_link_transfer=frozenset(range(SPACES))) for level in task.constraints.levels]
        alone = BatchEvaluator(replace(task, constraints=replace(task.constraints, levels=tuple(levels))))
        linked, unlinked = evaluator(batch), alone(batch)
        different += int((linked.energy_pJ[linked.legal] != unlinked.energy_pJ[linked.legal]).sum())
    assert different > 20


def test_the_numpy_closed_form_counts_the_same_where_it_is_exact():
    architecture, limits = DESIGNS["weight_stationary_16x16"]()
    task = Task(architecture, nest(M=8, C=16, P=4, Q=4), limits, energy_table(architecture))
    evaluator = BatchEvaluator(task)
    batch = random_batch(evaluator, 2000, 3)
    answers = evaluator(batch)
    form = ClosedForm(architecture, task.problem, evaluator.space.nest, flags=limits.levels)
    expected = evaluator.cost.cost(form.counts(batch), batch.keep)
    assert answers.legal.sum() > 20
    np.testing.assert_allclose(answers.energy_pJ[answers.legal], expected.energy_pJ[answers.legal], rtol=1e-12)
    np.testing.assert_array_equal(answers.cycles[answers.legal], expected.cycles[answers.legal])


def test_sparse_optimisations_without_zeros_change_nothing():
    task = task_of(0)
    sparse = SparseOptimizations(compute=(ComputeOptimization("mac", "gating"),))
    gated = replace(task, sparse=sparse)
    assert why_inexact(task) == why_inexact(gated) == ()
    assert BatchEvaluator(gated).memo is None
