"""On-chip wires: energy of moving bits over a distance.

Source: S. W. Keckler, W. J. Dally, B. Khailany, M. Garland, D. Glasco, "GPUs and the future of parallel computing",
IEEE Micro 31(5), 2011, doi:10.1109/MM.2011.89, table 1, wire energy per transition:
    40 nm: 240 fJ/bit/mm | 10 nm, high frequency: 150 fJ/bit/mm | 10 nm, low voltage: 115 fJ/bit/mm
    (the same table: 256 bits over 10 mm take 310 pJ at 40 nm, which is 240 fJ/bit/mm with half of the bits switching)

Scaling: linear in the node between the 40 nm and the 10 nm high-frequency figure, continued to 45 nm; no figure beyond.
Energy = figure x bits x distance x ``switching_activity`` (share of bits that change, 0.5 where it is not given: what
random data does). Routers are not part of it. A wire has no area and no leakage here: it lies above the logic, and its
repeaters' are not in the table.
"""

from __future__ import annotations

from codesign.accelerator.energy.component import Component, ComponentEstimate, Figure
from codesign.accelerator.spec.energy_table import Provenance

__all__ = ["SOURCE", "wire", "wire_pJ_per_bit_mm"]

SOURCE = "Keckler et al., IEEE Micro 31(5), 2011, doi:10.1109/MM.2011.89, table 1"
NODES_NM = (10.0, 45.0)
RANDOM_ACTIVITY = 0.5

_PUBLISHED_fJ = {40.0: 240.0, 10.0: 150.0}


def wire_pJ_per_bit_mm(technology_nm: float, switching_activity: float = 1.0) -> float:
    """Energy in pJ of moving one bit over a millimetre; with the default activity, of one transition.

    Raises:
        ValueError: the node lies outside 10..45 nm.
    """
    if not NODES_NM[0] <= technology_nm <= NODES_NM[1]:
        raise ValueError(f"wire_pJ_per_bit_mm: the node must lie in {NODES_NM} nm (got {technology_nm!r})")
    (high, high_fJ), (low, low_fJ) = _PUBLISHED_fJ.items()
    femtojoules = low_fJ + (high_fJ - low_fJ) * (technology_nm - low) / (high - low)
    return switching_activity * femtojoules / 1e3


def wire(component: Component) -> ComponentEstimate:
    """A bundle of ``width`` wires of ``length`` micrometres; every action but ``leak`` moves one word.

    Raises:
        InputError: technology, width or length is missing or bad, or no figure covers the technology.
    """
    node, width, length_um = component.technology_nm, component.integer("width"), component.number("length")
    given = component.has("switching_activity")
    activity = component.number("switching_activity") if given else RANDOM_ACTIVITY
    if activity > 1:
        raise component.error("switching_activity", "switching_activity must be a share, at most 1")
    try:
        per_bit_mm = wire_pJ_per_bit_mm(node, activity)
    except ValueError as error:
        raise component.error(
            "technology", f"the wire energies are known for {NODES_NM[0]:g} to {NODES_NM[1]:g} nm"
        ) from error
    told = f"{width} bits x {length_um:g} um x switching activity {activity:g}"
    told += "" if given else " (random data)"
    published = node in _PUBLISHED_fJ
    law = told if published else f"linear in the node between 10 and 40 nm; {told}"
    moved = Figure(
        per_bit_mm * width * length_um / 1e3, Provenance(SOURCE, law, "published" if published else "scaled")
    )
    nothing = Figure(0.0, Provenance(SOURCE, "not modelled: repeaters' leakage and area", "published"))
    return ComponentEstimate({"leak": nothing}, nothing, dynamic=moved)
