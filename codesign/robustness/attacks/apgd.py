"""Auto-PGD: projected gradient ascent that sets its own step size.

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020, arXiv 2003.01690, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Literal, final

import torch

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Estimate, Found, estimate, wrong_share
from codesign.robustness.attacks.losses import LOSSES, targeted_difference_of_logits_ratio
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["APGD", "TargetedAPGD", "checkpoints"]

_MOMENTUM = 0.75  # alpha of the paper

LossAt = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (k, classes), the rows (k,) of the batch and the runs (k,) that they belong to, to losses (k,)."""


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which the step size is reconsidered: ceil(p_j * steps), section 3.1 of the paper."""
    shares = [0.0, 0.22]
    while shares[-1] <= 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first: 0.22 + 0.19 must not become 41.00000001 of 100.
    return tuple(sorted({ceil(round(share * steps, 6)) for share in shares[1:-1]}))


@dataclass(eq=False)
class _Climb:
    """The state of some runs side by side, each tensor with one row for every image and run still going on."""

    rows: torch.Tensor  # which image of the batch each is
    runs: torch.Tensor  # and which run of it
    current: torch.Tensor
    previous: torch.Tensor
    gradient: torch.Tensor
    best: torch.Tensor
    best_gradient: torch.Tensor
    best_loss: torch.Tensor
    last_loss: torch.Tensor
    step: torch.Tensor  # (k, 1, 1, 1)
    rises: torch.Tensor  # steps since the last checkpoint at which the loss rose
    halved: torch.Tensor  # at the last checkpoint
    best_then: torch.Tensor  # best loss at the last checkpoint

    @classmethod
    def begin(cls, rows: torch.Tensor, runs: torch.Tensor, start: torch.Tensor, step: float) -> _Climb:
        low = torch.full((len(rows),), -torch.inf, dtype=start.dtype, device=start.device)
        nothing = torch.zeros_like(start)
        return cls(
            rows=rows,
            runs=runs,
            current=start,
            previous=start,
            gradient=nothing,
            best=start.clone(),
            best_gradient=nothing.clone(),
            best_loss=low.clone(),
            last_loss=low.clone(),
            step=torch.full_like(low, step)[:, None, None, None],
            rises=torch.zeros_like(low),
            halved=torch.zeros_like(rows, dtype=torch.bool),
            best_then=low,
        )

    def keep(self, chosen: torch.Tensor) -> None:
        """Go on with some of the images only."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name)[chosen])

    def note(self, seen: Estimate) -> None:
        """Take in loss and gradient at ``current``."""
        assert seen.gradient is not None
        self.gradient = seen.gradient
        # At the start there is no step to judge: the paper counts the steps of the loop.
        self.rises += (seen.loss > self.last_loss) & torch.isfinite(self.last_loss)
        self.last_loss = seen.loss
        better = seen.loss > self.best_loss
        self.best_loss = torch.where(better, seen.loss, self.best_loss)
        self.best[better], self.best_gradient[better] = self.current[better], seen.gradient[better]

    def reconsider(self, interval: int, rho: float) -> None:
        """At a checkpoint, ``interval`` steps after the last: halve the step and go back to the best where stuck."""
        stuck = (self.rises < rho * interval) | (~self.halved & (self.best_loss <= self.best_then))
        self.best_then, self.halved = self.best_loss.clone(), stuck
        self.rises = torch.zeros_like(self.rises)
        self.step = torch.where(stuck[:, None, None, None], self.step / 2, self.step)
        self.current = torch.where(stuck[:, None, None, None], self.best, self.current)
        self.gradient = torch.where(stuck[:, None, None, None], self.best_gradient, self.gradient)

    def advance(self, images: torch.Tensor, norm: Norm, eps: float, share: float) -> None:
        """One step: ``share`` of the way to the projected gradient step, the rest along the step before."""
        aim = norm.project(self.current + self.step * norm.direction(self.gradient), images, eps)
        moved = aim
        if share < 1.0:
            moved = self.current + share * (aim - self.current) + (1 - share) * (self.current - self.previous)
            moved = norm.project(moved, images, eps)
        self.previous, self.current = self.current, moved


@dataclass(frozen=True, kw_only=True)
class _AutoPGD(Attack):
    """What the two variants share; the parameters are described there."""

    norm: Norm = LINF
    eps: float
    steps: int = 100
    restarts: int = 1
    rho: float = 0.75
    draws: int = 1
    chunk: int = 1

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"steps": self.steps, "restarts": self.restarts, "draws": self.draws, "chunk": self.chunk})
        check_numbers({"rho": self.rho}, 0.0, 1.0)
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def repeats(self) -> int:
        return self.draws

    def longer(self) -> Attack:
        return replace(self, steps=10 * self.steps)

    def restarted(self) -> Attack:
        return replace(self, restarts=5 * self.restarts)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        found = Found(images)
        purposes, loss = self._runs(model, images, labels)
        run = 0
        while run < len(purposes):
            # A random model is never done with: an image fooled in one draw may stand in the next.
            rows = torch.nonzero(~found.success if self.draws == 1 else torch.ones_like(found.success)).flatten()
            if not len(rows):
                break
            # Few images left: several runs side by side fill the batch that is known to fit.
            group = range(run, min(run + max(len(images) // len(rows), 1), len(purposes)))
            start = torch.cat([self._start(images[rows], streams.select(rows), purposes[one]) for one in group])
            runs = torch.tensor(group, device=rows.device).repeat_interleave(len(rows))
            climb = _Climb.begin(rows.repeat(len(group)), runs, start, 2 * self.eps)
            self._climb(model, images, labels, climb, loss, found)
            run = group.stop
        if self.draws > 1:
            found.success = found.shares > 0.5
        return AttackResult(found.images, found.success)

    def _runs(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[list[tuple[int | str, ...]], LossAt]:
        """For each run the purpose of its random start, and the loss."""
        raise NotImplementedError

    def _start(self, images: torch.Tensor, streams: RandomStreams, purpose: tuple[int | str, ...]) -> torch.Tensor:
        shape = tuple(images.shape[1:])
        draws = [self.norm.random_start(shape, self.eps, one) for one in streams.generators(*purpose)]
        return self.norm.project(images + torch.stack(draws).to(images), images, self.eps)

    def _climb(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        climb: _Climb,
        loss: LossAt,
        found: Found,
    ) -> None:
        """Runs side by side; what they find goes to ``found``."""
        reconsidered, last = set(checkpoints(self.steps)), 0
        for step in range(self.steps + 1):
            end = step == self.steps
            seen = self._look(model, labels, climb, loss, gradient=not end)
            if self.draws == 1:
                fooled = seen.wrong > 0
                for run in sorted(set(climb.runs.tolist())):  # an image stands once in a run
                    mine = climb.runs == run
                    found.update(climb.rows[mine], climb.current[mine], seen.margins[mine], fooled[mine])
                left = ~found.success[climb.rows]
                if end or not bool(left.any()):
                    return
                if not bool(left.all()):
                    climb.keep(left)
                    seen = seen.select(left)
            elif end:
                break
            climb.note(seen)
            if step in reconsidered:
                climb.reconsider(step - last, self.rho)
                last = step
            climb.advance(images[climb.rows], self.norm, self.eps, _MOMENTUM if step else 1.0)
        for candidates in (climb.best, climb.current):  # judged on draws that did not choose them
            share = wrong_share(model, candidates, labels[climb.rows], draws=2 * self.draws, chunk=self.chunk)
            for run in sorted(set(climb.runs.tolist())):
                mine = climb.runs == run
                found.compare(climb.rows[mine], candidates[mine], share[mine])

    def _look(self, model: Model, labels: torch.Tensor, climb: _Climb, loss: LossAt, gradient: bool) -> Estimate:
        return estimate(
            model,
            climb.current,
            labels[climb.rows],
            lambda logits: loss(logits, climb.rows, climb.runs),
            draws=self.draws,
            chunk=self.chunk,
            gradient=gradient,
        )

    def _suffix(self) -> str:
        parts = [self.norm.name, eps_text(self.eps)]
        parts += [f"x{self.restarts}"] if self.restarts > 1 else []
        parts += [f"EoT-{self.draws}"] if self.draws > 1 else []
        return " ".join(parts)


@final
@dataclass(frozen=True, kw_only=True)
class APGD(_AutoPGD):
    """Auto-PGD away from the label.

    For a random model (``draws`` > 1) loss and gradient are means over draws, the best iterate is that of the largest
    mean loss, no image is left out on the way, and the best and the last iterate are judged on fresh draws.

    Args:
        norm: of the perturbation.
        eps: radius, in units of the pixel range [0, 1].
        steps: gradient steps of each run.
        restarts: runs from different random starts.
        rho: share of the steps between two checkpoints that must raise the loss for the step size to stay.
        draws: of a random model at each step (expectation over transformation); 1 for a deterministic one.
        chunk: draws that are run together, a matter of memory and speed only.
        loss: "ce" cross entropy, "dlr" difference of logits ratio.
    """

    loss: Literal["ce", "dlr"] = "ce"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise InputError("unknown loss", got=self.loss, key="loss", fix=did_you_mean(str(self.loss), LOSSES))

    @property
    def title(self) -> str:
        return f"APGD-{self.loss.upper()}-{self.steps} {self._suffix()}"

    def _runs(
        self,
        model: Model,  # noqa: ARG002
        images: torch.Tensor,  # noqa: ARG002
        labels: torch.Tensor,
    ) -> tuple[list[tuple[int | str, ...]], LossAt]:
        def loss(logits: torch.Tensor, rows: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
            return LOSSES[self.loss](logits, labels[rows])

        return [("apgd", self.loss, restart) for restart in range(self.restarts)], loss


@final
@dataclass(frozen=True, kw_only=True)
class TargetedAPGD(_AutoPGD):
    """Auto-PGD towards each of the likeliest wrong classes in turn, with the targeted DLR loss (APGD-T).

    Args:
        norm, eps, steps, rho, draws, chunk: as for ``APGD``.
        restarts: runs for each target class.
        targets: how many classes, in the order of their logits at the unperturbed image; at most all wrong ones.
    """

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts({"targets": self.targets})

    @property
    def title(self) -> str:
        return f"APGD-T-{self.steps} {self._suffix()}"

    def _runs(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[list[tuple[int | str, ...]], LossAt]:
        ranked = likeliest_wrong(model, images, labels, self.targets)
        count = ranked.shape[1]

        def loss(logits: torch.Tensor, rows: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
            return targeted_difference_of_logits_ratio(logits, labels[rows], ranked[rows, runs % count])

        return [("apgd-t", target, restart) for restart in range(self.restarts) for target in range(count)], loss


def likeliest_wrong(model: Model, images: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` (or all) wrong classes of the largest logits, likeliest first, int64 (n, count)."""
    with torch.no_grad():
        logits = logits_of(model, images)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices
