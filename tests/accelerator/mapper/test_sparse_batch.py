"""The compiled evaluator against the exact engine where zeros are gated, skipped, or left out of what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.batch import BatchEvaluator, why_inexact
from codesign.accelerator.mapper.find import Budget, Found, search_mapping
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.sampling import sample
from codesign.accelerator.mapper.size import choices_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.constraints import FactorLimit, LoopConstraints
from codesign.accelerator.spec.density import DENSE, Banded, Density, FixedStructured, Hypergeometric, StructuredNM
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.loader import load_design, load_problem
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    Format,
    LevelSparsity,
    Option,
    Rank,
    SparseOptimizations,
    TensorFormat,
)
from codesign.errors import InputError
from tests.accelerator.mapper.mapper_designs import energy_table, nest, two_level
from tests.accelerator.mapper.random_tasks import random_batch, rows_of, task_of

SPECS = Path(__file__).parents[3] / "arch_specs"
REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference" / "cases" / "sparse"
CASES = sorted(REFERENCE.iterdir()) if REFERENCE.is_dir() else []
NAMES = ("Weights", "Inputs", "Outputs")
MADE_UP = Provenance("made up for a test")


def engine(task: Task, evaluator: BatchEvaluator, one: Batch) -> Result | Infeasible | None:
    """The engine's answer; None where it does not model the mapping, or the mapping cannot be written."""
    try:
        mapping = evaluator.space.mapping(one, 0)
    except ValueError:  # no permutation has its loops on these axes
        return None
    mapping.check(task.architecture, task.problem)
    try:
        illegal = why_illegal(task.architecture, task.problem, task.constraints, mapping, task.sparse)
        return illegal or task.evaluate(mapping)
    except InputError:
        return None


def compare(task: Task, count: int, seed: int) -> int:
    """Check a random batch, every number of it; returns how many mappings were legal."""
    assert why_inexact(task) == ()
    evaluator = BatchEvaluator(task)
    batch = random_batch(evaluator, count, seed)
    answers = evaluator(batch)
    for row, one in enumerate(rows_of(batch)):
        expected = engine(task, evaluator, one)
        assert answers.legal[row] == isinstance(expected, Result), (row, expected)
        if isinstance(expected, Result):
            assert answers.exact[row]
            assert answers.cycles[row] == expected.cycles
            assert answers.energy_pJ[row] == pytest.approx(expected.energy_pJ, rel=1e-12)
    return int(answers.legal.sum())


def sparse_task(seed: int) -> Task:
    """A random task with savings, compute optimisations, compressed layouts and rooms for metadata."""
    rng = np.random.default_rng([seed, 1])
    task = task_of(seed, constrained=rng.random() < 0.3)
    storage = [
        level
        if level.spatial_dummy
        else replace(
            level,
            word_bits=int(rng.choice([8, 16])),
            metadata_width_bits=int(rng.choice([8, 32])),
            metadata_depth=int(rng.choice([4, 40, 4000])),
            metadata_word_bits=4,
        )
        for level in task.architecture.storage
    ]
    real = [level.name for level in storage if not level.spatial_dummy]
    levels = [LevelSparsity(name, _actions(rng), _formats(rng, index)) for index, name in enumerate(real)]
    compute = tuple(ComputeOptimization("mac", kind) for kind in ("gating", "skipping") if rng.random() < 0.3)
    densities = tuple(_density(rng) for _ in NAMES)
    return replace(
        task,
        architecture=replace(task.architecture, storage=tuple(storage)),
        problem=replace(task.problem, densities=densities),
        sparse=SparseOptimizations(tuple(levels), compute),
        energy=_energies(rng, task),
    )


def _density(rng: np.random.Generator) -> Density:
    share = float(rng.choice([0.0, 0.1, 0.3, 0.5, 0.75, 0.9, 1.0], p=[0.04, 0.2, 0.2, 0.2, 0.16, 0.1, 0.1]))
    return Hypergeometric(share) if rng.random() < 0.6 else FixedStructured(share)


def _actions(rng: np.random.Generator) -> tuple[ActionOptimization, ...]:
    found = []
    while rng.random() < 0.5:
        options = []
        for _ in range(int(rng.integers(1, 3))):
            target = NAMES[int(rng.integers(3))]
            conditions = tuple(name for name in NAMES[:2] if name != target and rng.random() < 0.8)
            options.append(Option(target, conditions or ("Weights",)))
        found.append(ActionOptimization("gating" if rng.random() < 0.5 else "skipping", tuple(options)))
    return tuple(found)


def _formats(rng: np.random.Generator, index: int) -> tuple[TensorFormat, ...]:
    """More ranks further out; the lowest one of a compressed layout leaves zeros out."""
    found = []
    for name in NAMES:
        if rng.random() < 0.6:
            continue
        lowest: Format = ("CP", "B", "RLE", "UOP", "UB")[int(rng.integers(5))]
        upper: list[Format] = [("UOP", "UB")[int(rng.integers(2))] for _ in range(index + int(rng.integers(0, 2)))]
        flat = (tuple("MCPQR"),) if rng.random() < 0.7 else (tuple("MC"), tuple("PQR")) if rng.random() < 0.6 else ()
        ranks = tuple(
            Rank(kind, int(rng.choice([2, 4])) if rng.random() < 0.5 else None, None, flat) for kind in (*upper, lowest)
        )
        found.append(TensorFormat(name, ranks, outer_to_inner=rng.random() < 0.6))
    return tuple(found)


def _energies(rng: np.random.Generator, task: Task) -> EnergyTable:
    more = [
        EnergyEntry(level.name, action, float(rng.uniform(0.1, 5)), MADE_UP)
        for level in task.architecture.storage
        if not level.spatial_dummy
        for action in (
            *("metadata_read", "metadata_write", "gated_read", "skipped_write", "gated_metadata_read"),
            *("decompression_count", "compression_count"),
        )
    ]
    gated = EnergyEntry("mac", "compute_gated", 0.1, MADE_UP)
    return EnergyTable((*task.energy.energies, *more, gated))


def test_random_sparse_tasks_have_the_engines_numbers():
    legal = sum(compare(sparse_task(seed), 20, seed) for seed in range(120))
    assert legal > 300


@pytest.mark.skipif(not CASES, reason="the reference answers are not here")
@pytest.mark.parametrize("part", range(4))
def test_mappings_on_the_reference_designs_with_sparse_optimisations(part):
    legal = 0
    for case in CASES[part::4]:
        design = load_design([case / "arch.yaml", case / "ert.yaml"])
        problem = load_problem([case / "problem.yaml"])
        assert design.energy is not None
        task = Task(design.architecture, problem, design.constraints(problem), design.energy, design.sparse)
        legal += compare(task, 16, 5)
    assert legal > 100


@pytest.mark.parametrize("name", ["eyeriss_row_stationary", "vector_pe_edge", "dual_module_projection"])
def test_sparse_layers_on_the_shipped_designs(name):
    design = load_design([SPECS / f"{name}.yaml"])
    densities = (Hypergeometric(0.4), Hypergeometric(0.55), DENSE)
    problem = replace(nest(M=16, C=8, P=14, Q=14, R=3, S=3), densities=densities)
    energy = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    task = Task(design.architecture, problem, design.constraints(problem), energy, design.sparse)
    assert task.leaves_work_out
    assert compare(task, 2000, 4) > 5


def test_banded_matrices_are_looked_at_by_the_shape_of_their_tiles():
    a = Dataspace("Weights", ((Term(0),), (Term(1),)))
    b = Dataspace("Inputs", ((Term(1),), (Term(2),)))
    c = Dataspace("Outputs", ((Term(0),), (Term(2),)), read_write=True)
    problem = Problem("product", ("M", "C", "P"), (16, 16, 4), (a, b, c), (Banded(2), FixedStructured(0.5), DENSE))
    saving = ActionOptimization("skipping", (Option("Inputs", ("Weights",)),))
    legal = 0
    for seed in range(12):
        task = task_of(seed)
        if len(task.architecture.storage) < 2:
            continue
        level = next(level.name for level in task.architecture.storage if not level.spatial_dummy)
        sparse = SparseOptimizations((LevelSparsity(level, (saving,)),))
        legal += compare(replace(task, problem=problem, sparse=sparse), 20, seed)
    assert legal > 20


def test_what_is_not_covered_is_said():
    task = task_of(0)
    sparse = SparseOptimizations(compute=(ComputeOptimization("mac", "gating"),))
    half = replace(task.problem, densities=(DENSE, DENSE, StructuredNM(1, 2, 0)))
    structured = replace(task, problem=half, sparse=sparse)
    outputs = replace(task, sparse=SparseOptimizations(compute=(ComputeOptimization("mac", "gating", "outputs"),)))
    outputs = replace(outputs, problem=replace(task.problem, densities=(DENSE, DENSE, Hypergeometric(0.5))))
    for own in (structured, outputs):
        assert why_inexact(own) == ("real or structured masks, and savings that wait for outputs",)
        evaluator = BatchEvaluator(own)
        assert not evaluator(random_batch(evaluator, 10, 0)).exact.any()


COMPRESSED = SparseOptimizations(
    (LevelSparsity("buffer", formats=(TensorFormat("Weights", (Rank("CP", 8, None, (tuple("NGMCPQRS"),)),)),)),)
)


def two_levels(words: int, share: float) -> Task:
    """Weights that a buffer of ``words`` has to hold as a whole, with room for metadata."""
    architecture, limits = two_level(words)
    buffer = replace(architecture.storage[0], metadata_width_bits=8, metadata_depth=10_000, metadata_word_bits=8)
    inner = replace(
        limits.levels[0],
        keep=(True, False, False),
        temporal=LoopConstraints((FactorLimit(2, "=", 32), FactorLimit(3, "=", 32))),
    )
    problem = replace(nest(M=32, C=32, P=4), densities=(Hypergeometric(share), DENSE, DENSE))
    energies = energy_table(architecture)
    more = [EnergyEntry("buffer", f"metadata_{action}", 0.1, MADE_UP) for action in ("read", "write", "update")]
    return Task(
        replace(architecture, storage=(buffer, architecture.storage[1])),
        problem,
        replace(limits, levels=(inner, limits.levels[1])),
        EnergyTable((*energies.energies, *more)),
        COMPRESSED,
    )


def test_a_tile_that_fits_without_its_zeros_is_searched_and_found():
    found = search_mapping(two_levels(200, 0.1), budget=Budget(2000))
    assert isinstance(found, Found)
    assert found.best.result.levels["buffer"].dataspaces["Weights"].utilized_capacity == 103  # a tenth of 32 x 32
    refused = search_mapping(two_levels(200, 0.9), budget=Budget(2000))
    assert isinstance(refused, Infeasible)
    assert (refused.demand, refused.capacity) == (922, 200)


def test_too_little_room_for_metadata_is_said():
    task = two_levels(200, 0.1)
    small = replace(task.architecture.storage[0], metadata_depth=50)
    refused = search_mapping(
        replace(task, architecture=replace(task.architecture, storage=(small, task.architecture.storage[1]))),
        budget=Budget(2000),
    )
    assert isinstance(refused, Infeasible)
    assert refused.unit == "metadata bits"


def test_what_the_engine_does_not_model_is_not_taken_for_legal_and_is_said():
    task = two_levels(10**9, 0.5)
    huge = replace(nest(M=32, C=2**25, P=4), densities=(Hypergeometric(0.5), DENSE, DENSE))
    free = replace(task.constraints.levels[0], temporal=LoopConstraints((FactorLimit(2, "=", 16),)))
    limits = replace(task.constraints, levels=(free, task.constraints.levels[1]))
    own = replace(task, problem=huge, constraints=limits)
    evaluator = BatchEvaluator(own)
    answers = evaluator(random_batch(evaluator, 60, 0))
    assert answers.legal.any()
    assert not answers.legal.all()  # a distribution of more occupancies than the engine lists
    fixed = LoopConstraints((FactorLimit(2, "=", 16), FactorLimit(3, "=", 2**25)))
    only = replace(limits, levels=(replace(free, temporal=fixed), limits.levels[1]))
    with pytest.raises(InputError, match="not modelled"):
        search_mapping(replace(own, constraints=only), budget=Budget(1000))


def test_searches_and_samples_learn_what_they_need_and_do_not_depend_on_it():
    task = sparse_task(7)
    evaluator = BatchEvaluator(task)
    choices = choices_of(evaluator.space)
    cold, warm = (sample(evaluator, choices, 2000, seed=3) for _ in range(2))
    assert (cold.tried, cold.valid) == (warm.tried, warm.valid)
    seeds = cold.best
    assert seeds is not None
    one, other = (
        Island(own, choices, (1.0, 1.0), seeds, seed=1, stream=0) for own in (evaluator, BatchEvaluator(task))
    )
    one.advance(3000)
    for until in range(0, 3001, 300):
        other.advance(until)
    assert one.evaluated == other.evaluated == 3000
    assert np.array_equal(one.best().factors, other.best().factors)
