"""Random points of the ball: no attack, but what any attack must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts
from codesign.robustness.attacks.gradients import Found
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["RandomNoise"]


@final
@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """The worst of ``samples`` random points of the ball. With one sample: noise as it may happen, a control.

    Args:
        norm: of the perturbation.
        eps: radius, in units of the pixel range [0, 1].
        samples: points tried.
        places: "ball" uniform points of the ball, "corners" points at its edge in a direction of random signs, which
            reach further (in Linf every pixel moves by eps).
    """

    norm: Norm = LINF
    eps: float
    samples: int = 1
    places: Literal["ball", "corners"] = "ball"

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"samples": self.samples})
        known = ("ball", "corners")
        if self.places not in known:
            raise InputError("unknown places", got=self.places, key="places", fix=did_you_mean(str(self.places), known))
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def title(self) -> str:
        worst = f" worst of {self.samples}" if self.samples > 1 else ""
        return f"noise {self.norm.name} {eps_text(self.eps)}{worst}"

    @property
    def gradient_free(self) -> bool:
        return True

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        found = Found(images)
        for sample in range(self.samples):
            rows = torch.nonzero(~found.success).flatten()
            if not len(rows):
                break
            moved = self._moved(images[rows], streams.select(rows), sample)
            with torch.no_grad():
                logits = logits_of(model, moved)
            found.update(rows, moved, margin(logits, labels[rows]), logits.argmax(dim=1) != labels[rows])
        return AttackResult(found.images, found.success)

    def _moved(self, images: torch.Tensor, streams: RandomStreams, sample: int) -> torch.Tensor:
        shape = tuple(images.shape[1:])
        if self.places == "ball":
            draws = [self.norm.random_start(shape, self.eps, one) for one in streams.generators("noise", sample)]
            return self.norm.project(images + torch.stack(draws).to(images), images, self.eps)
        signs = [torch.rand(shape, generator=one) - 0.5 for one in streams.generators("corners", sample)]
        step = self.norm.direction(torch.stack(signs).sign().to(images))
        return self.norm.project(images + self.eps * step, images, self.eps)
