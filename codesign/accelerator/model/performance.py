"""Cycles: what the compute units need, and what every level's bandwidth makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from codesign.accelerator.model.activity import Activity, ComputeActivity
from codesign.accelerator.model.nest import Nest, NestLevel
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.problem import Problem

__all__ = ["LevelCycles", "compute_cycles", "level_cycles"]


@dataclass(frozen=True, slots=True)
class LevelCycles:
    """Cycles of one level alone, and the slowdown (at most 1) that its bandwidth imposes."""

    cycles: int
    slowdown: float = 1.0


def compute_cycles(nest: Nest, computes: ComputeActivity, *, masked: bool = False) -> int:
    """Cycles of the compute units. One imperfect loop anywhere makes it the product of the temporal bounds.

    With masks, that product shrinks with the operations that take their cycle.
    """
    if not nest.perfect:
        share = Fraction(computes.fates.spent + computes.idle, computes.algorithmic or 1) if masked else 1
        return ceil(nest.temporal_steps * share)
    if computes.average_replication == 0:
        return 0
    return ceil((computes.fates.spent + computes.idle) / computes.average_replication)


def level_cycles(
    storage: Storage, part: NestLevel, problem: Problem, activities: tuple[Activity, ...], cycles: int
) -> LevelCycles:
    """Cycles of one storage level: the compute cycles, stretched where the demand exceeds a bandwidth.

    Args:
        activities: of this level, one a dataspace.
        cycles: of the compute units.
    """
    reads = writes = 0.0
    spread = part.spread[0] * part.spread[1]
    if cycles:
        for dataspace, activity in zip(problem.dataspaces, activities, strict=True):
            scale = storage.bandwidth_scale.get(dataspace.name, 1.0)
            read, written = _words(storage, activity)
            # In this order of operations: the rounding below is visible in the printed cycles.
            reads += _of_average_instance(read, spread, activity) / cycles * scale
            writes += _of_average_instance(written, spread, activity) / cycles * scale
    slowdown = 1.0
    for bandwidth, demand in (
        (storage.read_bandwidth, reads),
        (storage.write_bandwidth, writes),
        (storage.shared_bandwidth, reads + writes),
    ):
        if bandwidth is not None and bandwidth < demand:
            slowdown = min(slowdown, bandwidth / demand)
    return LevelCycles(ceil(cycles / slowdown), slowdown)


def _words(storage: Storage, activity: Activity) -> tuple[int, int]:
    """Words read and written by one instance, metadata as whole data words."""
    read = activity.reads.spent + activity.metadata_read_bits.spent // storage.word_bits
    metadata = activity.metadata_fill_bits.spent + activity.metadata_update_bits.spent
    return read, activity.fills.spent + activity.updates.spent + metadata // storage.word_bits


def _of_average_instance(words: int, spread: int, activity: Activity) -> int:
    if activity.average_replication == spread:
        return words
    return ceil(Fraction(activity.average_replication) * words / spread)
