"""Checks after an attack has run: a number that fails one is shown with the failure beside it.

After N. Carlini et al., "On Evaluating Adversarial Robustness", arXiv 1902.06705, sections 3 and 4. The ids are stable:
docs/robustness.md has a section for each.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign.robustness.attacks.base import Attack, eps_text
from codesign.robustness.attacks.noise import RandomNoise
from codesign.robustness.inference import logits_of
from codesign.robustness.runner import Runner

__all__ = ["Check", "CheckId", "check_attack", "check_effort", "check_outcomes", "check_per_image"]

CheckState = Literal["passed", "failed", "not_checked"]

# Logits of one image in two batches differ by rounding only, by less than this share of the largest.
_ROUNDING = 1e-4
_SAMPLES = 50  # of the random search


class CheckId(StrEnum):
    """Stable names of the checks."""

    PER_IMAGE = "PER_IMAGE"
    ROBUST_NOT_ABOVE_CLEAN = "ROBUST_NOT_ABOVE_CLEAN"
    SUCCESS_VERIFIED = "SUCCESS_VERIFIED"
    EPS_ZERO_IS_CLEAN = "EPS_ZERO_IS_CLEAN"
    EPS_MONOTONE = "EPS_MONOTONE"
    FULL_RANGE_BREAKS = "FULL_RANGE_BREAKS"
    MORE_STEPS = "MORE_STEPS"
    MORE_RESTARTS = "MORE_RESTARTS"
    RANDOM_SEARCH = "RANDOM_SEARCH"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its id, the attack it is about (None: the model), how it went and one line saying what was seen."""

    id: CheckId
    attack: str | None
    state: CheckState
    detail: str

    def to_json(self) -> dict[str, str | None]:
        """The record's form."""
        return {"id": self.id.value, "attack": self.attack, "state": self.state, "detail": self.detail}


def _check(one: CheckId, attack: Attack | None, passed: bool, detail: str) -> Check:
    return Check(one, None if attack is None else repr(attack), "passed" if passed else "failed", detail)


def check_per_image(runner: Runner, count: int) -> Check:
    """An image's logits must not depend on the other images of its batch: attacks drop images on the way.

    A network that rounds or selects turns the last bits of a sum, whose order depends on the size of the batch, into
    whole steps; where float32 shows a difference, float64 tells whether it is more than that.
    """
    if count < 2:
        return Check(CheckId.PER_IMAGE, None, "not_checked", "needs two images")
    spread = _batch_spread(runner, runner.module, count, torch.float32)
    detail = f"logits of {count} images, in one batch and one by one, differ by {spread:.2g} of the largest"
    if spread > _ROUNDING:
        try:
            spread = _batch_spread(runner, copy.deepcopy(runner.module).double(), count, torch.float64)
            detail += f" in float32, by {spread:.2g} in float64"
        except RuntimeError as error:  # torch's word for an operator that does not take float64
            detail += f"; not looked at in float64: {str(error).splitlines()[0]}"
    return _check(CheckId.PER_IMAGE, None, spread <= _ROUNDING, detail)


def _batch_spread(runner: Runner, module: nn.Module, count: int, dtype: torch.dtype) -> float:
    """Largest difference between the logits of the first images in one batch and one by one, over the largest logit."""

    def work(low: int, high: int) -> tuple[float, float]:
        images = runner.inputs(low, high)[0].to(dtype)
        with torch.no_grad():
            together = logits_of(module, images)
            alone = torch.cat([logits_of(module, one[None]) for one in images])
        return float((together - alone).abs().max()), float(together.abs().max())

    pieces = runner.in_pieces(0, count, work)
    return max(apart for apart, _ in pieces) / max(*(scale for _, scale in pieces), torch.finfo(torch.float32).tiny)


def check_outcomes(
    attack: Attack,
    labels: npt.NDArray[np.int64],
    clean: npt.NDArray[np.int64],
    attacked: npt.NDArray[np.int64],
    claimed: npt.NDArray[np.bool_],
) -> tuple[Check, Check]:
    """What the predicted classes (n,) of all images, as they are and attacked, say without running anything."""
    gained = int(((clean != labels) & (attacked == labels)).sum())
    unverified = int((claimed != (attacked != labels)).sum())
    return (
        _check(
            CheckId.ROBUST_NOT_ABOVE_CLEAN,
            attack,
            gained == 0,
            f"{gained} of {len(labels)} images are wrong as they are and right under attack",
        ),
        # One in a thousand: at a boundary, rounding in another batch can turn an answer.
        _check(
            CheckId.SUCCESS_VERIFIED,
            attack,
            unverified <= len(labels) // 1000,
            f"for {unverified} of {len(labels)} images another forward pass contradicts what the attack says",
        ),
    )


def check_effort(runner: Runner, attack: Attack, attacked: npt.NDArray[np.int64]) -> tuple[Check, Check, Check]:
    """Whether more of the same, or no method at all, breaks images that the attack leaves standing.

    Args:
        runner: over the whole set.
        attack: the attack; of one made of others, its first is looked at.
        attacked: predicted classes (k,) of the first k images under ``attack``; k may be 0: nothing is checked then.

    Returns MORE_STEPS, MORE_RESTARTS and RANDOM_SEARCH.
    """
    one, count = attack.sanity_member, len(attacked)
    labels = runner.images.labels[:count]
    if count and one != attack:
        attacked = runner.attack(one, 0, count).predictions
    standing = attacked == labels

    def more(which: CheckId, other: Attack | None, what: str) -> Check:
        if not count or other is None:
            reason = "switched off" if not count else f"{one.title} has no {what} to multiply"
            return Check(which, repr(attack), "not_checked", reason)
        fell = int((standing & (runner.attack(other, 0, count).predictions != labels)).sum())
        # Heuristics find a little more when they run longer; an eighth more is too much.
        detail = f"{other.title} breaks {fell} of {int(standing.sum())} images that {one.title} leaves"
        return _check(which, attack, fell <= max(count // 8, 1), detail)

    def random() -> Check:
        if not count:
            return Check(CheckId.RANDOM_SEARCH, repr(attack), "not_checked", "switched off")
        noise = RandomNoise(norm=one.norm, eps=one.eps, samples=_SAMPLES, places="corners")
        fell = int((standing & (runner.attack(noise, 0, count).predictions != labels)).sum())
        detail = f"{noise.title} breaks {fell} of {int(standing.sum())} images that {one.title} leaves"
        return _check(CheckId.RANDOM_SEARCH, attack, fell == 0, detail)

    return (
        more(CheckId.MORE_STEPS, one.longer(), "steps"),
        more(CheckId.MORE_RESTARTS, one.restarted(), "restarts"),
        random(),
    )


def check_attack(
    runner: Runner, attack: Attack, clean: npt.NDArray[np.int64], attacked: npt.NDArray[np.int64]
) -> tuple[Check, Check, Check]:
    """The attack with other radii on the first images.

    Args:
        runner: over the whole set.
        attack: the attack, at its own radius.
        clean, attacked: predicted classes (k,) of the first k images, as they are and under ``attack``; k may be 0,
            and then nothing is checked.

    Returns EPS_ZERO_IS_CLEAN, EPS_MONOTONE and FULL_RANGE_BREAKS.
    """
    count = len(clean)
    if not count:
        skipped = (CheckId.EPS_ZERO_IS_CLEAN, CheckId.EPS_MONOTONE, CheckId.FULL_RANGE_BREAKS)
        first, second, third = (Check(one, repr(attack), "not_checked", "switched off") for one in skipped)
        return first, second, third
    labels = runner.images.labels[:count]
    whole, attack = attack, attack.sanity_member
    if attack != whole:
        attacked = runner.attack(attack, 0, count).predictions
    full = attack.norm.full_range(runner.images.images.shape[1:])
    radii = tuple(sorted({0.0, attack.eps / 2, attack.eps, min(4 * attack.eps, full), full}))
    predictions = {attack.eps: attacked}
    for radius in radii:
        if radius not in predictions:
            predictions[radius] = runner.attack(attack.with_eps(radius), 0, count).predictions
    right = [int((predictions[radius] == labels).sum()) for radius in radii]
    moved = int((predictions[0.0] != clean).sum())
    sweep = ", ".join(f"{number} at {eps_text(radius)}" for number, radius in zip(right, radii, strict=True))
    return (
        _check(
            CheckId.EPS_ZERO_IS_CLEAN, whole, moved == 0, f"eps = 0 changes the answer for {moved} of {count} images"
        ),
        # An attack is a heuristic: one image found at a radius and missed at a larger one proves nothing.
        _check(
            CheckId.EPS_MONOTONE,
            whole,
            all(after <= before + 1 for before, after in pairwise(right)),
            f"right of {count} images: {sweep}",
        ),
        _check(
            CheckId.FULL_RANGE_BREAKS,
            whole,
            right[-1] == 0,
            f"{right[-1]} of {count} images stand where every image is within reach ({attack.norm.name} {full:g})",
        ),
    )
