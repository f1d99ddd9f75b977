"""What the hardware really does: every access and compute done, gated or skipped. The dense pass does everything."""

from __future__ import annotations

from dataclasses import dataclass, field

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.nest import Nest

__all__ = ["Activity", "ComputeActivity", "Fates", "dense_activity", "dense_computes"]


@dataclass(slots=True)
class Fates:
    """Counts by what becomes of them. ``random`` is Timeloop's word for accesses that are really made."""

    random: int = 0
    gated: int = 0
    skipped: int = 0

    @property
    def spent(self) -> int:
        """Those that take a cycle: made or gated."""
        return self.random + self.gated


@dataclass(slots=True)
class Activity:
    """One dataspace at one level, per instance.

    Args:
        reads, fills, updates: scalar accesses.
        metadata_read_bits (fill, update): bits of compression metadata moved.
        decompressions, compressions: words converted.
        capacity_words, metadata_bits: what the tile takes of the level's storage.
        average_replication: instances in use on average.
        vector_ratio: vector accesses per access, over the dense 1 / block size.
        confidence: probability that the tile fits (below 1 only where overbooking is allowed).
    """

    reads: Fates
    fills: Fates
    updates: Fates
    temporal_reductions: int
    capacity_words: int
    average_replication: float
    metadata_read_bits: Fates = field(default_factory=Fates)
    metadata_fill_bits: Fates = field(default_factory=Fates)
    metadata_update_bits: Fates = field(default_factory=Fates)
    metadata_bits: int = 0
    decompressions: int = 0
    compressions: int = 0
    vector_ratio: float = 1.0
    confidence: float = 1.0


@dataclass(slots=True)
class ComputeActivity:
    """Computes over all units.

    ``kept_away_by_gating`` and ``kept_away_by_skipping`` never reach the compute level, since a storage level gates or
    skips their operand; they are in none of the fates. ``idle`` of those that gating keeps away take their cycle all
    the same: gating saves no time. In the real program they vanish with their cycles.
    """

    algorithmic: int
    fates: Fates
    average_replication: float
    kept_away_by_gating: int = 0
    kept_away_by_skipping: int = 0
    idle: int = 0


def dense_activity(accesses: Accesses) -> Activity:
    """Every algorithmic access is made."""
    return Activity(
        reads=Fates(accesses.reads),
        fills=Fates(accesses.fills),
        updates=Fates(accesses.updates),
        temporal_reductions=accesses.temporal_reductions,
        capacity_words=accesses.size,
        average_replication=float(accesses.replication),
    )


def dense_computes(nest: Nest, operations: float) -> ComputeActivity:
    """Every compute is done. ``operations`` is per unit (see ``visits.operations``)."""
    replication = int(nest.compute_replication)
    total = int(operations * replication)
    return ComputeActivity(total, Fates(total), float(replication))
