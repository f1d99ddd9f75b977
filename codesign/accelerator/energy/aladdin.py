"""Arithmetic and registers characterised in a commercial 40 nm library, by clock period.

Source: Y. S. Shao, B. Reagen, G.-Y. Wei, D. Brooks, "Aladdin: a pre-RTL, power-performance accelerator simulator
enabling large design space exploration of customized architectures", ISCA 2014, doi:10.1109/ISCA.2014.6853196
(tables: aladdin_tables.py).

Scaling:
* width: adder, comparator and counter linear from 32 bits; multiplier quadratic; register per bit; a MAC is adder plus
  multiplier, a floating-point one likewise, both linear / quadratic in exponent + mantissa bits from 32;
* clock period: the row of the period rounded up to a whole ns (0.5 ns at or below 0.75 ns, 10 ns above 6 ns; the first
  row where there is none for that period); idle energy linear in the period within a row;
* technology: the tables hold for 40 to 45 nm, as in Accelergy; beyond, energy (and with it leakage) and area after
  Stillmaker & Baas (scaling.py), from 45 nm upwards and from 40 nm downwards;
* voltage, where it is given: the same polynomials, from the 0.9 V that is nominal for a 40 nm G process; not leakage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from codesign.accelerator.energy import scaling
from codesign.accelerator.energy.aladdin_tables import (
    ADDER,
    COMPARATOR,
    COUNTER,
    FP_ADDER,
    FP_MULTIPLIER,
    MULTIPLIER,
    Row,
)
from codesign.accelerator.energy.component import Component, ComponentEstimate, Figure
from codesign.accelerator.spec.energy_table import Confidence, Provenance

__all__ = [
    "Costs",
    "comparator",
    "costs",
    "counter",
    "estimate_of",
    "fp_adder",
    "fp_mac",
    "fp_multiplier",
    "int_adder",
    "int_mac",
    "int_multiplier",
]

SOURCE = "Aladdin (Shao et al., ISCA 2014, doi:10.1109/ISCA.2014.6853196), 40 nm"
NOMINAL_V = 0.9
TABLE_NM = (40.0, 45.0)


_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Costs:
    """Dynamic energy (pJ an operation), idle energy (pJ a clock period) and area (um2) of a piece of logic."""

    dynamic_pJ: float
    idle_pJ: float
    area_um2: float

    def __add__(self, other: Costs) -> Costs:
        """Both pieces of logic work in the operation: energies and areas add up."""
        return Costs(self.dynamic_pJ + other.dynamic_pJ, self.idle_pJ + other.idle_pJ, self.area_um2 + other.area_um2)

    def __mul__(self, factor: float) -> Costs:
        """That many copies, all of which work."""
        return Costs(self.dynamic_pJ * factor, self.idle_pJ * factor, self.area_um2 * factor)


def costs(component: Component, table: Sequence[Row]) -> Costs:
    """A table's row for the component's clock period, scaled to its technology and voltage.

    Raises:
        InputError: technology or global_cycle_seconds is missing, or the voltage lies outside the polynomials' range.
    """
    period_ns = component.cycle_seconds * 1e9
    row = _row(table, period_ns)
    node = component.technology_nm
    reference = min(max(node, TABLE_NM[0]), TABLE_NM[1])
    idle = row.idle_pJ * period_ns / row.period_ns * scaling.energy_scale(reference, node)
    if component.has("voltage"):
        volts = component.number("voltage")
        low, high = scaling.VOLTAGE_RANGE_V
        if not low <= volts <= high:
            raise component.error("voltage", f"voltage must lie in {low}..{high} V for the energy of logic")
        factor = scaling.energy_scale(reference, node, NOMINAL_V, volts)
    else:
        factor = scaling.energy_scale(reference, node)
    return Costs(row.dynamic_pJ * factor, idle, row.area_um2 * scaling.area_scale(reference, node))


def estimate_of(component: Component, total: Costs, law: str, source: str = SOURCE) -> ComponentEstimate:
    """The answer for a piece of logic: every action costs its dynamic energy, ``leak`` its idle energy."""
    notes = [law] if law else []
    node = component.technology_nm
    if not TABLE_NM[0] <= node <= TABLE_NM[1]:
        notes.append(f"40-45 -> {node:g} nm after {scaling.SOURCE}")
    if component.has("voltage"):
        notes.append(f"supply {NOMINAL_V:g} -> {component.number('voltage'):g} V after {scaling.SOURCE}")
    confidence: Confidence = "scaled" if notes else "published"
    provenance = Provenance(source, "; ".join(notes) or "none", confidence)
    idle = Provenance(source, "; ".join([*notes, "idle energy of one period"]), confidence)
    return ComponentEstimate(
        {"leak": Figure(total.idle_pJ, idle)},
        Figure(total.area_um2, provenance),
        dynamic=Figure(total.dynamic_pJ, provenance),
    )


def int_adder(component: Component) -> ComponentEstimate:
    """Integer adder of ``width`` bits."""
    width = component.integer("width")
    return estimate_of(component, costs(component, ADDER) * (width / _WIDTH), _linear(width))


def int_multiplier(component: Component) -> ComponentEstimate:
    """Integer multiplier of ``width`` x ``width`` bits."""
    width = component.integer("width")
    return estimate_of(component, costs(component, MULTIPLIER) * (width / _WIDTH) ** 2, _quadratic(width))


def int_mac(component: Component) -> ComponentEstimate:
    """Integer multiply-accumulate: multiplier of ``width`` x ``width`` bits and adder of ``adder_width`` bits.

    ``adder_width`` is ``width`` where it is not given, as in Accelergy's intmac.
    """
    width = component.integer("width")
    adder = component.integer("adder_width") if component.has("adder_width") else width
    total = costs(component, ADDER) * (adder / _WIDTH) + costs(component, MULTIPLIER) * (width / _WIDTH) ** 2
    return estimate_of(component, total, _mac_law(adder, width))


def fp_adder(component: Component) -> ComponentEstimate:
    """Floating-point adder of ``exponent`` + ``mantissa`` bits (the sign counts as mantissa), at most 32."""
    bits = _floating_bits(component)
    return estimate_of(component, costs(component, FP_ADDER) * (bits / _WIDTH), _linear(bits))


def fp_multiplier(component: Component) -> ComponentEstimate:
    """Floating-point multiplier of ``exponent`` + ``mantissa`` bits (the sign counts as mantissa), at most 32."""
    bits = _floating_bits(component)
    return estimate_of(component, costs(component, FP_MULTIPLIER) * (bits / _WIDTH) ** 2, _quadratic(bits))


def fp_mac(component: Component) -> ComponentEstimate:
    """Floating-point multiply-accumulate: adder plus multiplier of the same format."""
    bits = _floating_bits(component)
    total = costs(component, FP_ADDER) * (bits / _WIDTH) + costs(component, FP_MULTIPLIER) * (bits / _WIDTH) ** 2
    return estimate_of(component, total, _mac_law(bits, bits))


def comparator(component: Component) -> ComponentEstimate:
    """Comparator of ``width`` bits."""
    width = component.integer("width")
    return estimate_of(component, costs(component, COMPARATOR) * (width / _WIDTH), _linear(width))


def counter(component: Component) -> ComponentEstimate:
    """Counter of ``width`` bits."""
    width = component.integer("width")
    return estimate_of(component, costs(component, COUNTER) * (width / _WIDTH), _linear(width))


def _row(table: Sequence[Row], period_ns: float) -> Row:
    # Rounded first: 1e-9 s times 1e9 is 1.0000000000000002 ns, which must not become the row of 2 ns.
    whole = math.ceil(round(period_ns, 6))
    wanted = 0.5 if period_ns <= 0.75 else 10 if whole > 6 else whole
    return next((row for row in table if row.period_ns == wanted), table[0])


def _floating_bits(component: Component) -> int:
    bits = component.integer("exponent") + component.integer("mantissa")
    if bits > _WIDTH:
        raise component.error("mantissa", "exponent and mantissa must have at most 32 bits together")
    return bits


def _linear(width: int) -> str:
    return "" if width == _WIDTH else f"linear, {_WIDTH} -> {width} bits"


def _quadratic(width: int) -> str:
    return "" if width == _WIDTH else f"quadratic, {_WIDTH} -> {width} bits"


def _mac_law(adder: int, multiplier: int) -> str:
    """How adder and multiplier of a MAC were scaled; empty if neither was."""
    told = {"adder": _linear(adder), "multiplier": _quadratic(multiplier)}
    return "; ".join(f"{name}: {law}" for name, law in told.items() if law)
