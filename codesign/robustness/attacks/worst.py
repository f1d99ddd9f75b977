"""The pointwise worst case over several runs on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from codesign.robustness.attacks.base import AttackResult
from codesign.robustness.attacks.gradients import Found, NoGradientError, wrong_share
from codesign.robustness.attacks.losses import margin
from codesign.robustness.inference import Model, logits_of

__all__ = ["Run", "pointwise_worst"]

Run = Callable[[torch.Tensor], AttackResult]
"""Attacks the images at the given rows (k,) of the batch."""


def pointwise_worst(
    runs: Iterable[tuple[int, Run]],
    model: Model,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    repeats: int,
    skip_without_gradient: bool = False,
) -> AttackResult:
    """Each run on the images that stood against those before it; for a random model, each run on all images.

    Args:
        runs: each with the number of the part that it is; a run that has parts of its own counts on from there.
        model, images, labels: as for ``Attack.perturb``.
        repeats: 1, or for a random model the draws of which every candidate is judged on twice as many, fresh ones:
            a single wrong answer is no reason to leave an image alone.
        skip_without_gradient: a run that finds no gradient at all breaks nothing; else its error is raised.
    """
    found = Found(images)
    part = torch.full_like(labels, -1)
    for number, run in runs:
        rows = torch.nonzero(~found.success if repeats == 1 else torch.ones_like(found.success)).flatten()
        if not len(rows):
            break
        try:
            seen = run(rows)
        except NoGradientError:
            if not skip_without_gradient:
                raise
            continue
        own = number if seen.part is None else number + seen.part.clamp_min(0)
        if repeats == 1:
            with torch.no_grad():
                margins = margin(logits_of(model, seen.images), labels[rows])
            found.update(rows, seen.images, margins, seen.success)
            part[rows] = torch.where(seen.success, torch.as_tensor(own, device=part.device), part[rows])
        else:
            share = wrong_share(model, seen.images, labels[rows], draws=2 * repeats)
            better = share > found.shares[rows]
            part[rows] = torch.where(better, torch.as_tensor(own, device=part.device), part[rows])
            found.compare(rows, seen.images, share)
    if repeats > 1:
        found.success = found.shares > 0.5
        part[~found.success] = -1
    return AttackResult(found.images, found.success, part)
