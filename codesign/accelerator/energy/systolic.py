"""The cell of a systolic array: a multiply-accumulate and the registers that hand its operand and its sum on.

Structure: N. P. Jouppi et al., "In-datacenter performance analysis of a tensor processing unit", ISCA 2017,
doi:10.1145/3079856.3080246, figure 4: in every cycle an activation moves on to the next column and a partial sum to
the next row, so that each cell clocks one register of ``width`` bits and one of ``adder_width`` bits a MAC.

Figures and scaling: those of aladdin.py; the parts add up. The register that holds the stationary weight is a storage
level of the architecture and not part of this component.
"""

from __future__ import annotations

from codesign.accelerator.energy.aladdin import SOURCE, costs, estimate_of
from codesign.accelerator.energy.aladdin_tables import ADDER, MULTIPLIER, REGISTER
from codesign.accelerator.energy.component import Component, ComponentEstimate

__all__ = ["systolic_mac"]


def systolic_mac(component: Component) -> ComponentEstimate:
    """Multiplier of ``width`` bits, adder of ``adder_width`` bits, one register of each width."""
    width, adder = component.integer("width"), component.integer("adder_width")
    total = (
        costs(component, MULTIPLIER) * (width / 32) ** 2
        + costs(component, ADDER) * (adder / 32)
        + costs(component, REGISTER) * (width + adder)
    )
    law = f"multiplier quadratic to {width} bits, adder linear to {adder}, {width + adder} register bits"
    return estimate_of(component, total, law, f"{SOURCE}, composed after Jouppi et al., ISCA 2017, figure 4")
