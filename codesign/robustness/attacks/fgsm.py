"""The fast gradient (sign) method: one step of the full radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch

from codesign.robustness.attacks.base import Attack, AttackResult
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.inference import Model
from codesign.robustness.streams import RandomStreams

__all__ = ["FGSM"]


@final
@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """x + eps * direction of the gradient at x: PGD with one step of length eps and no random start.

    I. Goodfellow, J. Shlens and C. Szegedy, ICLR 2015, arXiv 1412.6572. Weak: a model that stands only against this
    is not robust.

    Args:
        norm: of the perturbation (in L2 the method is called fast gradient method).
        eps: radius, in units of the pixel range [0, 1].
        loss: "ce" cross entropy, "dlr" difference of logits ratio, "best" the worse of both.
    """

    norm: Norm = LINF
    eps: float
    loss: Literal["ce", "dlr", "best"] = "ce"

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", self._as_pgd().eps)

    def _as_pgd(self) -> PGD:
        return PGD(norm=self.norm, eps=self.eps, steps=1, step_size=self.eps, random_start=False, loss=self.loss)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        return self._as_pgd().perturb(model, images, labels, streams)
