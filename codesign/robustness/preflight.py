"""Signs that an attack's number cannot be trusted, looked for before the attack runs.

The ids are stable: docs/robustness.md has a section for each. The list follows the automatic checks of AutoAttack
(F. Croce and M. Hein, arXiv 2003.01690, and its documentation of flags) and RobustBench practice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch
from torch import nn

from codesign.robustness.attacks.losses import LOSSES
from codesign.robustness.dataflow import found_optimisation, selections, unexplained_change
from codesign.robustness.inference import (
    check_labels,
    eval_mode,
    logits_of,
    seeded_model_noise,
    training_submodules,
)

__all__ = ["Flag", "FlagId", "FlagState", "preflight"]

FlagState = Literal["raised", "clear", "not_checked"]

# Five runs, as AutoAttack; two runs of a deterministic model on one machine differ by less than this share.
_RUNS = 5
_NOISE = 1e-5
# On how many images forward passes are followed, how far they are moved, and which share of the change may be missed:
# the midpoint rule leaves a few per cent on networks of ReLUs.
_FEW = 8
_WAY = 8 / 255
_JUMPS = 0.1


class FlagId(StrEnum):
    """Stable names of the flags."""

    RANDOMISED = "RANDOMISED"
    PROBABILITIES = "PROBABILITIES"
    ZERO_GRAD = "ZERO_GRAD"
    TRAIN_MODE = "TRAIN_MODE"
    RANGE = "RANGE"
    INFERENCE_OPT = "INFERENCE_OPT"
    NONDIFF_MASK = "NONDIFF_MASK"
    BLACKBOX_WINS = "BLACKBOX_WINS"


_NOT_CHECKED = {
    FlagId.BLACKBOX_WINS: "needs an attack without gradients beside one with",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its id, whether it was raised, and one line saying what was seen."""

    id: FlagId
    state: FlagState
    detail: str

    def to_json(self) -> dict[str, str]:
        """The record's form."""
        return {"id": self.id.value, "state": self.state, "detail": self.detail}


def preflight(
    module: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, seed: int, image_range: tuple[float, float]
) -> tuple[Flag, ...]:
    """Every flag, in the order of ``FlagId``; what cannot be told before an attack is ``not_checked``.

    Args:
        module: the model under test; its modes are restored. Train mode is reported, the other flags are for eval mode.
        images: float (n, c, h, w), a few of the images, on the module's device.
        labels: int64 (n,).
        seed: of the model's own random draws, if it makes any.
        image_range: smallest and largest pixel of the whole set.

    Raises InputError if the output is not logits (n, classes) or the labels do not fit it.
    """
    training = training_submodules(module)
    with torch.inference_mode(False), eval_mode(module), seeded_model_noise(seed, images.device):
        with torch.no_grad():
            runs = [logits_of(module, images) for _ in range(_RUNS)]
        check_labels(labels, len(images), runs[0].shape[1])
        raised = {
            FlagId.RANDOMISED: _randomised(runs),
            FlagId.PROBABILITIES: _probabilities(runs[0]),
            FlagId.ZERO_GRAD: _zero_gradients(module, images, labels),
            FlagId.TRAIN_MODE: _state(
                bool(training),
                f"{len(training)} submodules came in train mode ({', '.join(training[:5])}) and were run in eval mode",
                "every submodule came in eval mode",
            ),
            FlagId.RANGE: _range(image_range),
            FlagId.INFERENCE_OPT: _inference_optimisation(module, images),
            FlagId.NONDIFF_MASK: _masks(module, images, seed),
        }
    return tuple(  # BLACKBOX_WINS is told after the attacks
        Flag(one, *raised[one]) if one in raised else Flag(one, "not_checked", _NOT_CHECKED[one]) for one in FlagId
    )


def _state(raised: bool, if_raised: str, if_clear: str) -> tuple[FlagState, str]:
    return ("raised", if_raised) if raised else ("clear", if_clear)


def _randomised(runs: list[torch.Tensor]) -> tuple[FlagState, str]:
    scale = max(float(runs[0].abs().max()), torch.finfo(runs[0].dtype).tiny)
    spread = max(float((run - runs[0]).abs().max()) for run in runs[1:]) / scale
    return _state(
        spread > _NOISE,
        f"{_RUNS} runs of the same images differ by {spread:.2g} of the largest logit",
        f"{_RUNS} runs of the same images agree",
    )


def _probabilities(logits: torch.Tensor) -> tuple[FlagState, str]:
    ones = torch.ones(len(logits), dtype=logits.dtype, device=logits.device)
    simplex = bool((logits >= 0).all()) and torch.allclose(logits.sum(dim=1), ones, rtol=0, atol=1e-3)
    return _state(
        simplex,
        "the output is not negative and sums to 1: probabilities, whose gradients are squashed; return logits",
        "the output is not a probability distribution",
    )


def _zero_gradients(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[FlagState, str]:
    """Counts the images, of those that the model has right, for which a loss has no gradient at any pixel."""
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_(True)
        logits = logits_of(module, pixels)
        if not logits.requires_grad:
            return "raised", "no gradient reaches the pixels: the forward pass cuts the graph"
        right = logits.argmax(dim=1) == labels
        if not bool(right.any()):
            return "not_checked", f"the model has none of {len(images)} images right"
        names = [name for name in LOSSES if name != "dlr" or logits.shape[1] >= 3]
        counts = {name: _dead(LOSSES[name](logits, labels), pixels, right) for name in names}
    seen = ", ".join(f"{count} of {int(right.sum())} images with {name}" for name, count in counts.items())
    return _state(any(counts.values()), f"the gradient is exactly zero for {seen}", f"exactly zero gradient: {seen}")


def _dead(loss: torch.Tensor, pixels: torch.Tensor, right: torch.Tensor) -> int:
    gradient = torch.autograd.grad(loss.sum(), pixels, retain_graph=True, allow_unused=True)[0]
    return int(right.sum()) if gradient is None else int((gradient == 0).flatten(1).all(dim=1)[right].sum())


def _inference_optimisation(module: nn.Module, images: torch.Tensor) -> tuple[FlagState, str]:
    seen = found_optimisation(module, images[:_FEW])
    if seen.changed:
        return "raised", f"the forward pass changes the model: {', '.join(seen.changed[:5])}"
    return _state(
        seen.counts["used"] > 0,
        "the forward pass takes gradients of its own, which an attack's gradient does not see through",
        "the forward pass takes no gradients and changes no state",
    )


def _masks(module: nn.Module, images: torch.Tensor, seed: int) -> tuple[FlagState, str]:
    """Raised where values are selected by comparison or ranking and the gradient misses part of what happens."""
    few = images[:_FEW]
    found = selections(module, few)
    if not found:
        return "clear", "the logits depend on no comparison or ranking of values made from the pixels"
    generator = torch.Generator().manual_seed(seed)
    signs = (torch.rand(few.shape, generator=generator) - 0.5).sign().to(few)
    missed = unexplained_change(module, few, (few + _WAY * signs).clamp(0.0, 1.0))
    return _state(
        missed > _JUMPS,
        f"the model selects by {', '.join(found)}, and the gradient misses {missed:.0%} of the logits' change",
        f"the model selects by {', '.join(found)}, and the gradient misses only {missed:.0%} of the logits' change",
    )


def _range(image_range: tuple[float, float]) -> tuple[FlagState, str]:
    low, high = image_range
    return _state(low < 0.0 or high > 1.0, f"pixels are in {low:g} .. {high:g}", f"pixels are in {low:g} .. {high:g}")
