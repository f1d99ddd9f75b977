"""Area of the chip: areas of single instances times their number (square micrometres)."""

from __future__ import annotations

from math import sqrt

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.errors import InputError

__all__ = ["tile_width_um", "total_area_um2"]


def total_area_um2(architecture: Architecture, table: EnergyTable) -> float | None:
    """Compute units and storage levels, without wires; None if the table gives no areas at all."""
    if not table.areas:
        return None
    area = _area_um2(architecture.compute.name, table) * architecture.compute.instances
    for storage in architecture.storage:
        if not storage.spatial_dummy:
            area += _area_um2(storage.name, table) * storage.instances
    return area


def tile_width_um(level: int, architecture: Architecture, table: EnergyTable) -> float:
    """Edge of the square that one instance below ``level`` takes, with everything inside of it."""
    area = _area_um2(architecture.compute.name, table)
    instances = architecture.compute.instances
    for storage in architecture.storage[:level]:
        area *= instances / storage.instances
        if not storage.spatial_dummy:
            area += _area_um2(storage.name, table)
        instances = storage.instances
    return sqrt(area)


def _area_um2(component: str, table: EnergyTable) -> float:
    try:
        return table.area_um2(component)
    except KeyError:
        raise InputError(
            f"the area table has no component {component}",
            key=f"ART.{component}",
            fix="add its area in square micrometres; there is no default area",
        ) from None
