"""What becomes of the computes: done, gated or skipped, from the states of the two operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from codesign.accelerator.model.activity import Fates

__all__ = ["Operand", "compute_fates"]


@dataclass(frozen=True, slots=True)
class Operand:
    """One of the two read-only tensors at the compute units.

    Args:
        density: share of nonzeros of a single word.
        has_metadata: its innermost storage knows where the zeros are, so zeros do not arrive at all.
        leader_empty: probability with which accesses to this operand were already saved because the *other* one is
            zero; None if they are not.
    """

    density: float
    has_metadata: bool
    leader_empty: float | None


def compute_fates(total: int, operands: Sequence[Operand], *, gating: bool, skipping: bool) -> Fates:
    """Fates of ``total`` computes that reach the units. Operands are independent of each other."""
    first, second = operands
    nonzero = (_nonzero(first, second), _nonzero(second, first))
    zero = tuple(0.0 if o.has_metadata else 1 - p for o, p in zip(operands, nonzero, strict=True))
    missing = tuple(1 - p if o.has_metadata else 0.0 for o, p in zip(operands, nonzero, strict=True))
    useless = nonzero[0] * zero[1] + zero[0] * nonzero[1] + zero[0] * zero[1]
    unaligned = (nonzero[0] + zero[0]) * missing[1] + missing[0] * (nonzero[1] + zero[1])
    absent = missing[0] * missing[1]
    skipped = gated = 0.0
    if skipping:
        skipped += total * unaligned
    elif gating:
        gated += total * unaligned
    if gating:
        gated += total * useless
    gone = floor(total * absent)
    done = total - floor(skipped) - floor(gated) - gone
    return Fates(random=done, gated=floor(gated), skipped=floor(skipped))


def _nonzero(operand: Operand, other: Operand) -> float:
    """Probability that the operand is nonzero, given that what the other one's accesses wait for was not empty."""
    density = round(operand.density * 1e6) / 1e6
    if other.leader_empty is not None:
        density = density / (1 - other.leader_empty) if other.leader_empty < 1 else 0.0
    return min(1.0, max(0.0, density))
