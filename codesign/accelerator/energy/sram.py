"""On-chip SRAM of any size, from the CACTI points (cacti.py) and, outside them, Accelergy's scaling laws.

Attributes: technology, width (bits of one access), depth (such accesses in the array), global_cycle_seconds for the
leakage; n_banks (2 where it is not given, which is what the Timeloop v0.4 front end writes into every storage) and
voltage are optional.

Laws, all of Accelergy's CACTI plug-in, so that both tools say the same of an array that CACTI cannot build:

* narrower than 32 bits, or not a multiple of 8: the next width that CACTI builds, energy x (0.7 share + 0.3), leakage
  and area x share, where share = width / that width;
* shallower than the shallowest point: energy x share^0.78, leakage and area x share;
* between two technologies linear; below 22 nm with s = technology / 22: energy x sqrt(s), area x s, leakage x
  0.79 sqrt(s) (FinFET); above 90 nm all x (technology / 90)^2;
* wider than 512 bits, deeper than 131072 words, or other than 1, 2 or 4 banks: an error, no law is known.

With ``voltage`` the dynamic energy goes with its square, from the supply voltage that CACTI assumes for the node.
"""

from __future__ import annotations

import math

from codesign.accelerator.energy.cacti import SOURCE, CactiTable, Quantities, cacti_table
from codesign.accelerator.energy.component import Component, ComponentEstimate, Figure
from codesign.accelerator.spec.energy_table import Confidence, Provenance

__all__ = ["sram"]

DEFAULT_BANKS = 2

# Supply voltage of the itrs-lstp devices in CACTI 7's technology files.
_CACTI_V = {22: 0.8, 32: 1.0, 45: 1.1, 65: 1.2, 90: 1.3}


def sram(component: Component) -> ComponentEstimate:
    """Read, write, update (pJ an access of ``width`` bits), leak (pJ a cycle) and area (um2) of one SRAM.

    Raises:
        InputError: an attribute is missing or lies where neither a point nor a law covers it.
    """
    table = cacti_table()
    width, depth = component.integer("width"), component.integer("depth")
    banks = component.integer("n_banks") if component.has("n_banks") else DEFAULT_BANKS
    notes: list[str] = []
    array, shares = _buildable(component, table, width, depth, banks, notes)
    read, write, leak_W, area = _at_technology(component, table, *array, banks, notes)
    dynamic = (0.7 * shares[0] + 0.3) * shares[1] ** 0.78 * _voltage_factor(component, notes)
    static = shares[0] * shares[1]
    on_a_point = not notes
    confidence: Confidence = "simulated" if on_a_point else "scaled"
    provenance = Provenance(SOURCE, "none" if on_a_point else "; ".join(notes), confidence)
    leak_pJ = leak_W * static * component.cycle_seconds * 1e12
    leaking = Provenance(SOURCE, "; ".join([*notes, "leakage power of all banks x global_cycle_seconds"]), confidence)
    written = Figure(write * dynamic, provenance)
    return ComponentEstimate(
        {
            "read": Figure(read * dynamic, provenance),
            "write": written,
            "update": written,
            "leak": Figure(leak_pJ, leaking),
        },
        Figure(area * static, provenance),
    )


def _buildable(
    component: Component, table: CactiTable, width: int, depth: int, banks: int, notes: list[str]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """The array that is looked up, (width, depth), and the shares of it, (width, depth), that the component has."""
    if banks not in table.banks:
        known = ", ".join(map(str, table.banks))
        raise component.error("n_banks", f"n_banks must be one of {known}", fix="the energy table has no other")
    widths, depths = table.widths, table.depths(banks)
    built_width = max(8 * math.ceil(width / 8), widths[0])
    built_depth = max(depth, depths[0])
    if built_width > widths[-1]:
        raise component.error("width", f"width must be at most {widths[-1]} bits", fix="split it into several SRAMs")
    if built_depth > depths[-1]:
        raise component.error("depth", f"depth must be at most {depths[-1]} words", fix="split it into several SRAMs")
    if built_width != width:
        notes.append(f"width {width} of a {built_width}-bit array: energy x (0.7 w + 0.3), leakage and area x w")
    if built_depth != depth:
        notes.append(f"depth {depth} of a {built_depth}-word array: energy x d^0.78, leakage and area x d")
    if built_width not in widths or built_depth not in depths:
        notes.append("between characterised sizes: bilinear in log(width), log(depth)")
    return (built_width, built_depth), (width / built_width, depth / built_depth)


def _at_technology(
    component: Component, table: CactiTable, width: int, depth: int, banks: int, notes: list[str]
) -> Quantities:
    node, nodes = component.technology_nm, table.technologies_nm
    inside = min(max(node, nodes[0]), nodes[-1])
    below, above = max(n for n in nodes if n <= inside), min(n for n in nodes if n >= inside)
    if any((n, table.widths[0], table.depths(banks)[0], banks) not in table.logs for n in (below, above)):
        notes.append(f"{banks} banks told from the technologies and bank counts that are characterised")
    low, high = table.at(below, width, depth, banks), table.at(above, width, depth, banks)
    share = 0.0 if below == above else (inside - below) / (above - below)
    if share:
        notes.append(f"linear between {below} and {above} nm")
    read, write, leak, area = ((1 - share) * a + share * b for a, b in zip(low, high, strict=True))
    scale = node / inside
    if scale < 1:
        notes.append(f"{inside:g} -> {node:g} nm: energy x sqrt(s), area x s, leakage x 0.79 sqrt(s)")
        root = math.sqrt(scale)
        return read * root, write * root, leak * 0.79 * root, area * scale
    if scale > 1:
        notes.append(f"{inside:g} -> {node:g} nm: all x s^2")
    return read * scale**2, write * scale**2, leak * scale**2, area * scale**2


def _voltage_factor(component: Component, notes: list[str]) -> float:
    if not component.has("voltage"):
        return 1.0
    volts, node = component.number("voltage"), component.technology_nm
    nodes = sorted(_CACTI_V)
    inside = min(max(node, nodes[0]), nodes[-1])
    below, above = max(n for n in nodes if n <= inside), min(n for n in nodes if n >= inside)
    share = 0.0 if below == above else (inside - below) / (above - below)
    nominal = (1 - share) * _CACTI_V[below] + share * _CACTI_V[above]
    notes.append(f"supply {nominal:g} -> {volts:g} V: dynamic energy x (V/V0)^2")
    return (volts / nominal) ** 2
