"""How a defended network answers an attacker who asks for gradients. The values of a forward pass never change.

The method rounds and selects, which hides gradients without making a network robust; an evaluation must therefore try
every mode and count the pointwise worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from codesign.defenses.neni.selection import Selector
from codesign.errors import InputError, did_you_mean

__all__ = ["GRADIENT_MODES", "GradientMode", "GradientSettings", "combine", "with_gradient_of"]

GradientMode = Literal[
    "as_coded", "straight_through", "soft_mask", "bpda_exact", "bpda_approximate", "jittered_thresholds"
]
GRADIENT_MODES: tuple[GradientMode, ...] = get_args(GradientMode)


@dataclass(frozen=True, slots=True)
class GradientSettings:
    """What stands in for the derivative of rounding and selection.

    Args:
        mode: ``as_coded`` is what autograd makes of the code; ``straight_through`` passes gradients through rounding,
            the mask being a constant; ``soft_mask`` differentiates sigmoid((z~ - tau) / T) in place of the mask;
            ``bpda_exact`` takes z' for z, ``bpda_approximate`` for z~ (Athalye et al., 2018, arXiv:1802.00420);
            ``jittered_thresholds`` averages the mask over Gaussian thresholds around tau, in closed form, as a
            constant. All but ``as_coded`` pass gradients through rounding.
        temperature: T, in standard deviations of the layer's z~ [R].
        jitter: standard deviation of the thresholds, in standard deviations of the layer's z~ [R].
    """

    mode: GradientMode = "as_coded"
    temperature: float = 0.1
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in GRADIENT_MODES:
            fix = did_you_mean(str(self.mode), GRADIENT_MODES)
            raise InputError("unknown gradient mode", got=self.mode, key="gradient_mode", fix=fix)
        for name in ("temperature", "jitter"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0", got=getattr(self, name), key=f"gradient_mode.{name}")


def combine(
    mask: Tensor, exact: Tensor, approximate: Tensor, selector: Selector, axis: int, settings: GradientSettings
) -> Tensor:
    """z' = z m + z~ (1 - m), with the gradient that ``settings`` asks for."""
    hard = _chosen(mask, exact, approximate)
    if settings.mode in ("as_coded", "straight_through") or not hard.requires_grad:
        return hard
    if settings.mode == "bpda_exact":
        return with_gradient_of(exact, hard)
    if settings.mode == "bpda_approximate":
        return with_gradient_of(approximate, hard)
    scores = approximate.detach()
    distance = approximate - selector.threshold(scores, axis)
    unit = _deviations(scores)
    if settings.mode == "soft_mask":
        essential = torch.sigmoid(distance / (settings.temperature * unit))
    else:
        essential = torch.special.ndtr(distance.detach() / (settings.jitter * unit))
    return with_gradient_of(essential * exact + (1 - essential) * approximate, hard)


def _deviations(scores: Tensor) -> Tensor:
    """Standard deviation of each sample's values, (batch, 1, ...), not 0. Torch's own takes four times as long."""
    flat = scores.flatten(1)
    found = torch.linalg.vector_norm(flat - flat.mean(dim=1, keepdim=True), dim=1) / flat.shape[1] ** 0.5
    units: Tensor = found.clamp_min(1e-12).reshape(-1, *([1] * (scores.ndim - 1)))
    return units


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _chosen(mask: Tensor, exact: Tensor, approximate: Tensor) -> Tensor:
    """``torch.where``, which on a CPU takes ten times as long as the bitwise operators used here instead."""
    if torch.compiler.is_compiling():
        return torch.where(mask, exact, approximate)
    chosen: Tensor = _Chosen.apply(mask, exact, approximate)  # type: ignore[no-untyped-call]
    return chosen


class _Chosen(torch.autograd.Function):
    """Every bit of ``exact`` where the mask is set, else of ``approximate``."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor, exact: Tensor, approximate: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        kind = _BITS[exact.element_size()]
        ours, other = exact.view(kind), approximate.view(kind)
        return (ours ^ other).bitwise_and_(mask.to(kind).neg_()).bitwise_xor_(other).view(exact.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        (mask,) = ctx.saved_tensors
        (gradient,) = gradients
        kept = gradient * mask.to(gradient.dtype)
        return None, kept, gradient - kept


def with_gradient_of(stand_in: Tensor, value: Tensor) -> Tensor:
    """``value``, exactly, with the gradient of ``stand_in``."""
    return value.detach() + (stand_in - stand_in.detach())
