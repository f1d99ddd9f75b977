"""The worst case of the efficiency claim: images that make a network with thresholds compute more neurons exactly.

Top-K and N:M always compute the same number, so there is nothing to attack. Under thresholds the number depends on the
image; this is projected gradient ascent (Madry et al., 2018) on the expected multiply-accumulates, the mask being
replaced by sigmoid((z~ - tau) / T) for the gradient. What is counted are the true masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codesign.defenses.neni.defending import DefendedModel
from codesign.defenses.neni.distillation import observed
from codesign.defenses.neni.gradients import GradientSettings
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.selection import Threshold
from codesign.defenses.neni.wrapping import defended_layers
from codesign.errors import InputError

__all__ = ["WorkAttackResult", "raise_work"]


@dataclass(frozen=True, eq=False)
class WorkAttackResult:
    """What an attack on the work found.

    Args:
        images: (n, c, h, w) in [0, 1], within eps of the originals: for each the one with the most work.
        clean_share, attacked_share: (n,), executed multiply-accumulates of the defended layers over all of theirs.
    """

    images: Tensor
    clean_share: Tensor
    attacked_share: Tensor


def raise_work(
    defended: DefendedModel,
    images: Tensor,
    *,
    eps: float,
    steps: int,
    step_size: float,
    generator: torch.Generator,
    temperature: float = 0.1,
) -> WorkAttackResult:
    """Attack the executed work within an L-infinity ball.

    Args:
        defended: selected by thresholds.
        images: float (n, c, h, w) in [0, 1], on the module's device.
        eps, step_size: pixels in [0, 1].
        steps: gradient evaluations.
        generator: draws the random start.
        temperature: T in standard deviations of a layer's z~ [R].

    Raises:
        InputError: another selection, a control, or images outside [0, 1].
    """
    settings = defended.settings
    if settings.selection != "threshold" or settings.control != "neni":
        raise InputError(
            "only selection by thresholds lets an image decide how much is computed",
            got=f"selection {settings.selection}, control {settings.control}",
            key="neni.selection",
        )
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("images must lie in [0, 1]", got="others", key="images")
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    meter = _Meter(defended, temperature)
    clean, _ = meter.read(images)
    best, most = images.clone(), clean.clone()
    start = torch.rand(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    candidate = low + (high - low) * start
    for _ in range(steps):
        candidate.requires_grad_()
        share, soft = meter.read(candidate)
        (gradient,) = torch.autograd.grad(soft.sum(), candidate)
        candidate = candidate.detach()
        _keep(best, most, candidate, share)
        candidate = torch.minimum(torch.maximum(candidate + step_size * gradient.sign(), low), high)
    with torch.no_grad():
        share, _ = meter.read(candidate)
    _keep(best, most, candidate, share)
    return WorkAttackResult(best, clean, most)


def _keep(best: Tensor, most: Tensor, candidate: Tensor, share: Tensor) -> None:
    better = share > most
    best[better], most[better] = candidate[better], share[better]


class _Meter:
    """Executed share of the defended layers' multiply-accumulates, true and differentiable."""

    def __init__(self, defended: DefendedModel, temperature: float) -> None:
        self._module = defended.module
        self._layers = defended_layers(defended.module)
        total = sum(report.bitops.undefended for report in defended.layers)
        self._weights = {report.name: report.bitops.undefended / total for report in defended.layers}
        self._temperature = temperature

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) each: the share by the masks, and by their soft stand-ins."""
        shares, softs = images.new_zeros(len(images)), images.new_zeros(len(images))

        def observer(layer: DefendedLayer, x: Tensor, _exact: Tensor) -> None:
            nonlocal softs
            assert isinstance(layer.plan.selector, Threshold)
            scores = layer.approximate(x)
            weight = self._weights[layer.plan.name]
            gap = (scores - layer.plan.selector.value).reshape(len(images), -1)
            unit = gap.detach().std(dim=1, correction=0, keepdim=True).clamp_min(1e-12)
            shares.add_(weight * (gap.detach() > 0).double().mean(dim=1).to(shares.dtype))
            softs = softs + weight * torch.sigmoid(gap / (self._temperature * unit)).mean(dim=1)

        former = [layer.gradient for layer in self._layers]
        for layer in self._layers:
            layer.gradient = GradientSettings("straight_through")
        try:
            with observed(self._layers, observer, exact_stream=False):
                self._module(images)
        finally:
            for layer, gradient in zip(self._layers, former, strict=True):
                layer.gradient = gradient
        return shares, softs
