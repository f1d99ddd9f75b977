"""The model as a whole: a mapping of a problem on an architecture gives counts, cycles and energies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from codesign.accelerator.model.accesses import Accesses, count_accesses
from codesign.accelerator.model.activity import Activity, ComputeActivity, dense_activity, dense_computes
from codesign.accelerator.model.area import total_area_um2
from codesign.accelerator.model.energy import Prices, access_energy_pJ, compute_energy_pJ, leakage_pJ
from codesign.accelerator.model.legality import Demand, check_compute, check_levels, dense_demands
from codesign.accelerator.model.masked_pass import needs_masks, run_masked
from codesign.accelerator.model.nest import Nest, build_nest
from codesign.accelerator.model.nest_analysis import analyse
from codesign.accelerator.model.network import network_energy_pJ, networks_cost
from codesign.accelerator.model.performance import LevelCycles, compute_cycles, level_cycles
from codesign.accelerator.model.ragged import Existence
from codesign.accelerator.model.samples import each_sample, sample_count
from codesign.accelerator.model.sparse_pass import SparseOutcome, run_sparse
from codesign.accelerator.model.traffic import StrideRule
from codesign.accelerator.model.visits import operations
from codesign.accelerator.result import ComputeStats, DataspaceStats, Infeasible, LevelStats, Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["Semantics", "dense_accesses", "evaluate", "evaluate_samples"]

Semantics = Literal["clean", "compat"]

_NOTHING_SPARSE = SparseOptimizations()


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that the energy and the result are made of."""

    architecture: Architecture
    problem: Problem
    nest: Nest
    accesses: tuple[tuple[Accesses, ...], ...]
    activities: tuple[tuple[Activity, ...], ...]
    computes: ComputeActivity
    compute_cycles: int
    level_cycles: tuple[LevelCycles, ...]

    @property
    def busy_cycles(self) -> int:
        """Cycles without the latencies of filling and draining."""
        return max(self.compute_cycles, *(level.cycles for level in self.level_cycles))


def evaluate(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations = _NOTHING_SPARSE,
    *,
    semantics: Semantics = "clean",
    stride_rule: StrideRule = "current",
) -> Result | Infeasible:
    """Evaluate one mapping.

    Args:
        architecture, problem, mapping: one value object each; the mapping must pass ``mapping.check``.
        energy: pJ per action of every component; areas are optional.
        sparse: sparse optimisations; none by default.
        semantics: "compat" reproduces the real program's quirks in sparse runs, "clean" clamps them and warns.
        stride_rule: how sliding windows are reused; "pre_a12fff5" is Timeloop before January 2025.

    Returns:
        ``Infeasible`` if the mapping does not fit the hardware.

    Raises:
        InputError: the energy table misses a component or an action; a feature is not modelled.
    """
    if semantics not in get_args(Semantics) or stride_rule not in get_args(StrideRule):
        raise ValueError(f"evaluate: unknown semantics or stride rule (got {semantics!r}, {stride_rule!r})")
    dense = _dense(architecture, problem, mapping, energy, sparse, stride_rule)
    if isinstance(dense, Infeasible):
        return dense
    prices = Prices(energy)
    outcome: SparseOutcome | Infeasible
    if not sparse:
        activities = tuple(tuple(dense_activity(tile) for tile in row) for row in dense.accesses)
        return _finished(dense, SparseOutcome(activities, dense.computes, ()), prices)
    given = (architecture, problem, mapping, dense.nest, dense.accesses, dense.computes, sparse, prices)
    if semantics == "clean" and needs_masks(problem, sparse):
        masked = run_masked(*given)
        outcome = masked if isinstance(masked, Infeasible) else masked.outcome
    else:
        outcome = run_sparse(*given, compat=semantics == "compat")
    return outcome if isinstance(outcome, Infeasible) else _checked(dense, outcome, prices)


def evaluate_samples(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations,
) -> Iterator[Result | Infeasible]:
    """``evaluate`` for each sample of the problem's actual data: exactly as if it were the only one.

    Nest and accesses are analysed once, and masks are counted 64 samples at a time. Where neither the problem nor the
    sparse optimisations have to do with masks, every sample is equal.

    Args:
        architecture, problem, mapping, energy, sparse: as of ``evaluate``; one sample where nothing varies.

    Raises:
        InputError: as ``evaluate``, and for masks with different numbers of samples.
    """
    count = sample_count(problem)
    if not sparse or not needs_masks(problem, sparse):
        yield from [evaluate(architecture, problem, mapping, energy, sparse)] * count
        return
    dense = _dense(architecture, problem, mapping, energy, sparse, "current")
    if isinstance(dense, Infeasible):
        yield from [dense] * count
        return
    everything = Existence(problem, dense.nest).survival
    for number, own in enumerate(each_sample(problem)):
        prices = Prices(energy)
        masked = run_masked(
            architecture,
            own,
            mapping,
            dense.nest,
            dense.accesses,
            dense.computes,
            sparse,
            prices,
            survival=everything.of_sample(number),
        )
        if isinstance(masked, Infeasible):
            yield masked
        else:
            yield _checked(dense, masked.outcome, prices)


@dataclass(frozen=True, slots=True)
class _Dense:
    """What does not depend on zeros."""

    architecture: Architecture
    problem: Problem
    nest: Nest
    accesses: tuple[tuple[Accesses, ...], ...]
    computes: ComputeActivity


def _dense(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations,
    stride_rule: StrideRule,
) -> _Dense | Infeasible:
    _check_masks(problem)
    nest = build_nest(architecture, problem, mapping)
    infeasible = check_compute(nest, architecture, problem)
    if infeasible is None and not sparse:
        infeasible = check_levels(nest, architecture, problem, dense_demands(nest, problem, mapping))
    if infeasible is not None:
        return infeasible
    hops = networks_cost(architecture, energy)
    accesses = dense_accesses(nest, problem, mapping, stride_rule, hops=hops)
    return _Dense(architecture, problem, nest, accesses, dense_computes(nest, operations(nest)))


def _check_masks(problem: Problem) -> None:
    """A mask that does not fit its tensor is an error even where nothing looks at it."""
    for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True):
        if isinstance(density, ActualData):
            box = dataspace.tile([0] * len(problem.bounds), [bound - 1 for bound in problem.bounds])
            density.check_fit(dataspace.name, [high - low for low, high in box])


def _checked(dense: _Dense, outcome: SparseOutcome, prices: Prices) -> Result | Infeasible:
    infeasible = check_levels(dense.nest, dense.architecture, dense.problem, map(_demand, outcome.activities))
    return _finished(dense, outcome, prices) if infeasible is None else infeasible


def _finished(dense: _Dense, outcome: SparseOutcome, prices: Prices) -> Result:
    nest, computes, activities = dense.nest, outcome.computes, outcome.activities
    cycles = compute_cycles(nest, computes, masked=outcome.masked)
    levels = tuple(
        level_cycles(storage, part, dense.problem, row, cycles)
        for storage, part, row in zip(dense.architecture.storage, nest.levels, activities, strict=True)
    )
    run = _Run(dense.architecture, dense.problem, nest, dense.accesses, activities, computes, cycles, levels)
    return _result(run, prices, outcome.warnings)


def dense_accesses(
    nest: Nest, problem: Problem, mapping: Mapping, stride_rule: StrideRule = "current", *, hops: bool = False
) -> tuple[tuple[Accesses, ...], ...]:
    """Dense accesses of every level (innermost first) and dataspace; with the way through networks if ``hops``."""
    traffic = analyse(nest, problem.dataspaces, mapping.levels, stride_rule, hops)
    columns = [
        count_accesses(nest, dataspace, index, tuple(row[index] for row in traffic), mapping.levels)
        for index, dataspace in enumerate(problem.dataspaces)
    ]
    return tuple(zip(*columns, strict=True))


def _demand(activities: Sequence[Activity]) -> Demand:
    return Demand([entry.capacity_words for entry in activities], [entry.metadata_bits for entry in activities])


def _result(run: _Run, prices: Prices, warnings: Sequence[str]) -> Result:
    computes = run.computes
    compute_pJ = compute_energy_pJ(run.architecture.compute, computes, prices)
    levels = _level_stats(run, prices)
    networks = run.architecture.storage
    cycles = run.busy_cycles + sum(
        storage.network.fill_latency_cycles + storage.network.drain_latency_cycles for storage in networks
    )
    units = run.architecture.compute.instances
    return Result(
        cycles=cycles,
        energy_pJ=compute_pJ + sum(level.energy_pJ + level.network_pJ for level in levels.values()),
        utilization=computes.fates.spent / units / cycles if cycles else 0.0,
        computes=ComputeStats(
            algorithmic=computes.algorithmic,
            actual=computes.fates.random,
            gated=computes.fates.gated,
            skipped=computes.fates.skipped,
            energy_pJ=compute_pJ,
            kept_away_by_gating=computes.kept_away_by_gating,
            kept_away_by_skipping=computes.kept_away_by_skipping,
            idle=computes.idle,
        ),
        levels=levels,
        compute_cycles=run.compute_cycles,
        area_um2=total_area_um2(run.architecture, prices.table),
        warnings=(*warnings, *prices.warnings),
    )


def _level_stats(run: _Run, prices: Prices) -> dict[str, LevelStats]:
    """Statistics of the real levels, outermost first; the networks of spatial dummies go to the level outside."""
    stats: dict[str, LevelStats] = {}
    pending_pJ = 0.0
    for level, storage in enumerate(run.architecture.storage):
        network_pJ = network_energy_pJ(
            level, run.architecture, run.problem, run.nest, run.accesses[level], prices.table
        )
        if storage.spatial_dummy:
            pending_pJ += network_pJ
            continue
        dataspaces = {}
        for dataspace, accesses, activity in zip(
            run.problem.dataspaces, run.accesses[level], run.activities[level], strict=True
        ):
            if accesses.size:
                access_pJ = access_energy_pJ(storage, run.nest.levels[level], dataspace, activity, prices)
                dataspaces[dataspace.name] = _dataspace_stats(accesses, activity, access_pJ)
        own = run.level_cycles[level]
        leak = leakage_pJ(level, run.architecture, run.activities, run.busy_cycles, prices)
        stats[storage.name] = LevelStats(
            cycles=own.cycles,
            leakage_pJ=leak,
            dataspaces=dataspaces,
            energy_pJ=leak + sum(entry.energy_pJ for entry in dataspaces.values()),
            network_pJ=network_pJ + pending_pJ,
            instances=storage.instances,
            utilized_instances=max(activity.average_replication for activity in run.activities[level]),
            bandwidth_slowdown=own.slowdown,
        )
        pending_pJ = 0.0
    return dict(reversed(stats.items()))


def _dataspace_stats(accesses: Accesses, activity: Activity, energy_pJ: float) -> DataspaceStats:
    counts = {
        f"{name}_{kind}": value
        for kind in ("reads", "fills", "updates")
        for fates in (getattr(activity, kind),)
        for name, value in (
            ("algorithmic", getattr(accesses, kind)),
            ("actual", fates.random),
            ("gated", fates.gated),
            ("skipped", fates.skipped),
        )
    }
    return DataspaceStats(
        **counts,
        temporal_reductions=activity.temporal_reductions,
        utilized_capacity=activity.capacity_words,
        energy_pJ=energy_pJ,
    )
