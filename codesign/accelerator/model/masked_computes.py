"""What becomes of the computes when masks decide: done, gated, skipped or kept away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from codesign.accelerator.model.activity import ComputeActivity, Fates
from codesign.accelerator.model.events import Event, scalar
from codesign.accelerator.model.ragged import share_of
from codesign.accelerator.model.survival import Survival

__all__ = ["KeptAway", "Unit", "masked_computes", "part"]


@dataclass(frozen=True, slots=True)
class KeptAway:
    """Events that keep operands, and so computes, away from the compute units, by how the storage saves.

    Where an operand is gated, the cycle of the compute passes all the same.
    """

    skipping: tuple[Event, ...] = ()
    gating: tuple[Event, ...] = ()

    @property
    def all(self) -> tuple[Event, ...]:
        return self.skipping + self.gating


@dataclass(frozen=True, slots=True)
class Unit:
    """What the compute level knows and does.

    Args:
        operands: ids of the two read-only tensors.
        known: whether the innermost storage of each has metadata, so that its zeros do not arrive at all.
        outputs: id of the tensor that is written.
        on_operands, on_outputs: gating and skipping of computes with a zero operand, and of masked outputs.
    """

    operands: tuple[int, int]
    known: tuple[bool, bool]
    outputs: int
    on_operands: frozenset[str]
    on_outputs: frozenset[str]


def part(count: int, share: Fraction | float) -> int:
    """That share of a count, to the nearest integer (halves upwards); exact for a Fraction."""
    if isinstance(share, Fraction):
        return (2 * count * share.numerator + share.denominator) // (2 * share.denominator)
    return int(count * share + 0.5)


def masked_computes(
    dense: ComputeActivity, unit: Unit, kept_away: KeptAway, survival: Survival, existing: Sequence[Event] = ()
) -> ComputeActivity:
    """Fates of all computes; those of different samples are averaged.

    Args:
        existing: what must not happen for an operation to exist, in a nest with imperfect loops.
    """
    total = dense.fates.random

    def alive(*events: Event) -> int:
        return part(total, share_of(survival, (*kept_away.all, *events), existing))

    arriving = alive()
    skipped_storage = total - part(total, share_of(survival, kept_away.skipping, existing))
    gated_storage = total - skipped_storage - arriving
    fates = Fates()
    masked: tuple[Event, ...] = ()
    if unit.on_outputs:
        masked = (scalar(unit.outputs),)
        _take(fates, arriving - alive(*masked), unit.on_outputs)
    effectual = _operand_fates(fates, unit, [alive(*masked, *zero) for zero in _zeros(unit.operands)])
    fates.random = effectual
    return ComputeActivity(
        dense.algorithmic,
        fates,
        dense.average_replication,
        kept_away_by_gating=gated_storage,
        kept_away_by_skipping=skipped_storage,
        idle=gated_storage,
    )


def _zeros(operands: tuple[int, int]) -> tuple[tuple[Event, ...], ...]:
    first, second = (scalar(index) for index in operands)
    return (), (first,), (second,), (first, second)


def _take(fates: Fates, count: int, kinds: frozenset[str]) -> None:
    if "skipping" in kinds:
        fates.skipped += count
    else:
        fates.gated += count


def _operand_fates(fates: Fates, unit: Unit, alive: Sequence[int]) -> int:
    """Gate and skip for zero operands, in place; what is left is done.

    Args:
        alive: computes that arrive; of them with the first, the second, both operands nonzero.
    """
    arriving, first, second, both = alive
    kinds = unit.on_operands
    if not kinds:
        return arriving
    done = arriving
    # Computes with one zero operand, and with two; is the zero never sent ("missing"), or is it there?
    for count, missing in (
        (first - both, int(unit.known[1])),
        (second - both, int(unit.known[0])),
        (arriving - first - second + both, sum(unit.known)),
    ):
        if missing == 2:  # neither operand arrives: there is no such compute
            done -= count
        elif missing == 1:
            done -= count
            _take(fates, count, kinds)
        elif "gating" in kinds:
            done -= count
            fates.gated += count
    return done
