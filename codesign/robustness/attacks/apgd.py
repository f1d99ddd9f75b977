"""Auto-PGD: projected gradient ascent that sets its own step size.

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020, arXiv 2003.01690, algorithm 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

import torch

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.climb import Climb, checkpoints
from codesign.robustness.attacks.gradients import Estimate, Found, estimate, wrong_share
from codesign.robustness.attacks.losses import LOSSES, targeted_difference_of_logits_ratio
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["APGD", "TargetedAPGD", "checkpoints"]

_CACHED = 2 * 2**20  # bytes of pixels; a step holds about ten such tensors beside the activations of the network

LossAt = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (k, classes), the rows (k,) of the batch and the runs (k,) that they belong to, to losses (k,)."""


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
        return self.perturb_within(model, images, labels, streams, len(images))

    def perturb_within(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams, room: int
    ) -> AttackResult:
        found, room = Found(images), min(room, most_together(images))
        purposes, loss = self._runs(model, images, labels)
        run = 0
        while run < len(purposes):
            # A random model is never done with: an image fooled in one draw may stand in the next.
            rows = torch.nonzero(~found.success if self.draws == 1 else torch.ones_like(found.success)).flatten()
            if not len(rows):
                break
            # Few images left: several runs side by side fill the batch that is known to fit. Many, of which a first run
            # has taken the easy ones: parts of them, for the caches.
            group = range(run, min(run + max(room // len(rows), 1), len(purposes)))
            parts = rows.chunk(-(-len(rows) // room)) if run and self.draws == 1 else (rows,)
            for part in parts:
                start = [self._start(images[part], streams.select(part), purposes[one]) for one in group]
                runs = torch.tensor(group, device=rows.device).repeat_interleave(len(part))
                every = part.repeat(len(group))
                climb = Climb.begin(self.norm, self.eps, images[every], every, runs, torch.cat(start))
                self._climb(model, labels, climb, loss, found)
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

    def _climb(self, model: Model, labels: torch.Tensor, climb: Climb, loss: LossAt, found: Found) -> None:
        """Runs side by side; what they find goes to ``found``."""
        reconsidered, last = set(checkpoints(self.steps)), 0
        for step in range(self.steps + 1):
            end = step == self.steps
            seen = self._look(model, labels, climb, loss, gradient=not end)
            if self.draws == 1:
                left = self._leave_fooled(climb, seen, found)
                if left is not None:
                    if not bool(left.any()):
                        return
                    climb.keep(left)
                    seen = seen.select(left)
            elif end:
                break
            climb.note(seen)
            if end:
                break
            if step in reconsidered:
                climb.reconsider(step - last, self.rho)
                last = step
            climb.advance(first=step == 0)
        if self.draws == 1:
            nothing = torch.zeros_like(climb.halved)
            for mine in _each_run(climb):
                found.update(climb.rows[mine], climb.best[mine], climb.best_margin[mine], nothing[mine])
            return
        for candidates in (climb.best, climb.current):  # judged on draws that did not choose them
            share = wrong_share(model, candidates, labels[climb.rows], draws=2 * self.draws, chunk=self.chunk)
            for mine in _each_run(climb):
                found.compare(climb.rows[mine], candidates[mine], share[mine])

    def _leave_fooled(self, climb: Climb, seen: Estimate, found: Found) -> torch.Tensor | None:
        """Keep what fools the model; returns which rows go on, bool (k,), None if all do."""
        fooled = seen.wrong > 0
        if not bool(fooled.any()):
            return None
        for mine in _each_run(climb):
            mine &= fooled
            found.update(climb.rows[mine], climb.current[mine], seen.margins[mine], fooled[mine])
        return ~found.success[climb.rows]

    def _look(self, model: Model, labels: torch.Tensor, climb: Climb, loss: LossAt, gradient: bool) -> Estimate:
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


def _each_run(climb: Climb) -> Iterator[torch.Tensor]:
    """For each run its rows, bool (k,): an image stands once in a run."""
    for run in sorted(set(climb.runs.tolist())):
        yield climb.runs == run


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


def most_together(images: torch.Tensor) -> int:
    """How many images (n, c, h, w) are best run together: on a processor, as many as leave its caches some use."""
    return (
        max(_CACHED // (images[0].numel() * images.element_size()), 1) if images.device.type == "cpu" else sys.maxsize
    )


def likeliest_wrong(model: Model, images: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """The ``count`` (or all) wrong classes of the largest logits, likeliest first, int64 (n, count)."""
    with torch.no_grad():
        logits = logits_of(model, images)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices
