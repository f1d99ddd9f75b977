"""DeepFool: step by step over the nearest boundary of the linearised model.

S.-M. Moosavi-Dezfooli, A. Fawzi and P. Frossard, CVPR 2016, arXiv 1511.04599, algorithm 2 (and its section 3.4 for
norms other than L2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.apgd import likeliest_wrong
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Found, input_gradient
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import L2, LINF, Linf, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["DeepFool"]


@final
@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """Looks for a small perturbation, not for one within ``eps``: an image falls if what it finds lies within ``eps``.

    Weaker than the other attacks at a given radius; it is there for comparison with papers that report it.

    Args:
        norm: of the perturbation, Linf or L2.
        eps: radius within which a perturbation counts, in units of the pixel range [0, 1].
        steps: at most.
        overshoot: what is added to the perturbation found, as a share of it, to be over the boundary.
        classes: how many of the likeliest wrong classes are looked at in each step.
    """

    norm: Norm = LINF
    eps: float
    steps: int = 50
    overshoot: float = 0.02
    classes: int = 9

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"steps": self.steps, "classes": self.classes})
        check_numbers({"overshoot": self.overshoot})
        if not isinstance(self.norm, Linf | L2):
            raise InputError("DeepFool knows the norms Linf and L2", got=self.norm.name, key="norm")
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def title(self) -> str:
        return f"DeepFool-{self.steps} {self.norm.name} {eps_text(self.eps)}"

    def perturb(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        streams: RandomStreams,  # noqa: ARG002
    ) -> AttackResult:
        found = Found(images)
        ranked = likeliest_wrong(model, images, labels, self.classes)
        rows, change = torch.arange(len(images), device=images.device), torch.zeros_like(images)
        for step in range(self.steps + 1):
            current = (images[rows] + (1 + self.overshoot) * change).clamp_(0.0, 1.0).requires_grad_(True)
            logits = logits_of(model, current)
            over = logits.argmax(dim=1) != labels[rows]
            within = self.norm.size(current.detach() - images[rows]) <= self.eps
            margins = margin(logits.detach(), labels[rows])
            found.update(rows[within], current.detach()[within], margins[within], over[within])
            if step == self.steps or bool(over.all()):
                break
            shortest = self._shortest(logits, current, labels[rows], ranked[rows])
            rows, change = rows[~over], (change + shortest)[~over]
        return AttackResult(found.images, found.success)

    def _shortest(
        self, logits: torch.Tensor, current: torch.Tensor, labels: torch.Tensor, ranked: torch.Tensor
    ) -> torch.Tensor:
        """The way to the nearest of the linearised boundaries, (n, c, h, w)."""
        best, length = torch.zeros_like(current), torch.full((len(current),), torch.inf, device=current.device)
        true = logits.gather(1, labels[:, None]).squeeze(1)
        for targets in ranked.unbind(1):
            rise = logits.gather(1, targets[:, None]).squeeze(1) - true
            slope = input_gradient(rise, current, keep_graph=True)
            flat = slope.flatten(1)
            # Distance: the gap over the dual norm of the slope.
            dual = flat.abs().sum(dim=1) if isinstance(self.norm, Linf) else torch.linalg.vector_norm(flat, dim=1)
            distance = torch.where(dual > 0, rise.detach().abs() / dual, torch.inf)
            nearer = distance < length
            move = distance[:, None, None, None] * self.norm.direction(slope)
            best = torch.where(nearer[:, None, None, None], move, best)
            length = torch.where(nearer, distance, length)
        return best
