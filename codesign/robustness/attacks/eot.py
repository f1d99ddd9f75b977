"""PGD on the mean of a random model's draws: expectation over transformation.

A. Athalye, L. Engstrom, A. Ilyas and K. Kwok, ICML 2018, arXiv 1707.07397; A. Athalye, N. Carlini and D. Wagner, ICML
2018, arXiv 1802.00420.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, final

import torch

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Found, estimate, wrong_share
from codesign.robustness.attacks.losses import LOSSES
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.inference import Model
from codesign.robustness.streams import RandomStreams

__all__ = ["EOTPGD"]


@final
@dataclass(frozen=True, kw_only=True)
class EOTPGD(Attack):
    """Projected gradient ascent on the mean loss over draws of a random model.

    No image is left out on the way, whatever a single draw says: the iterate of the largest mean loss and the last one
    are judged on fresh draws, and the worse of the two is kept. The step shrinks from ``step_size`` to a tenth of it
    along half a cosine, since the noise of the gradient keeps a constant step from settling.

    Args:
        norm: of the perturbation.
        eps: radius, in units of the pixel range [0, 1].
        steps: gradient steps of each run.
        step_size: length of the first step; None means eps / 4, and the attack then holds that number.
        draws: of the model at each step.
        chunk: draws that are run together, a matter of memory and speed only.
        restarts: runs from different random starts.
        loss: "ce" cross entropy, "dlr" difference of logits ratio.
    """

    norm: Norm = LINF
    eps: float
    steps: int = 40
    step_size: float | None = None
    draws: int = 20
    chunk: int = 1
    restarts: int = 1
    loss: Literal["ce", "dlr"] = "ce"

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"steps": self.steps, "draws": self.draws, "chunk": self.chunk, "restarts": self.restarts})
        if self.loss not in LOSSES:
            raise InputError("unknown loss", got=self.loss, key="loss", fix=did_you_mean(str(self.loss), LOSSES))
        object.__setattr__(self, "eps", float(self.eps))
        if self.step_size is None:
            object.__setattr__(self, "step_size", self.eps / 4)
        elif self.eps > 0:
            check_numbers({"step_size": self.step_size})

    @property
    def title(self) -> str:
        suffix = f" x{self.restarts}" if self.restarts > 1 else ""
        return f"EOT-PGD-{self.steps} over {self.draws} {self.norm.name} {eps_text(self.eps)}{suffix}"

    @property
    def repeats(self) -> int:
        return self.draws

    def with_eps(self, eps: float) -> Self:
        """The same attack with another radius and steps in the same proportion to it."""
        step = self.step_size * eps / self.eps if self.eps > 0 and self.step_size is not None else None
        return replace(self, eps=eps, step_size=step)

    def longer(self) -> Attack:
        return replace(self, steps=10 * self.steps)

    def restarted(self) -> Attack:
        return replace(self, restarts=5 * self.restarts)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        found = Found(images)
        shape, rows = tuple(images.shape[1:]), torch.arange(len(images), device=images.device)
        for restart in range(self.restarts):
            draws = [self.norm.random_start(shape, self.eps, one) for one in streams.generators("eot", restart)]
            current = self.norm.project(images + torch.stack(draws).to(images), images, self.eps)
            for candidates in self._ascend(model, images, labels, current):
                share = wrong_share(model, candidates, labels, draws=2 * self.draws, chunk=self.chunk)
                found.compare(rows, candidates, share)
        return AttackResult(found.images, found.shares > 0.5)

    def _ascend(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor, current: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One run from ``current``: the iterate of the largest mean loss, and the last one."""
        assert self.step_size is not None  # set on construction
        best, best_loss = current.clone(), torch.full((len(images),), -torch.inf, device=images.device)
        turns = torch.cos(torch.linspace(0, torch.pi, self.steps, dtype=torch.float64)).tolist()
        for turn in turns:
            seen = estimate(
                model,
                current,
                labels,
                lambda logits: LOSSES[self.loss](logits, labels),
                draws=self.draws,
                chunk=self.chunk,
            )
            assert seen.gradient is not None
            better = seen.loss > best_loss
            best[better], best_loss = current[better], torch.where(better, seen.loss, best_loss)
            size = self.step_size * (0.55 + 0.45 * turn)
            current = self.norm.project(current + size * self.norm.direction(seen.gradient), images, self.eps)
        return best, current
