"""A good legal mapping in milliseconds, without search budgets; see docs/mapper.md for the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.cost import CostModel, Objective
from codesign.accelerator.mapper.feasible import smallest
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.nest import Batch, BoolArray
from codesign.accelerator.mapper.search import Pool, Scorer, grow, improve, spatial_starts
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem

__all__ = ["DEFAULT_EFFORT", "Effort", "heuristic_mapping", "search_candidates"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried: spatial starts, mappings that are improved, rounds of it, and candidates for the engine."""

    starts: int = 16
    improved: int = 6
    rounds: int = 12
    candidates: int = 8


DEFAULT_EFFORT = Effort()


def heuristic_mapping(
    architecture: Architecture,
    problem: Problem,
    constraints: Constraints,
    energy: EnergyTable | None = None,
    *,
    objective: Objective = "edp",
    evaluate: Callable[[Mapping], Result | Infeasible] | None = None,
    effort: Effort = DEFAULT_EFFORT,
    clock: Clock | None = None,
) -> Mapping | Infeasible:
    """A legal mapping of the problem, or why there is none. Deterministic.

    Only perfect factors are used (each divides its dimension's bound). Within that, a legal mapping is always found if
    there is one, unless a minimum utilisation or parallelism is demanded, for which there is no such guarantee.

    Args:
        architecture, problem, constraints: what to map, and what the architecture leaves free for this problem.
        energy: energies for the ranking; without it accesses are weighted by the distance of their level.
        objective: what to minimise, by closed form.
        evaluate: an engine. If given, the best few candidates are ranked by its answers, and those that it finds
            illegal (e.g. because compressed tiles need more metadata than there is room for) are dropped.
        effort: how much is tried.
        clock: once it has run out, what is found by then has to do.

    Raises:
        InputError: the energy table lacks an entry.
        ValueError: the constraints are not for this architecture.
    """
    space = MapSpace(architecture, problem, constraints)
    cost = CostModel(architecture, problem, energy, min_parallelism=constraints.min_parallelism)
    base = smallest(space, cost.capacity.tolist())
    if isinstance(base, Infeasible):
        return base
    pool = Pool(effort.candidates)
    scorer = Scorer(space, cost, objective)
    scorer.clock = clock
    search_candidates(scorer, base, effort, pool)
    ranked = [space.mapping(one, 0) for _, one in pool.best()]
    # The smallest mapping comes last: where an engine refuses all others it is the one most likely to fit.
    return _first_legal(architecture, problem, constraints, [*ranked, space.mapping(base, 0)], objective, evaluate)


def search_candidates(scorer: Scorer, base: Batch, effort: Effort, pool: Pool) -> None:
    """Put the best mappings that the heuristic finds from a legal ``base`` into ``pool``."""
    starts = spatial_starts(scorer, base, effort.starts)
    variants = []
    for keep in _keep_variants(scorer.space, base):
        for option in range(min(len(scorer.space.problem.dataspaces), scorer.space.orders.shape[1])):
            order = np.repeat(scorer.space.orders[:, option][None], len(starts), axis=0)
            variants.append(Batch(starts.factors.copy(), order, np.repeat(keep, len(starts), axis=0)))
    grown = grow(scorer, Batch.join(variants))
    values = scorer(grown)
    best = np.argsort(values, kind="stable")[: effort.improved]
    improve(scorer, grown.take(best), effort.rounds, pool)


def _keep_variants(space: MapSpace, base: Batch) -> list[BoolArray]:
    """Everything kept that may be kept, and only what must be: (1, levels, dataspaces) each."""
    free = np.array([[keep is None for keep in row] for row in space.keep])
    every = base.keep | free
    return [every, base.keep] if free.any() else [base.keep]


def _first_legal(
    architecture: Architecture,
    problem: Problem,
    constraints: Constraints,
    candidates: list[Mapping],
    objective: Objective,
    evaluate: Callable[[Mapping], Result | Infeasible] | None,
) -> Mapping | Infeasible:
    """The first legal candidate, or with an engine the best one; why the first one is illegal if none is legal."""
    refused: Infeasible | None = None
    best: tuple[float, Mapping] | None = None
    for mapping in candidates:
        illegal = why_illegal(architecture, problem, constraints, mapping)
        if illegal is not None:
            refused = refused or illegal
            continue
        if evaluate is None:
            return mapping
        result = evaluate(mapping)
        if isinstance(result, Infeasible):
            refused = refused or result
            continue
        value = _value(result, objective)
        if best is None or value < best[0]:
            best = value, mapping
    if best is not None:
        return best[1]
    assert refused is not None
    return refused


def _value(result: Result, objective: Objective) -> float:
    energy, cycles = result.energy_pJ, float(result.cycles)
    return {"edp": energy * cycles, "energy": energy, "latency": cycles}[objective]
