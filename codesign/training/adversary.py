"""The attack of the inner loop of adversarial training: PGD in the L-infinity ball (Madry et al., 2018).

This is the adversary that a network is trained against and monitored with. Claims about robustness are made with the
attacks of ``codesign.robustness``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["LinfPGD"]


@dataclass(frozen=True, slots=True)
class LinfPGD:
    """Projected gradient ascent on the cross entropy: uniform random start, signed steps, last iterate.

    Args:
        eps: radius of the ball, in pixels of [0, 1].
        step_size: of one step, in pixels of [0, 1].
        steps: number of gradient evaluations.
    """

    eps: float
    step_size: float
    steps: int

    def perturb(
        self, forward: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Adversarial images of the same shape, within ``eps`` of ``pixels`` and within [0, 1].

        ``forward`` maps pixels to logits. Only gradients with respect to the pixels are computed, so that no
        parameter's ``grad`` changes. The random start is drawn on the generator's device, the same for any device of
        the images.
        """
        low, high = (pixels - self.eps).clamp_(0, 1), (pixels + self.eps).clamp_(0, 1)
        noise = torch.rand(pixels.shape, generator=generator, dtype=pixels.dtype).to(pixels.device)
        adversarial = low + (high - low) * noise
        for _ in range(self.steps):
            adversarial.requires_grad_()
            loss = F.cross_entropy(forward(adversarial).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
            stepped = adversarial.detach() + self.step_size * gradient.sign()
            adversarial = torch.minimum(torch.maximum(stepped, low), high)
        return adversarial
