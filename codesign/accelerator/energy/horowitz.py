"""Integer arithmetic after Horowitz's keynote, the other figure that the field quotes: a cross-check on aladdin.py.

Source: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, pp. 10-14,
doi:10.1109/ISSCC.2014.6757323, table of rough energies at 45 nm, 0.9 V:
    integer add: 8 bit 0.03 pJ, 32 bit 0.1 pJ; integer multiply: 8 bit 0.2 pJ, 32 bit 3.1 pJ

Scaling: width by the power law through both points; technology and voltage after Stillmaker & Baas from 45 nm, 0.9 V.
The table gives neither leakage nor delay nor, in print, area: ``leak`` is 0 and area 0, both marked as not given.
Use it in place of the built-in MAC with ``estimate(..., estimators={**BUILTIN, **HOROWITZ})``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from codesign.accelerator.energy import scaling
from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator, Figure
from codesign.accelerator.spec.energy_table import Provenance

__all__ = ["HOROWITZ", "add_pJ", "int_mac", "multiply_pJ"]

SOURCE = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323, 45 nm, 0.9 V"
NODE_NM = 45.0
NOMINAL_V = 0.9

_ADD_PJ = {8: 0.03, 32: 0.1}
_MULTIPLY_PJ = {8: 0.2, 32: 3.1}


def add_pJ(width: int) -> float:
    """Energy of an integer addition at 45 nm."""
    return _power_law(_ADD_PJ, width)


def multiply_pJ(width: int) -> float:
    """Energy of an integer multiplication at 45 nm."""
    return _power_law(_MULTIPLY_PJ, width)


def int_mac(component: Component) -> ComponentEstimate:
    """Integer multiply-accumulate: multiplication of ``width`` bits, addition of ``adder_width`` (else ``width``)."""
    width = component.integer("width")
    adder = component.integer("adder_width") if component.has("adder_width") else width
    volts = component.number("voltage") if component.has("voltage") else NOMINAL_V
    try:
        factor = scaling.energy_scale(NODE_NM, component.technology_nm, NOMINAL_V, volts)
    except ValueError as error:
        raise component.error("voltage", str(error)) from error
    law = f"power law through 8 and 32 bits at {width} and {adder} bits; technology and voltage after {scaling.SOURCE}"
    not_given = Figure(0.0, Provenance(SOURCE, "not modelled: the table does not give it", "published"))
    energy = (multiply_pJ(width) + add_pJ(adder)) * factor
    return ComponentEstimate({"leak": not_given}, not_given, dynamic=Figure(energy, Provenance(SOURCE, law, "scaled")))


def _power_law(points: Mapping[int, float], width: int) -> float:
    (low, low_pJ), (high, high_pJ) = points.items()
    return float(low_pJ * (width / low) ** (math.log(high_pJ / low_pJ) / math.log(high / low)))


HOROWITZ: Mapping[str, Estimator] = MappingProxyType({"intmac": int_mac})
"""Estimators that replace built-in ones of the same class."""
