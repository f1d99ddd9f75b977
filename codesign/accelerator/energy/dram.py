"""Off-chip DRAM: energy per bit by type, for reads and writes alike.

Accelergy's CACTI plug-in tabulates the same six numbers (pJ/bit):
    LPDDR4 8 | LPDDR 40 | DDR3 70 | GDDR5 14 | HBM2 3.9 | HMC 4.2

Scaling: energy of one access = pJ/bit x width (bits of the access). Technology and voltage of the accelerator do not
change it. Not modelled: background and refresh power (leak is 0), row hits and misses, the DRAM's own area (it is
another chip: area is 0 by definition).
"""

from __future__ import annotations

from dataclasses import dataclass

from codesign.accelerator.energy.component import Component, ComponentEstimate, Figure
from codesign.accelerator.spec.energy_table import Provenance
from codesign.errors import did_you_mean

__all__ = ["DRAM_TYPES", "DramType", "dram"]

_MALLADI = "Malladi et al., ISCA 2012, doi:10.1109/ISCA.2012.6237004"
_OCONNOR = "O'Connor, Chatterjee et al., MICRO 2017, doi:10.1145/3123939.3124545"
_GAO = "Gao et al. (TETRIS), ASPLOS 2017, doi:10.1145/3093336.3037702"
_TABLE = "as tabulated by Accelergy's CACTI plug-in"


@dataclass(frozen=True, slots=True)
class DramType:
    """Energy of moving one bit, interface included."""

    energy_pJ_per_bit: float
    source: str


DRAM_TYPES = {
    "LPDDR4": DramType(8.0, f'{_TABLE}, which gives "public data" as its origin'),
    "LPDDR": DramType(40.0, f"{_MALLADI} (LPDDR2 at full load), {_TABLE}"),
    "DDR3": DramType(70.0, f"{_MALLADI} (DDR3 at full load), {_TABLE}"),
    "GDDR5": DramType(14.0, f"{_OCONNOR}, {_TABLE}"),
    "HBM2": DramType(3.9, f"{_OCONNOR}, {_TABLE}"),
    "HMC": DramType(4.2, f"{_GAO}, {_TABLE}"),
}


def dram(component: Component) -> ComponentEstimate:
    """Energies of one access of ``width`` bits to a DRAM of ``type``.

    Raises:
        InputError: width or type is missing, or the type is none of the known ones.
    """
    if not component.has("type"):
        raise component.error(
            "type", "a DRAM's energy depends on its type, which is not given", fix=f"give one of {_names()}"
        )
    name = component.text("type")
    if name not in DRAM_TYPES:
        raise component.error("type", f"type must be one of {_names()}", fix=did_you_mean(name, DRAM_TYPES))
    kind, width = DRAM_TYPES[name], component.integer("width")
    access = Figure(
        kind.energy_pJ_per_bit * width,
        Provenance(kind.source, f"{kind.energy_pJ_per_bit:g} pJ/bit x {width} bits", "published"),
    )
    idle = Provenance(kind.source, "not modelled: background and refresh power", "published")
    outside = Provenance("by definition: the DRAM is a chip of its own", "none", "published")
    return ComponentEstimate(
        {"read": access, "write": access, "update": access, "leak": Figure(0.0, idle)}, Figure(0.0, outside)
    )


def _names() -> str:
    return ", ".join(f'"{name}"' for name in DRAM_TYPES)
