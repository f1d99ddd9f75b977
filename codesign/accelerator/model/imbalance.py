"""Realised against expected latency: with real masks, instances that run side by side do not finish together.

Instances work through their own loops alone and wait for each other at every step of the loops around them. A step
takes as long as the instance with the most work; the expected latency spreads all work evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from codesign.accelerator.model.energy import Prices
from codesign.accelerator.model.evaluation import dense_accesses
from codesign.accelerator.model.events import Digit, Event, scalar
from codesign.accelerator.model.joint_count import counts_by
from codesign.accelerator.model.masked_computes import KeptAway, Unit
from codesign.accelerator.model.masked_pass import plan_masked
from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.model.packed_mask import SAMPLES
from codesign.accelerator.model.survival import Survival
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import DENSE
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError, did_you_mean

__all__ = ["RealisedLatency", "realised_latency"]


@dataclass(frozen=True, slots=True)
class RealisedLatency:
    """Cycles of the compute units, by sample, without any bandwidth.

    Args:
        expected_cycles: work over instances, as if it could be spread evenly: one number a sample.
        realised_cycles: sum over the steps of the work of the busiest instance.
        instances, steps: that run side by side, and between which they wait for each other.
        waits_for: names of the tensors whose zeros save time.
    """

    expected_cycles: tuple[float, ...]
    realised_cycles: tuple[int, ...]
    instances: int
    steps: int
    waits_for: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain data, with the imbalance."""
        return {
            "expected_cycles": list(self.expected_cycles),
            "realised_cycles": list(self.realised_cycles),
            "instances": self.instances,
            "steps": self.steps,
            "waits_for": list(self.waits_for),
            "imbalance": self.imbalance,
        }

    @property
    def imbalance(self) -> float:
        """Realised over expected cycles, of all samples together; 1.0 where there is no work."""
        expected = sum(self.expected_cycles)
        return sum(self.realised_cycles) / expected if expected else 1.0


def working_events(unit: Unit, kept_away: KeptAway) -> tuple[Event, ...]:
    """Events that spare a compute unit the cycle."""
    events = kept_away.skipping
    if "skipping" in unit.on_outputs:
        events += (scalar(unit.outputs),)
    if "skipping" in unit.on_operands:
        events += tuple(scalar(index) for index, known in zip(unit.operands, unit.known, strict=True) if known)
    return events


def realised_latency(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations,
    *,
    synchronised_at: str | None = None,
) -> RealisedLatency | Infeasible:
    """Work of every instance in every step, from real masks.

    Args:
        architecture, problem, mapping, energy, sparse: as of ``evaluate``.
        synchronised_at: level at whose loops in time (and all further out) instances wait for each other; the
            outermost level with loops in space if None.

    Raises:
        InputError: no such level, or it lies inside loops in space, or a mask that matters is not actual data.
    """
    nest = build_nest(architecture, problem, mapping)
    accesses = dense_accesses(nest, problem, mapping)
    plan = plan_masked(architecture, problem, mapping, nest, accesses, sparse, Prices(energy))
    if isinstance(plan, Infeasible):
        return plan
    survival = plan.setting.survival
    level = _synchronised(architecture, survival.digits, synchronised_at)
    return _latency(survival, working_events(plan.unit, plan.kept_away), plan.setting.existence.operations, level)


def _latency(survival: Survival, working: Sequence[Event], existing: Sequence[Event], level: int) -> RealisedLatency:
    digits = survival.digits
    # A tile of a dense tensor is never empty.
    working = [event for event in working if survival.problem.densities[event.dataspace] != DENSE]
    events = (*working, *existing)
    expected = {event.dataspace for event in events} - set(survival.actual)
    names = [survival.problem.dataspaces[i].name for i in sorted(expected)]
    if expected:
        raise InputError(
            "realised latency needs the actual data of every tensor whose zeros save time",
            got=f"only a density for {', '.join(names)}",
            key="problem.instance.densities",
        )
    outside = [i for i, d in enumerate(digits) if not d.spatial and d.level >= level]
    spatial = [i for i, d in enumerate(digits) if d.spatial]
    realised, busy = [], []
    blocks, lengths = survival.blocks(events)
    kept = [i for i in lengths if i in outside or i in spatial]
    # Loops that no mask depends on repeat the same work, or the same steps.
    inner = [i for i, d in enumerate(digits) if not d.spatial and d.level < level]
    same_work = prod(digits[i].bound // lengths.get(i, 1) for i in inner)
    same_steps = prod(digits[i].bound // lengths.get(i, 1) for i in outside)
    same_instances = prod(digits[i].bound // lengths.get(i, 1) for i in spatial)
    instances = prod(digits[i].bound for i in spatial)
    varies = any(survival.actual[event.dataspace].varies for event in events)
    for number, parts in enumerate(blocks):
        count = min(SAMPLES, survival.samples - number * SAMPLES) if varies else survival.samples
        work = counts_by(parts, [i for i in kept if i in outside], [i for i in kept if i in spatial], count)
        realised.append(work.max(axis=2).sum(axis=1, dtype=np.int64) * same_work * same_steps)
        total = work.sum(axis=(1, 2), dtype=np.int64) * same_work * same_steps * same_instances
        busy.append(total / instances)
    return RealisedLatency(
        tuple(float(value) for value in np.concatenate(busy)),
        tuple(int(value) for value in np.concatenate(realised)),
        instances,
        prod(digits[i].bound for i in outside),
        tuple(survival.problem.dataspaces[i].name for i in sorted({event.dataspace for event in working})),
    )


def _synchronised(architecture: Architecture, digits: Sequence[Digit], name: str | None) -> int:
    outermost = max((d.level for d in digits if d.spatial), default=0)
    if name is None:
        return outermost
    names = [storage.name for storage in architecture.storage]
    if name not in names:
        raise InputError("instances are synchronised at a storage level", got=name, fix=did_you_mean(name, names))
    if names.index(name) < outermost:
        raise InputError(
            "instances are synchronised outside all loops in space",
            got=name,
            fix=f"{names[outermost]} or a level further out",
        )
    return names.index(name)
