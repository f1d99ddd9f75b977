"""NES: projected ascent on gradients that are estimated from answers alone.

A. Ilyas, L. Engstrom, A. Athalye and J. Lin, "Black-box adversarial attacks with limited queries and information", ICML
2018, arXiv 1804.08598; on the margin instead of cross entropy, which says nothing where the model is sure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, final

import torch

from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Found, estimate, wrong_share
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.inference import Model
from codesign.robustness.streams import RandomStreams

__all__ = ["NES"]


@final
@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Projected ascent on the margin, its gradient estimated from antithetic pairs of Gaussian moves of the pixels.

    It sees through rounding and thresholds that are smaller than ``sigma``.

    Args:
        norm: of the perturbation.
        eps: radius, in units of the pixel range [0, 1].
        steps: of the ascent.
        pairs: of images for each estimate: 2 * pairs queries a step, and one to look at the result.
        sigma: standard deviation of the moves.
        step_size: length of a step; None means eps / 4, and the attack then holds that number.
        draws: of a random model for each query; 1 for a deterministic one.
    """

    norm: Norm = LINF
    eps: float
    steps: int = 40
    pairs: int = 25
    sigma: float = 8 / 255
    step_size: float | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"steps": self.steps, "pairs": self.pairs, "draws": self.draws})
        check_numbers({"sigma": self.sigma})
        object.__setattr__(self, "eps", float(self.eps))
        if self.step_size is None:
            object.__setattr__(self, "step_size", self.eps / 4)
        elif self.eps > 0:
            check_numbers({"step_size": self.step_size})

    @property
    def title(self) -> str:
        return f"NES-{self.steps}x{2 * self.pairs} {self.norm.name} {eps_text(self.eps)}"

    @property
    def gradient_free(self) -> bool:
        return True

    @property
    def repeats(self) -> int:
        return self.draws

    def with_eps(self, eps: float) -> Self:
        """The same attack with another radius and steps in the same proportion to it."""
        step = self.step_size * eps / self.eps if self.eps > 0 and self.step_size is not None else None
        return replace(self, eps=eps, step_size=step)

    def longer(self) -> Attack:
        return replace(self, steps=10 * self.steps)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        assert self.step_size is not None  # set on construction
        found = Found(images)
        rows, current = torch.arange(len(images), device=images.device), images.clone()
        for step in range(self.steps + 1):
            margins, wrong = self._look(model, current, labels[rows])
            if self.draws == 1:
                fooled = wrong > 0
                found.update(rows, current, margins, fooled)
                rows, current = rows[~fooled], current[~fooled]
            if step == self.steps or not len(rows):
                break
            slope = self._slope(model, current, labels[rows], streams.select(rows), step)
            moved = current + self.step_size * self.norm.direction(slope)
            current = self.norm.project(moved, images[rows], self.eps)
        if self.draws > 1:
            found.compare(rows, current, wrong_share(model, current, labels[rows], draws=2 * self.draws))
            found.success = found.shares > 0.5
        return AttackResult(found.images, found.success)

    def _slope(
        self, model: Model, current: torch.Tensor, labels: torch.Tensor, streams: RandomStreams, step: int
    ) -> torch.Tensor:
        """The estimated gradient of the margin, up to a positive factor."""
        shape = (self.pairs, *current.shape[1:])
        moves = torch.stack([torch.randn(shape, generator=one) for one in streams.generators("nes", step)]).to(current)
        slope = torch.zeros_like(current)
        for move in moves.unbind(1):
            # Not clipped to the box: clipped pixels would no longer move by equal amounts both ways.
            above, _ = self._look(model, current + self.sigma * move, labels)
            below, _ = self._look(model, current - self.sigma * move, labels)
            slope += (above - below)[:, None, None, None] * move
        return slope

    def _look(self, model: Model, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = estimate(model, images, labels, lambda logits: margin(logits, labels), draws=self.draws, gradient=False)
        return seen.margins, seen.wrong
