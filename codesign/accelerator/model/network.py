"""Energy of the inferred network between a level and the next inner one (Timeloop's legacy network)."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.area import tile_width_um
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.problem import Problem

__all__ = ["network_energy_pJ", "networks_cost"]

_WIRE, _TRANSFER = "wire", "transfer_random"


def networks_cost(architecture: Architecture, table: EnergyTable) -> bool:
    """Whether any network has an energy; if not, hops need not be followed."""
    return _wire_pJ(table) is not None or any(
        value
        for storage in architecture.storage
        for value in (
            storage.network.energy_per_hop_pJ,
            storage.network.router_energy_pJ,
            storage.network.ingress_energy_pJ,
            storage.network.wire_energy_pJ_per_bit_mm,
        )
    )


def network_energy_pJ(
    level: int,
    architecture: Architecture,
    problem: Problem,
    nest: Nest,
    accesses: Sequence[Accesses],
    table: EnergyTable,
) -> float:
    """All traffic from one level to the next inner one, over all instances in use.

    Args:
        accesses: of this level, one a dataspace; its deliveries hold the hops.
    """
    network = architecture.storage[level].network
    router, ingress = network.router_energy_pJ or 0.0, network.ingress_energy_pJ or 0.0
    on_the_way = any(tile.links or any(entry.hops for entry in tile.deliveries) for tile in accesses)
    hop = _hop_energy_pJ(level, architecture, table) if on_the_way else 0.0
    total = 0.0
    for dataspace, tile in zip(problem.dataspaces, accesses, strict=True):
        energy = tile.links * (hop + 2 * router)
        for delivery in tile.deliveries:
            entering = delivery.accesses
            if dataspace.read_write and not _reduces(level, architecture):
                entering = 2 * entering - tile.partition
            if entering > 0:
                routers = (1 + floor(delivery.hops / entering)) * entering
                energy += delivery.hops * hop + routers * router + entering * ingress
        total += energy * int(nest.levels[level].replication)
    return total


def _reduces(level: int, architecture: Architecture) -> bool:
    storage = architecture.storage[level]
    return storage.reduction_supported or "DRAM" not in storage.component_class


def _wire_pJ(table: EnergyTable) -> float | None:
    found = [entry.energy_pJ for entry in table if entry.component == _WIRE and entry.action == _TRANSFER]
    return max(found) if found else None


def _hop_energy_pJ(level: int, architecture: Architecture, table: EnergyTable) -> float:
    """The user's energy per hop, or word bits x edge of an inner tile x energy of the wire; 0 without either."""
    storage = architecture.storage[level]
    network = storage.network
    if network.energy_per_hop_pJ is not None:
        return network.energy_per_hop_pJ
    wire = _wire_pJ(table)
    wire = network.wire_energy_pJ_per_bit_mm if wire is None else wire
    if not wire:
        return 0.0
    width = network.tile_width_um if network.tile_width_um is not None else tile_width_um(level, architecture, table)
    return (network.word_bits or storage.word_bits) * width / 1000 * wire
