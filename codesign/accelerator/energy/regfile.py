"""Register files built of the registers and comparators of aladdin.py.

Two compositions, because Accelergy has two:

* ``regfile`` (its Aladdin plug-in): access = one register *bit* + depth comparators of ceil(log2(depth)) bits. The
  register's energy is not multiplied by the width, nor its area and leakage by width and depth; kept as it is so that
  a design written for Timeloop costs here what it costs there. Too low for wide or shallow files.
* ``flipflop_regfile`` (the compound register file of the Timeloop exercises): access = width register bits + depth
  comparators; area and leakage count all width x depth bits. The architectures that ship with this package use it.

Scaling with clock period, technology and voltage is that of aladdin.py. Reads, writes and updates cost the same. No
multiplexer tree, clock tree or wires are modelled.
"""

from __future__ import annotations

import math

from codesign.accelerator.energy.aladdin import SOURCE, Costs, costs, estimate_of
from codesign.accelerator.energy.aladdin_tables import COMPARATOR, REGISTER
from codesign.accelerator.energy.component import Component, ComponentEstimate

__all__ = ["flipflop_regfile", "regfile"]

_PLUG_IN = f"{SOURCE}, composed as in Accelergy's Aladdin plug-in"
_EXERCISES = f"{SOURCE}, composed as in the Timeloop exercises' register file"


def regfile(component: Component) -> ComponentEstimate:
    """Register file as Accelergy's Aladdin plug-in composes it: the width changes nothing."""
    component.integer("width")
    total = costs(component, REGISTER) + _decoder(component)
    return estimate_of(component, total, f"one register bit + {component.integer('depth')} comparators", _PLUG_IN)


def flipflop_regfile(component: Component) -> ComponentEstimate:
    """Register file of ``depth`` words of ``width`` flip-flops; an access clocks one word and decodes its address."""
    width, depth = component.integer("width"), component.integer("depth")
    bit = costs(component, REGISTER)
    bits = width * depth
    word = Costs(bit.dynamic_pJ * width, bit.idle_pJ * bits, bit.area_um2 * bits)
    law = f"{width} register bits an access, {bits} in all, {depth} comparators"
    return estimate_of(component, word + _decoder(component), law, _EXERCISES)


def _decoder(component: Component) -> Costs:
    """One address comparator a word. (Accelergy takes their area from its 5 ns row whatever the period: 70, not 71.)"""
    depth = component.integer("depth")
    address_bits = math.ceil(math.log2(depth))
    return costs(component, COMPARATOR) * (depth * address_bits / 32)
