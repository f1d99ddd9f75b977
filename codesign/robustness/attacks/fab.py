"""Fast adaptive boundary attack, targeted: towards the nearest point of a linearised decision boundary.

F. Croce and M. Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020,
arXiv 1907.02044; the targeted form is that of arXiv 2003.01690.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.apgd import likeliest_wrong
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Found, input_gradient
from codesign.robustness.attacks.hyperplanes import to_hyperplane
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import L2, LINF, Linf, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["TargetedFAB"]


@dataclass(eq=False)
class _Walk:
    """The state of one run, each tensor with one row for every image still attacked."""

    rows: torch.Tensor  # which image of the batch each is
    original: torch.Tensor
    current: torch.Tensor

    def keep(self, chosen: torch.Tensor) -> None:
        """Go on with some of the images only."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name)[chosen])


@final
@dataclass(frozen=True, kw_only=True)
class TargetedFAB(Attack):
    """Looks for the smallest perturbation that crosses the boundary to each of the likeliest wrong classes (FAB-T).

    An image is done as soon as a perturbation within ``eps`` is found.

    Args:
        norm: of the perturbation, Linf or L2.
        eps: radius within which a perturbation counts, in units of the pixel range [0, 1].
        steps: gradient steps for each target.
        targets: how many classes, in the order of their logits at the unperturbed image; at most all wrong ones.
        restarts: runs for each target; those after the first start from a random point.
        most: largest weight of the pull towards the original image (alpha_max).
        overshoot: factor by which the step goes beyond the boundary (eta).
        back: where between the original (0) and an adversarial point (1) the search goes on (beta).
    """

    norm: Norm = LINF
    eps: float
    steps: int = 100
    targets: int = 9
    restarts: int = 1
    most: float = 0.1
    overshoot: float = 1.05
    back: float = 0.9

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"steps": self.steps, "targets": self.targets, "restarts": self.restarts})
        check_numbers({"most": self.most, "back": self.back}, 0.0, 1.0)
        check_numbers({"overshoot": self.overshoot})
        if not isinstance(self.norm, Linf | L2):
            raise InputError("FAB knows the norms Linf and L2", got=self.norm.name, key="norm")
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def title(self) -> str:
        suffix = f" x{self.restarts}" if self.restarts > 1 else ""
        return f"FAB-T-{self.steps} {self.norm.name} {eps_text(self.eps)}{suffix}"

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        found = Found(images)
        ranked = likeliest_wrong(model, images, labels, self.targets)
        for restart in range(self.restarts):
            for number in range(ranked.shape[1]):
                rows = torch.nonzero(~found.success).flatten()
                if not len(rows):
                    break
                start = images[rows]
                if restart:
                    start = self._random(start, streams.select(rows), restart, number)
                walk = _Walk(rows, images[rows], start.clone())
                self._walk(model, labels, ranked[:, number], walk, found)
        return AttackResult(found.images, found.success)

    def _random(self, images: torch.Tensor, streams: RandomStreams, restart: int, number: int) -> torch.Tensor:
        shape = tuple(images.shape[1:])
        draws = [self.norm.random_start(shape, self.eps, one) for one in streams.generators("fab", restart, number)]
        return self.norm.project(images + torch.stack(draws).to(images), images, self.eps)

    def _walk(self, model: Model, labels: torch.Tensor, targets: torch.Tensor, walk: _Walk, found: Found) -> None:
        """One run; what it finds within ``eps`` goes to ``found``."""
        for step in range(self.steps + 1):
            end = step == self.steps
            pixels = walk.current.detach().requires_grad_(not end)
            with torch.set_grad_enabled(not end):
                logits = logits_of(model, pixels)
            fooled = logits.argmax(dim=1) != labels[walk.rows]
            within = self.norm.size(walk.current - walk.original) <= self.eps
            margins = margin(logits.detach(), labels[walk.rows])
            found.update(walk.rows[within], walk.current[within], margins[within], fooled[within])
            if end or bool((fooled & within).all()):
                return
            onward, far = ~fooled, fooled & ~within
            rise = _rise(logits, labels[walk.rows], targets[walk.rows])
            if bool(onward.any()):
                self._step(walk, onward, rise[onward].detach(), input_gradient(rise[onward], pixels)[onward])
            if bool(far.any()):
                self._retreat(model, labels, targets, walk, far)
            if not bool((onward | far).all()):
                walk.keep(onward | far)

    def _retreat(
        self, model: Model, labels: torch.Tensor, targets: torch.Tensor, walk: _Walk, far: torch.Tensor
    ) -> None:
        """From adversarial points that are too far away back towards the original, and a step from there."""
        original = walk.original[far]
        pixels = (original + self.back * (walk.current[far] - original)).requires_grad_(True)
        rise = _rise(logits_of(model, pixels), labels[walk.rows[far]], targets[walk.rows[far]])
        gradient = input_gradient(rise, pixels)
        walk.current[far] = pixels.detach()
        self._step(walk, far, rise.detach(), gradient)

    def _step(self, walk: _Walk, chosen: torch.Tensor, rise: torch.Tensor, slope: torch.Tensor) -> None:
        """For the ``chosen`` images, beyond the boundary of the linearised model and pulled towards the original."""
        current, original = walk.current[chosen], walk.original[chosen]
        # The boundary is where slope * x = level.
        level = (slope * current).flatten(1).sum(dim=1) - rise
        both = to_hyperplane(
            torch.cat([current, original]), torch.cat([slope, slope]), torch.cat([level, level]), self.norm
        )
        here, there = both.chunk(2)
        near, far = self.norm.size(here), self.norm.size(there)
        pull = torch.clamp(near / (near + far).clamp_min(1e-12), max=self.most)[:, None, None, None]
        moved = (current + self.overshoot * here) * (1 - pull) + (original + self.overshoot * there) * pull
        walk.current[chosen] = moved.clamp_(0.0, 1.0)


def _rise(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Logit of the target minus that of the label, (n,)."""
    return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)
