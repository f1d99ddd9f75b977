"""Bit operations of a defended layer, after the definition that fits the published savings."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.defenses.neni.projection import NONZERO_SHARE

__all__ = ["BitOps", "layer_bitops", "matched_bits"]


@dataclass(frozen=True, slots=True)
class BitOps:
    """Bit operations of one sample.

    Args:
        undefended: of the exact layer, b^2 a multiply-accumulate.
        exact: of the essential neurons' exact products.
        approximate: of W~ Px, b_a^2 a multiply-accumulate.
        projection: of Px, b an addition, a third of the entries.
    """

    undefended: float
    exact: float
    approximate: float
    projection: float

    @property
    def defended(self) -> float:
        """The sum of the three parts."""
        return self.exact + self.approximate + self.projection


def layer_bitops(
    macs: int, outputs: int, inputs: int, groups: int, dimension: int, share: float, bits: int, approximation_bits: int
) -> BitOps:
    """rho n d b^2 + n k b_a^2 + (k d / 3) b for every output position (and k d / 3 a group).

    Args:
        macs: multiply-accumulates of one sample, positions * n * d.
        outputs: n, output channels of all groups.
        inputs: d, inputs of one neuron.
        groups: each projects its own inputs.
        dimension: k.
        share: rho, measured or asked for.
        bits, approximation_bits: b and b_a.
    """
    positions = macs / (outputs * inputs)
    return BitOps(
        undefended=macs * bits**2,
        exact=share * macs * bits**2,
        approximate=positions * outputs * dimension * approximation_bits**2,
        projection=positions * groups * dimension * inputs * NONZERO_SHARE * bits,
    )


def matched_bits(bitops: BitOps, macs: int) -> int:
    """The most bits of a plainly quantised layer with no more BitOPs; at least 2, the fewest that symmetric codes have.

    Where 2 bits need more than ``bitops.defended``, the comparison favours the quantised layer.
    """
    return max(2, int((bitops.defended / macs) ** 0.5 + 1e-9))
