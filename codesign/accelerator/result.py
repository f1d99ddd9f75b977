"""What an engine answers: counts, cycles and energies of a legal mapping, or why a mapping is illegal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ComputeStats", "DataspaceStats", "Infeasible", "LevelStats", "Result"]

_KINDS = ("reads", "fills", "updates")
_FATES = ("algorithmic", "actual", "gated", "skipped")


@dataclass(frozen=True, slots=True)
class DataspaceStats:
    """Scalar accesses of one dataspace at one level, per instance; energy in pJ over all instances."""

    algorithmic_reads: int
    algorithmic_fills: int
    algorithmic_updates: int
    actual_reads: int
    actual_fills: int
    actual_updates: int
    gated_reads: int = 0
    gated_fills: int = 0
    gated_updates: int = 0
    skipped_reads: int = 0
    skipped_fills: int = 0
    skipped_updates: int = 0
    temporal_reductions: int = 0
    utilized_capacity: int = 0
    energy_pJ: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The keys of the ``codesign simulate`` contract."""
        counts = {f"{fate}_{kind}": getattr(self, f"{fate}_{kind}") for kind in _KINDS for fate in _FATES}
        return counts | {
            "temporal_reductions": self.temporal_reductions,
            "utilized_capacity": self.utilized_capacity,
            "energy_pJ": self.energy_pJ,
        }


@dataclass(frozen=True, slots=True)
class LevelStats:
    """One storage level: its own cycles (bandwidth included), leakage over all instances, and its dataspaces.

    ``energy_pJ`` is everything the level costs (accesses, metadata, address generation, leakage); the part of its
    outgoing network is ``network_pJ`` and not in it. ``bandwidth_slowdown`` is 1.0 where bandwidth does not bound.
    """

    cycles: int
    leakage_pJ: float
    dataspaces: Mapping[str, DataspaceStats]
    energy_pJ: float = 0.0
    network_pJ: float = 0.0
    instances: int = 1
    utilized_instances: float = 1.0
    bandwidth_slowdown: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """The keys of the ``codesign simulate`` contract, and more."""
        return {
            "cycles": self.cycles,
            "leakage_pJ": self.leakage_pJ,
            "energy_pJ": self.energy_pJ,
            "network_pJ": self.network_pJ,
            "instances": self.instances,
            "utilized_instances": self.utilized_instances,
            "bandwidth_slowdown": self.bandwidth_slowdown,
            "dataspaces": {name: stats.to_json() for name, stats in self.dataspaces.items()},
        }


@dataclass(frozen=True, slots=True)
class ComputeStats:
    """Computes over all instances: algorithmic (dense), actual (done), gated and skipped; energy in pJ.

    ``gated`` and ``skipped`` are, as in the real program, those that the compute level itself gates or skips. Computes
    whose operand a storage level gates or skips never reach it; they are ``kept_away_by_gating`` and
    ``kept_away_by_skipping`` (named after the innermost level that saves accesses to the operand). What is in none of
    these has both operands missing from compressed tensors, and never existed. ``idle`` of those kept away by gating
    take their cycle all the same: all of them in clean semantics, none in compat (the real program's rule).
    """

    algorithmic: int
    actual: int
    gated: int = 0
    skipped: int = 0
    energy_pJ: float = 0.0
    kept_away_by_gating: int = 0
    kept_away_by_skipping: int = 0
    idle: int = 0

    def to_json(self) -> dict[str, Any]:
        """The keys of the ``codesign simulate`` contract, and more."""
        return {
            "algorithmic": self.algorithmic,
            "actual": self.actual,
            "gated": self.gated,
            "skipped": self.skipped,
            "kept_away_by_gating": self.kept_away_by_gating,
            "kept_away_by_skipping": self.kept_away_by_skipping,
            "idle": self.idle,
            "energy_pJ": self.energy_pJ,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """A legal mapping's numbers. ``utilization`` in 0..1; ``warnings`` says what a clean answer had to clamp.

    ``area_um2`` is None where no area table was given.
    """

    cycles: int
    energy_pJ: float
    utilization: float
    computes: ComputeStats
    levels: Mapping[str, LevelStats]
    compute_cycles: int = 0
    area_um2: float | None = None
    warnings: tuple[str, ...] = field(default=())

    legal = True

    def to_json(self) -> dict[str, Any]:
        """The ``R`` of the ``codesign simulate`` contract."""
        return {
            "legal": True,
            "cycles": self.cycles,
            "compute_cycles": self.compute_cycles,
            "energy_pJ": self.energy_pJ,
            "utilization": self.utilization,
            "area_um2": self.area_um2,
            "computes": self.computes.to_json(),
            "levels": {name: level.to_json() for name, level in self.levels.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Infeasible:
    """An illegal mapping: which level asked for how much of what, and how much there is."""

    level: str
    demand: float
    capacity: float
    unit: str
    message: str
    dataspace: str | None = None
    levers: tuple[str, ...] = ()

    legal = False

    def to_json(self) -> dict[str, Any]:
        """The illegal form of the ``codesign simulate`` contract."""
        return {
            "legal": False,
            "message": self.message,
            "level": self.level,
            "dataspace": self.dataspace,
            "demand": self.demand,
            "capacity": self.capacity,
            "unit": self.unit,
            "levers": list(self.levers),
        }
