"""Which neurons are essential: those with the largest signed approximate values.

Of equal values the one with the lower channel comes first, so that every path below gives the same mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from codesign.defenses.neni.networks import order_statistics
from codesign.errors import InputError

__all__ = ["NofM", "Selector", "Threshold", "TopK", "kept_of"]

_NETWORK_WIRES = 64
"""Above so many channels a library's top-k is not slower than a network."""


def kept_of(share: float, neurons: int) -> int:
    """K = round(rho n) to the nearest, half up, at least 1."""
    return max(1, int(share * neurons + 0.5))


class Selector(Protocol):
    """A selection rule. ``scores`` are (batch, channels, ...) with ``axis`` 1 or (..., channels) with ``axis`` -1."""

    def mask(self, scores: Tensor, axis: int) -> Tensor:
        """bool of the shape of ``scores``: True is essential."""

    def threshold(self, scores: Tensor, axis: int) -> Tensor:
        """What a score is compared with, between the last essential and the first other one; broadcasts."""


@dataclass(frozen=True, slots=True)
class TopK:
    """The ``kept`` largest of all channels at each position."""

    kept: int

    def mask(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``."""
        channels = scores.shape[axis]
        if self.kept >= channels:
            return torch.ones_like(scores, dtype=torch.bool)
        last, following = _descending(scores, axis, (self.kept - 1, self.kept))
        return _largest(scores, last, following, self.kept, axis)

    def threshold(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``; minus infinity where every neuron is essential."""
        if self.kept >= scores.shape[axis]:
            return torch.full_like(scores.select(axis, 0), -torch.inf).unsqueeze(axis)
        last, following = _descending(scores, axis, (self.kept - 1, self.kept))
        return (last + following) / 2


@dataclass(frozen=True, slots=True)
class NofM:
    """The ``kept`` largest of every ``size`` consecutive channels."""

    kept: int
    size: int

    def mask(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``."""
        grouped, inner = self._grouped(scores, axis)
        return TopK(self.kept).mask(grouped, inner).reshape(scores.shape)

    def threshold(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``."""
        grouped, inner = self._grouped(scores, axis)
        return TopK(self.kept).threshold(grouped, inner).expand(grouped.shape).reshape(scores.shape)

    def check(self, channels: int, layer: str) -> None:
        """Raise InputError where the groups do not fill the channels."""
        if channels % self.size:
            raise InputError(
                f"M must divide the {channels} output channels of {layer}",
                got=f"{self.kept}:{self.size}",
                key="neni.group",
                fix=f"choose another N:M, or leave {layer} exact",
            )

    def _grouped(self, scores: Tensor, axis: int) -> tuple[Tensor, int]:
        axis %= scores.ndim
        shape = scores.shape
        return scores.reshape(*shape[:axis], -1, self.size, *shape[axis + 1 :]), axis + 1


@dataclass(frozen=True, slots=True)
class Threshold:
    """Every neuron above a value that was calibrated for the layer: no sorting, and no fixed number."""

    value: float

    def mask(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``."""
        del axis
        return scores > self.value

    def threshold(self, scores: Tensor, axis: int) -> Tensor:
        """See ``Selector``."""
        return torch.full_like(scores.select(axis, 0), self.value).unsqueeze(axis)


def _descending(scores: Tensor, axis: int, ranks: tuple[int, ...]) -> list[Tensor]:
    """The values of the given ranks (0 is the largest), the axis kept with size 1."""
    channels = scores.shape[axis]
    # A traced graph gets one operator instead of hundreds.
    if channels > _NETWORK_WIRES or torch.compiler.is_compiling():
        values = scores.topk(ranks[-1] + 1, dim=axis).values
        return [values.narrow(axis, rank, 1) for rank in ranks]
    found = order_statistics(scores, axis, tuple(channels - 1 - rank for rank in reversed(ranks)))
    return [plane.unsqueeze(axis) for plane in reversed(found)]


def _largest(scores: Tensor, last: Tensor, following: Tensor, kept: int, axis: int) -> Tensor:
    """The ``kept`` largest, given the smallest of them and the one below it; of equal ones the first."""
    # Not above it, rather than equal: a NaN, too, goes the long way.
    if not torch.compiler.is_compiling() and bool((last > following).all()):
        return scores >= last
    above, equal = scores > last, scores == last
    places = kept - above.sum(dim=axis, keepdim=True)
    return above | (equal & (equal.cumsum(dim=axis) <= places))
