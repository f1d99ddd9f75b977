"""What attacks by gradient share: the gradient itself, averages over a random model's draws, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.losses import margin
from codesign.robustness.inference import Model, logits_of

__all__ = ["Estimate", "Found", "LossOf", "NoGradientError", "estimate", "input_gradient", "wrong_share"]

LossOf = Callable[[torch.Tensor], torch.Tensor]
"""What to raise: logits (n, classes) to one value per image, (n,)."""


class NoGradientError(InputError):
    """No gradient reaches the pixels: the forward pass cuts the graph."""


def input_gradient(value: torch.Tensor, images: torch.Tensor, *, keep_graph: bool = False) -> torch.Tensor:
    """The gradient of ``value.sum()`` with respect to ``images``, leaving no gradient anywhere else.

    Raises NoGradientError if ``value`` does not depend on ``images`` through operations that have a gradient, and
    InputError if the gradient is not finite: an attack that went on would report robustness that is not there.
    """
    gradient = None
    if value.requires_grad:
        gradient = torch.autograd.grad(value.sum(), images, allow_unused=True, retain_graph=keep_graph)[0]
    if gradient is None:
        raise NoGradientError(
            "no gradient reaches the pixels: a gradient attack says nothing about this model",
            key="model",
            fix="remove no_grad, detach or integer arithmetic from its forward, or attack it without gradients",
        )
    # One pass in place of three: a sum is finite only if all it adds up is; if it is not, it may have overflowed.
    if not bool(torch.isfinite(gradient.sum())) and not bool(torch.isfinite(gradient).all()):
        bad = int((~torch.isfinite(gradient).flatten(1).all(dim=1)).sum())
        raise InputError(
            "the gradient with respect to the pixels must be finite",
            got=f"NaN or inf for {bad} of {len(images)} images",
            key="model",
            fix="look for sqrt or log at 0 and for divisions by a norm",
        )
    return gradient


class Found:
    """For each image, the perturbed one that came nearest to fooling the model, over all iterates and restarts."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images.clone()
        self.success = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.margins = torch.full((len(images),), -torch.inf, device=images.device, dtype=torch.float32)
        self.shares = torch.full_like(self.margins, -1.0)  # of the draws of a random model that are wrong

    def update(self, rows: torch.Tensor, candidates: torch.Tensor, margins: torch.Tensor, fooled: torch.Tensor) -> None:
        """Keep each candidate that fools the model, or whose margin is the best so far; ``rows`` says whose it is."""
        margins = margins.to(self.margins.dtype)
        better = fooled | (margins > self.margins[rows])
        kept = rows[better]
        self.images[kept], self.margins[kept] = candidates[better], margins[better]
        self.success[kept] |= fooled[better]

    def compare(self, rows: torch.Tensor, candidates: torch.Tensor, shares: torch.Tensor) -> None:
        """For a random model: keep each candidate on which a larger share of draws is wrong than on the one so far."""
        shares = shares.to(self.shares.dtype)
        better = shares > self.shares[rows]
        kept = rows[better]
        self.images[kept], self.shares[kept] = candidates[better], shares[better]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means over a model's draws at some images, each (n,) and without a graph, and the gradient (n, c, h, w).

    Args:
        loss: mean loss.
        margins: mean margin, positive where the model is wrong.
        wrong: share of the draws in which the model is wrong.
        gradient: of the mean loss with respect to the images; None if it was not asked for.
    """

    loss: torch.Tensor
    margins: torch.Tensor
    wrong: torch.Tensor
    gradient: torch.Tensor | None

    def select(self, chosen: torch.Tensor) -> Estimate:
        """The same for some of the images."""
        gradient = None if self.gradient is None else self.gradient[chosen]
        return Estimate(self.loss[chosen], self.margins[chosen], self.wrong[chosen], gradient)


def estimate(
    model: Model,
    images: torch.Tensor,
    labels: torch.Tensor,
    loss: LossOf,
    *,
    draws: int = 1,
    chunk: int = 1,
    gradient: bool = True,
) -> Estimate:
    """Run the model ``draws`` times, ``chunk`` copies of the batch at a time, and average.

    Raises InputError if a gradient is asked for and there is none, or it is not finite.
    """
    if draws == 1:
        return _once(model, images, labels, loss, gradient)
    total = images.new_zeros(len(images))
    margins, wrong = torch.zeros_like(total), torch.zeros_like(total)
    slope = torch.zeros_like(images) if gradient else None
    done = 0
    while done < draws:
        copies = min(chunk, draws - done)
        pixels = images.detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            logits = logits_of(model, pixels.repeat(copies, 1, 1, 1) if copies > 1 else pixels)
            losses = torch.stack([loss(part) for part in logits.chunk(copies)])
        if slope is not None:
            slope += input_gradient(losses, pixels)
        every = labels.repeat(copies)
        total += losses.detach().sum(dim=0).to(total.dtype)
        margins += margin(logits.detach(), every).reshape(copies, -1).sum(dim=0).to(total.dtype)
        wrong += (logits.detach().argmax(dim=1) != every).reshape(copies, -1).sum(dim=0)
        done += copies
    if slope is not None:
        slope /= draws
    return Estimate(total / draws, margins / draws, wrong / draws, slope)


def _once(model: Model, images: torch.Tensor, labels: torch.Tensor, loss: LossOf, gradient: bool) -> Estimate:
    """``estimate`` for a single draw: nothing is averaged, so nothing is copied."""
    pixels = images.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        logits = logits_of(model, pixels)
        losses = loss(logits)
    slope = input_gradient(losses, pixels) if gradient else None
    answers = logits.detach()
    wrong = (answers.argmax(dim=1) != labels).to(images.dtype)
    return Estimate(losses.detach(), margin(answers, labels), wrong, slope)


def wrong_share(
    model: Model, images: torch.Tensor, labels: torch.Tensor, *, draws: int, chunk: int = 1
) -> torch.Tensor:
    """The share of ``draws`` fresh draws in which the model is wrong, (n,)."""
    return estimate(
        model, images, labels, lambda logits: margin(logits, labels), draws=draws, chunk=chunk, gradient=False
    ).wrong
