"""The state of Auto-PGD: some runs side by side, one row of each tensor for every image and run still going on.

F. Croce and M. Hein, ICML 2020, arXiv 2003.01690, algorithm 1. The tensors of pixels are worked on in place: beside a
small network, passes over them are a large share of an attack's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch

from codesign.robustness.attacks.gradients import Estimate
from codesign.robustness.attacks.norms import Norm

__all__ = ["Climb", "checkpoints"]

_MOMENTUM = 0.75  # alpha of the paper


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which the step size is reconsidered: ceil(p_j * steps), section 3.1 of the paper."""
    shares = [0.0, 0.22]
    while shares[-1] <= 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: 0.22 + 0.19 must not become 41.00000001 of 100.
    return tuple(sorted({ceil(round(share * steps, 6)) for share in shares[1:-1]}))


def _wide(values: torch.Tensor) -> torch.Tensor:
    """(k,) as (k, 1, 1, 1)."""
    return values[:, None, None, None]


@dataclass(eq=False)
class Climb:
    """Where each run is, where it was best, and its step size; k rows, pixels (k, c, h, w), else (k,).

    Args:
        norm, eps: the ball.
        rows: which image of the batch each is.
        runs: and which run of it.
        reach: what projections need: the bounds of each pixel if the norm has them, else the images.
    """

    norm: Norm
    eps: float
    rows: torch.Tensor
    runs: torch.Tensor
    reach: tuple[torch.Tensor, ...]
    current: torch.Tensor
    previous: torch.Tensor
    gradient: torch.Tensor
    best: torch.Tensor
    best_gradient: torch.Tensor
    best_loss: torch.Tensor
    best_margin: torch.Tensor  # where the loss was best
    last_loss: torch.Tensor
    step: torch.Tensor
    rises: torch.Tensor  # steps since the last checkpoint at which the loss rose
    halved: torch.Tensor  # at the last checkpoint
    best_then: torch.Tensor  # best loss at the last checkpoint

    @classmethod
    def begin(
        cls, norm: Norm, eps: float, images: torch.Tensor, rows: torch.Tensor, runs: torch.Tensor, start: torch.Tensor
    ) -> Climb:
        """Runs from ``start`` in the ball around ``images``, both (k, c, h, w), with the first step of 2 eps."""
        low = torch.full((len(rows),), -torch.inf, dtype=start.dtype, device=start.device)
        return cls(
            norm=norm,
            eps=eps,
            rows=rows,
            runs=runs,
            reach=norm.bounds(images, eps) or (images,),
            current=start,
            previous=start,
            gradient=start,
            best=start.clone(),
            best_gradient=torch.zeros_like(start),
            best_loss=low,
            best_margin=low,
            last_loss=low,
            step=torch.full_like(low, 2 * eps),
            rises=torch.zeros_like(low),
            halved=torch.zeros_like(rows, dtype=torch.bool),
            best_then=low,
        )

    def keep(self, chosen: torch.Tensor) -> None:
        """Go on with some of the rows only."""
        for name, part in vars(self).items():
            if isinstance(part, torch.Tensor):
                setattr(self, name, part[chosen])
        self.reach = tuple(part[chosen] for part in self.reach)

    def note(self, seen: Estimate) -> None:
        """Take in loss and gradient at ``current``; the gradient becomes the climb's own, to be overwritten."""
        # At the start there is no step to judge: the paper counts the steps of the loop.
        self.rises = self.rises + ((seen.loss > self.last_loss) & torch.isfinite(self.last_loss))
        self.last_loss = seen.loss
        better = seen.loss > self.best_loss
        self.best_loss = torch.where(better, seen.loss, self.best_loss)
        self.best_margin = torch.where(better, seen.margins, self.best_margin)
        torch.where(_wide(better), self.current, self.best, out=self.best)
        if seen.gradient is not None:
            self.gradient = seen.gradient
            torch.where(_wide(better), seen.gradient, self.best_gradient, out=self.best_gradient)

    def reconsider(self, interval: int, rho: float) -> None:
        """At a checkpoint, ``interval`` steps after the last: halve the step and go back to the best where stuck."""
        stuck = (self.rises < rho * interval) | (~self.halved & (self.best_loss <= self.best_then))
        self.best_then, self.halved = self.best_loss, stuck
        self.rises = torch.zeros_like(self.rises)
        self.step = torch.where(stuck, self.step / 2, self.step)
        self.current = torch.where(_wide(stuck), self.best, self.current)
        self.gradient = torch.where(_wide(stuck), self.best_gradient, self.gradient)

    def advance(self, first: bool) -> None:
        """One step: most of the way to the projected gradient step, the rest along the step before, if there is one."""
        aim = self._project(torch.addcmul(self.current, self.norm.direction(self.gradient), _wide(self.step)))
        if not first:
            came = self.current - self.previous
            aim = torch.lerp(self.current, aim, _MOMENTUM).add_(came, alpha=1 - _MOMENTUM)
            aim = self._project(aim)
        self.previous, self.current = self.current, aim

    def _project(self, moved: torch.Tensor) -> torch.Tensor:
        if len(self.reach) == 2:
            return torch.clamp(moved, *self.reach, out=moved)
        return self.norm.project(moved, self.reach[0], self.eps)
