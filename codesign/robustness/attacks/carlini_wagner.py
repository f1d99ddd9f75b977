"""The attack of Carlini and Wagner in L2: the smallest perturbation by optimisation, in a space without bounds.

N. Carlini and D. Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, arXiv 1608.04644,
section V-A.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Found, input_gradient
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import L2, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["CarliniWagner"]

_INSIDE = 1 - 1e-6  # atanh is infinite at the ends of the pixel range
_LARGEST = 1e10  # of the weight, where no adversarial point was found yet


@final
@dataclass(frozen=True, kw_only=True)
class CarliniWagner(Attack):
    """Minimises |d|^2 + c * max(0, confidence - margin) over pixels = (tanh(w) + 1) / 2, with a search for c.

    It looks for the smallest perturbation; an image falls, and is done, when one within ``eps`` is found.

    Args:
        norm: L2.
        eps: radius within which a perturbation counts, in units of the pixel range [0, 1].
        steps: of Adam for each c.
        searches: values of c: times ten until an adversarial point is found, then by bisection.
        step_size: Adam's learning rate.
        weight: the first c.
        confidence: by how much the wrong logit is to exceed the right one.
    """

    norm: Norm = field(default_factory=L2)
    eps: float
    steps: int = 200
    searches: int = 5
    step_size: float = 0.01
    weight: float = 0.1
    confidence: float = 0.0

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        if not isinstance(self.norm, L2):
            raise InputError("C&W is an attack in L2", got=self.norm.name, key="norm", fix="use norm=L2()")
        check_counts({"steps": self.steps, "searches": self.searches})
        check_numbers({"step_size": self.step_size, "weight": self.weight, "1 + confidence": 1 + self.confidence})
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def title(self) -> str:
        return f"C&W-{self.steps}x{self.searches} {self.norm.name} {eps_text(self.eps)}"

    def longer(self) -> Attack:
        return replace(self, steps=10 * self.steps)

    def perturb(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        streams: RandomStreams,  # noqa: ARG002
    ) -> AttackResult:
        found = Found(images)
        weight = torch.full((len(images),), self.weight, dtype=images.dtype, device=images.device)
        low, high = torch.zeros_like(weight), torch.full_like(weight, _LARGEST)
        for _ in range(self.searches):
            rows = torch.nonzero(~found.success).flatten()
            if not len(rows):
                break
            crossed = self._minimise(model, images[rows], labels[rows], rows, weight[rows], found)
            high[rows] = torch.where(crossed, torch.minimum(high[rows], weight[rows]), high[rows])
            low[rows] = torch.where(crossed, low[rows], torch.maximum(low[rows], weight[rows]))
            weight = torch.where(high < _LARGEST, (low + high) / 2, weight * 10)
        return AttackResult(found.images, found.success)

    def _minimise(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        weight: torch.Tensor,
        found: Found,
    ) -> torch.Tensor:
        """One run of Adam; returns, bool (k,), whether any adversarial point was met, near or far."""
        inner = torch.atanh((2 * images - 1) * _INSIDE)
        first, second = torch.zeros_like(inner), torch.zeros_like(inner)
        crossed = torch.zeros_like(rows, dtype=torch.bool)
        for step in range(1, self.steps + 2):
            inner.requires_grad_(True)
            moved = (torch.tanh(inner) + 1) / 2
            logits = logits_of(model, moved)
            change = (moved - images).flatten(1)
            margins = margin(logits, labels)
            self._note(found, rows, images, moved.detach(), logits.argmax(dim=1) != labels, margins.detach())
            crossed |= margins.detach() > 0
            if step > self.steps or bool(found.success[rows].all()):
                break
            cost = (change * change).sum(dim=1) + weight * (self.confidence - margins).clamp_min(0.0)
            gradient = input_gradient(cost, inner)
            inner = inner.detach()
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient * gradient
            rate = self.step_size * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
            inner = inner - rate * first / (second.sqrt() + 1e-8)
        return crossed

    def _note(
        self,
        found: Found,
        rows: torch.Tensor,
        images: torch.Tensor,
        moved: torch.Tensor,
        fooled: torch.Tensor,
        margins: torch.Tensor,
    ) -> None:
        within = (self.norm.size(moved - images) <= self.eps) & ~found.success[rows]
        found.update(rows[within], moved[within], margins[within], fooled[within])
