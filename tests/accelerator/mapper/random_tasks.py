"""Random tasks for the compiled evaluator: everything that it models, in small, and random mappings of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from codesign.accelerator.mapper import layout
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.moves import draw_mapping, mutate, random_state
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.size import choices_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.architecture import Architecture, Compute, Network, Storage
from codesign.accelerator.spec.constraints import Constraints, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

SPACES = 3


def task_of(seed: int, *, constrained: bool = False) -> Task:
    """A small random task: sliding windows of two or three terms, flags, bandwidths, clusters, power gating, links."""
    rng = np.random.default_rng(seed)
    architecture = _architecture(rng)
    problem = _problem(rng)
    return Task(
        architecture, problem, _constraints(rng, architecture, problem, constrained), _energies(rng, architecture)
    )


def _problem(rng: np.random.Generator) -> Problem:
    names = ("M", "C", "P", "Q", "R")
    bounds = tuple(int(bound) for bound in rng.choice([1, 2, 3, 4, 5, 6, 8, 12], len(names)))

    def step() -> int:
        return int(rng.choice([1, 1, 1, 2, 3, -1]))

    window = [Term(2, step()), Term(4, step())]
    if rng.random() < 0.2:
        window.append(Term(3, step()))
    inputs = Dataspace("Inputs", ((Term(1),), tuple(window), (Term(3),)))
    outputs = Dataspace("Outputs", ((Term(0),), (Term(2),), (Term(3),)), read_write=True)
    if rng.random() < 0.2:  # a transposed convolution slides over what it writes
        inputs = Dataspace("Inputs", ((Term(1),), (Term(2),), (Term(3),)))
        outputs = Dataspace("Outputs", ((Term(0),), tuple(window), (Term(3),)), read_write=True)
    weights = Dataspace("Weights", ((Term(0),), (Term(1),), (Term(4),)))
    return Problem("random", names, bounds, (weights, inputs, outputs))


def _architecture(rng: np.random.Generator) -> Architecture:
    levels: list[Storage] = []
    mesh_x = mesh_y = 1
    for index in range(int(rng.integers(1, 4))):
        levels.append(_storage(rng, index, mesh_x, mesh_y))
        if rng.random() < 0.6:
            x, y = ((4, 1), (1, 3), (2, 3), (4, 4), (6, 5))[int(rng.integers(5))]
            levels.append(Storage(f"inter_n{index}_spatial", "dummy_storage", mesh_x, mesh_y, spatial_dummy=True))
            mesh_x, mesh_y = mesh_x * x, mesh_y * y
    return Architecture("random", tuple(reversed(levels)), Compute("mac", "intmac", mesh_x, mesh_y))


def _storage(rng: np.random.Generator, index: int, mesh_x: int, mesh_y: int) -> Storage:
    def maybe(value: float, share: float = 0.5) -> float | None:
        return value if rng.random() < share else None

    return Storage(
        f"level{index}", "SRAM", mesh_x, mesh_y,
        block_size=int(rng.choice([1, 2, 4])),
        cluster_size=2 if mesh_x * mesh_y % 2 == 0 and rng.random() < 0.3 else 1,
        size_words=None if index == 0 else int(rng.integers(8, 300)),
        multiple_buffering=float(rng.choice([1.0, 2.0])),
        read_bandwidth=maybe(float(rng.choice([0.3, 1.0, 2.0]))),
        write_bandwidth=maybe(float(rng.choice([0.3, 1.0, 2.0]))),
        shared_bandwidth=maybe(1.5, 0.3),
        bandwidth_scale={"Inputs": 0.5} if rng.random() < 0.2 else {},
        address_generation_energy_pJ=maybe(0.25, 0.3),
        power_gated_at="level0" if index and rng.random() < 0.3 else None,
        network=Network(fill_latency_cycles=int(rng.integers(0, 3)), drain_latency_cycles=int(rng.integers(0, 3))),
    )  # fmt: skip


def _constraints(
    rng: np.random.Generator, architecture: Architecture, problem: Problem, constrained: bool
) -> Constraints:
    def some(storage: Storage, dummy: bool) -> frozenset[int]:
        wanted = storage.spatial_dummy == dummy and rng.random() < 0.25
        return frozenset({int(rng.integers(SPACES))}) if wanted else frozenset()

    def loops(here: bool) -> LoopConstraints:
        if not (constrained and here):
            return LoopConstraints()
        order = [int(d) for d in rng.permutation(len(problem.bounds))]
        inner, outer = order[: int(rng.integers(0, 3))], order[5 - int(rng.integers(0, 3)) :]
        return LoopConstraints((), tuple(inner), tuple(outer), int(rng.integers(0, 6)) if rng.random() < 0.5 else None)

    levels = []
    for index, storage in enumerate(architecture.storage):
        outermost = index == len(architecture.storage) - 1
        keep = tuple(False if storage.spatial_dummy else True if outermost else None for _ in range(SPACES))
        levels.append(
            LevelConstraints(
                keep,
                temporal=loops(not storage.spatial_dummy),
                spatial=loops(storage.spatial_dummy),
                no_temporal_reuse=some(storage, False),
                no_multicast=some(storage, True),
                no_link_transfer=some(storage, True),
                rmw_first_update=some(storage, False),
            )
        )
    return Constraints(tuple(levels))


def _energies(rng: np.random.Generator, architecture: Architecture) -> EnergyTable:
    made_up = Provenance("made up for a test")
    entries = [
        EnergyEntry(level.name, action, float(rng.uniform(0.1, 20)), made_up)
        for level in architecture.storage
        if not level.spatial_dummy
        for action in ("read", "write", "update", "leak")
    ]
    return EnergyTable((*entries, EnergyEntry(architecture.compute.name, "compute", 0.7, made_up)))


def random_batch(evaluator: BatchEvaluator, count: int, seed: int) -> Batch:
    """Random mappings, legal or not: fresh draws, each followed by a changed copy."""
    choices, state = choices_of(evaluator.space), random_state(seed, 0)
    table = evaluator.tables.integers
    slots, dimensions = int(table[layout.SLOTS]), int(table[layout.DIMENSIONS])
    levels, spaces = int(table[layout.LEVELS]), int(table[layout.SPACES])
    batch = Batch(
        np.ones((count, slots, dimensions), np.int64),
        np.zeros((count, int(table[layout.BLOCKS]), dimensions), np.int64),
        np.zeros((count, levels, spaces), np.bool_),
    )
    for row in range(0, count - 1, 2):
        drawn = batch.factors[row], batch.order[row], batch.keep[row]
        while not draw_mapping(table, choices.rows, choices.start, *drawn, state):
            pass
        while True:
            changed = batch.factors[row + 1], batch.order[row + 1], batch.keep[row + 1]
            for old, new in zip(drawn, changed, strict=True):
                new[:] = old
            if mutate(table, choices.rows, choices.start, *changed, state):
                break
    return batch


def rows_of(batch: Batch) -> Iterator[Batch]:
    """Batches of one."""
    return (batch.take(slice(row, row + 1)) for row in range(len(batch)))
