"""Energy of the storage levels and the compute level, from an energy table (pJ). There is no default energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from codesign.accelerator.model.activity import Activity, ComputeActivity
from codesign.accelerator.model.nest import NestLevel
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.problem import Dataspace
from codesign.errors import InputError, did_you_mean

__all__ = ["Prices", "access_energy_pJ", "compute_energy_pJ", "leakage_pJ"]

_FATES = ("random", "gated", "skipped")
_COMPUTE_ACTIONS = {
    "random": ("mac_random", "mult_random", "mac", "mult", "compute"),
    "gated": ("mac_gated", "mult_gated", "compute_gated"),
    "skipped": ("mac_skipped", "mult_skipped", "compute_skipped", "mac_gated", "mult_gated", "compute_gated"),
}


def _storage_actions(operation: str, fate: str) -> tuple[str, ...]:
    """Table names of a storage action, the most specific first."""
    metadata = "metadata_" if operation.startswith("metadata_") else ""
    kind = operation.removeprefix("metadata_")
    nouns = {"read": ("read",), "fill": ("fill", "write"), "update": ("update", "write")}[kind]
    if fate == "random":
        # The real program's order: random_update, random_write, update, write.
        return tuple(f"random_{metadata}{noun}" for noun in nouns) + tuple(f"{metadata}{noun}" for noun in nouns)
    prefixes = (fate,) if fate == "gated" else ("skipped", "gated")
    return tuple(f"{prefix}_{metadata}{noun}" for prefix in prefixes for noun in nouns)


_STORAGE_ACTIONS = {
    (prefix + kind, fate): _storage_actions(prefix + kind, fate)
    for prefix in ("", "metadata_")
    for kind in ("read", "fill", "update")
    for fate in _FATES
}


@dataclass
class Prices:
    """The energy table, arranged for look-ups that raise where an entry is missing.

    ``warnings`` collects what had to be taken as zero, or as a full compute, for want of an entry.
    """

    table: EnergyTable
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._actions: dict[str, dict[str, float]] = {}
        for entry in self.table.energies:
            actions = self._actions.setdefault(entry.component, {})
            actions[entry.action] = max(entry.energy_pJ, actions.get(entry.action, entry.energy_pJ))

    def find(self, component: str, actions: Sequence[str]) -> float | None:
        """Energy of the first action that the component has, None if it has none of them.

        Raises:
            InputError: no table names the component.
        """
        if component not in self._actions:
            raise InputError(
                f"the energy table has no component {component}",
                key=f"ERT.{component}",
                fix=did_you_mean(component, self._actions) if self._actions else "the table is empty",
            )
        known = self._actions[component]
        return next((known[action] for action in actions if action in known), None)

    def need(self, component: str, actions: Sequence[str]) -> float:
        """Like ``find``, for an action that has no fallback: InputError if the component lacks it."""
        energy = self.find(component, actions)
        if energy is None:
            raise InputError(
                f"the energy table gives {component} no energy for {' or '.join(actions)}",
                got=f"actions {', '.join(sorted(self._actions[component]))}",
                key=f"ERT.{component}",
                fix="add the action, or estimate the table with `codesign energy`; there is no default energy",
            )
        return energy

    def storage(self, component: str, operation: str, fate: str) -> float:
        """pJ of one vector access. A gated or skipped access without an entry costs nothing."""
        actions = _STORAGE_ACTIONS[operation, fate]
        return self.need(component, actions) if fate == "random" else self.find(component, actions) or 0.0

    def optional(self, component: str, action: str) -> float:
        """pJ of an action that many tables leave out; 0 with a warning where it is missing."""
        energy = self.find(component, (action,))
        if energy is None:
            text = f"{component}: the energy table has no {action}; it is counted as 0 pJ"
            if text not in self.warnings:
                self.warnings.append(text)
            return 0.0
        return energy


def access_energy_pJ(
    storage: Storage, part: NestLevel, dataspace: Dataspace, activity: Activity, prices: Prices
) -> float:
    """Energy of one dataspace at one level over all its instances: data, metadata, address generation."""
    if activity.average_replication == 0:
        return 0.0
    total = 0.0
    for kind in ("read", "fill", "update"):
        scalars = getattr(activity, f"{kind}s")
        bits = getattr(activity, f"metadata_{kind}_bits")
        for fate in _FATES:
            count = ceil(getattr(scalars, fate) / storage.block_size) * activity.vector_ratio
            if count:
                total += count * _vector_pJ(storage, kind, fate, prices)
            moved = getattr(bits, fate)
            if moved and storage.metadata_width_bits:
                if storage.vector_access_energy_pJ is not None:
                    raise InputError(
                        "not modelled: metadata at a level with its own vector_access_energy",
                        key=f"{storage.name}.vector_access_energy",
                        fix="give the level's energies as a table instead",
                    )
                words = ceil(moved / storage.metadata_width_bits)
                total += words * prices.storage(storage.name, f"metadata_{kind}", fate)
    for action, count in (
        ("decompression_count", activity.decompressions),
        ("compression_count", activity.compressions),
    ):
        if count:
            total += count * prices.optional(storage.name, action)
    spread = part.spread[0] * part.spread[1]
    clusters = min(spread, storage.instances // storage.cluster_size)
    per_instance = total * activity.confidence / (spread / clusters)
    energy = per_instance * activity.average_replication
    if storage.address_generation_energy_pJ is not None:
        served = activity.updates if dataspace.read_write else activity.reads
        energy += (served.spent + activity.fills.spent) * storage.address_generation_energy_pJ * clusters
    return energy


def _vector_pJ(storage: Storage, kind: str, fate: str, prices: Prices) -> float:
    """One vector access. A level's own ``vector_access_energy`` stands in for its whole table."""
    if storage.vector_access_energy_pJ is None:
        return prices.storage(storage.name, kind, fate)
    return storage.vector_access_energy_pJ if fate == "random" else 0.0


def compute_energy_pJ(compute: Compute, computes: ComputeActivity, prices: Prices) -> float:
    """Energy of all computes. A gated or skipped one without an entry of its own costs a full compute."""
    full = prices.need(compute.name, _COMPUTE_ACTIONS["random"]) if computes.algorithmic else 0.0
    total = computes.fates.random * full
    for fate in ("gated", "skipped"):
        count = getattr(computes.fates, fate)
        if not count:
            continue
        energy = prices.find(compute.name, _COMPUTE_ACTIONS[fate])
        if energy is None:
            energy = full
            prices.warnings.append(
                f"{compute.name}: the energy table has no compute_{fate}; a {fate} compute costs a full one"
            )
        total += count * energy
    return total


def leakage_pJ(
    level: int,
    architecture: Architecture,
    activities: Sequence[Sequence[Activity]],
    cycles: int,
    prices: Prices,
) -> float:
    """Leakage of the instances of one level that are in use (the others are taken as power-gated).

    Args:
        activities: of every level, one a dataspace.
        cycles: of the whole run, without latencies of filling and draining.
    """
    storage = architecture.storage[level]
    if storage.spatial_dummy or storage.vector_access_energy_pJ is not None:
        return 0.0
    gate, shared = _power_gate(level, architecture)
    if shared <= 1:
        gate, shared = level, 1.0
    used = max(1.0, *(activity.average_replication for activity in activities[gate]))
    return prices.optional(storage.name, "leak") * cycles * used * shared


def _power_gate(level: int, architecture: Architecture) -> tuple[int, float]:
    """The level whose instances are switched off as a whole, and how many of ours go with one of them."""
    storage = architecture.storage[level]
    name = storage.power_gated_at
    if name is None or name == storage.name:
        return level, 1.0
    names = [candidate.name for candidate in architecture.storage]
    for known in (name, f"inter_{name}_spatial"):
        if known in names:
            gate = names.index(known)
            return gate, storage.instances / architecture.storage[gate].instances
    raise InputError(
        "power_gated_at must name a level",
        got=name,
        key=f"{storage.name}.power_gated_at",
        fix=did_you_mean(name, names),
    )
