"""Attacks on models whose forward pass rounds, selects or masks: one run for each stand-in gradient that they offer.

A model, or any of its submodules, that can be differentiated in several ways says so through ``GradientModes``; an
``Adaptive`` attack runs once in each mode and keeps the pointwise worst case. Answers always come from the model as
it is; a mode only lends its gradient (backward pass differentiable approximation, A. Athalye, N. Carlini and
D. Wagner, ICML 2018, arXiv 1802.00420).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, Self, final, runtime_checkable

import torch
from torch import nn

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.base import Attack, AttackResult
from codesign.robustness.attacks.checks import check_counts
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.attacks.worst import pointwise_worst
from codesign.robustness.inference import Model, logits_of
from codesign.robustness.streams import RandomStreams

__all__ = ["Adaptive", "GradientMode", "GradientModes", "gradient_mode", "gradient_modes"]


class GradientMode(StrEnum):
    """Names of the ways to differentiate; the values are what ``GradientModes`` deals in."""

    AS_CODED = "as_coded"
    """Whatever the code's own backward pass gives."""
    STRAIGHT_THROUGH = "straight_through"
    """Rounding is differentiated as if it were the identity."""
    SOFT_MASK = "soft_mask"
    """A mask z > tau is differentiated as sigmoid((z - tau) / T)."""
    BPDA_EXACT = "bpda_exact"
    """The defended layer is differentiated as the exact layer that it stands for."""
    BPDA_APPROXIMATE = "bpda_approximate"
    """The defended layer is differentiated as its approximate part alone."""
    JITTERED_THRESHOLDS = "jittered_thresholds"
    """Each call moves the thresholds at random; the gradient is the mean over calls."""


@runtime_checkable
class GradientModes(Protocol):
    """A module that can be differentiated in several ways."""

    @property
    def gradient_modes(self) -> tuple[str, ...]:
        """The modes it knows beside as_coded, values of ``GradientMode``."""
        ...

    def gradient_mode(self, mode: str) -> AbstractContextManager[Any]:
        """Inside, forward and backward passes are those of ``mode``; afterwards those of before.

        The forward pass may differ from the one as coded: only the gradient is used, at the true answer.
        """
        ...


def gradient_modes(model: Model) -> tuple[str, ...]:
    """The modes that any submodule of a model offers, as_coded first, in the order of ``GradientMode``."""
    offered = {mode for part in _holders(model) for mode in part.gradient_modes}
    unknown = sorted(offered - set(GradientMode))
    if unknown:
        raise InputError(
            "unknown gradient mode", got=", ".join(unknown), key="gradient_modes", fix=f"use {', '.join(GradientMode)}"
        )
    return tuple(mode.value for mode in GradientMode if mode is GradientMode.AS_CODED or mode in offered)


@contextmanager
def gradient_mode(model: Model, mode: str) -> Iterator[None]:
    """Every submodule that offers ``mode`` in it; the others stay as coded."""
    with ExitStack() as stack:
        for part in _holders(model):
            if mode in part.gradient_modes:
                stack.enter_context(part.gradient_mode(mode))
        yield


def _holders(model: Model) -> list[GradientModes]:
    parts: list[object] = list(model.modules()) if isinstance(model, nn.Module) else [model]
    return [part for part in parts if isinstance(part, GradientModes)]


class _Lent(torch.autograd.Function):
    """The answer of the model as it is, with the gradient of a stand-in."""

    @staticmethod
    def forward(ctx: Any, stand_in: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ARG004
        return gradient, None


@dataclass(frozen=True, eq=False)
class _InMode:
    """A model that answers as it does and is differentiated in ``mode``, as the mean of ``draws`` calls."""

    model: Model
    mode: str
    draws: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return logits_of(self.model, images)
        with torch.no_grad():
            answer = logits_of(self.model, images.detach())
        with gradient_mode(self.model, self.mode):
            stand_in = logits_of(self.model, images)
            for _ in range(self.draws - 1):
                stand_in = stand_in + logits_of(self.model, images)
        return _Lent.apply(stand_in / self.draws, answer)  # type: ignore[no-any-return, no-untyped-call]


@final
@dataclass(frozen=True, kw_only=True)
class Adaptive(Attack):
    """An attack by gradient run once in each gradient mode of the model, each on the images that still stand.

    A model without modes is attacked once, as coded. A mode without any gradient is passed over: it breaks nothing.

    Args:
        norm, eps: those of ``attack``.
        attack: what runs in each mode.
        modes: which modes, in order; none means all that the model offers.
        draws: calls over which jittered thresholds are averaged.
    """

    norm: Norm = LINF
    eps: float
    attack: Attack
    modes: tuple[str, ...] = ()
    draws: int = 8

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        object.__setattr__(self, "eps", float(self.eps))
        if not isinstance(self.attack, Attack) or self.attack.norm != self.norm or self.attack.eps != self.eps:
            raise InputError("an adaptive attack needs an attack of its norm and eps", got=self.attack, key="attack")
        object.__setattr__(self, "modes", tuple(str(mode) for mode in self.modes))
        for mode in self.modes:
            if mode not in set(GradientMode):
                known = [one.value for one in GradientMode]
                raise InputError("unknown gradient mode", got=mode, key="modes", fix=did_you_mean(mode, known))
        if len(set(self.modes)) < len(self.modes):
            raise InputError("gradient modes must differ", got=", ".join(self.modes), key="modes")
        check_counts({"draws": self.draws})

    @property
    def title(self) -> str:
        return f"adaptive {self.attack.title}"

    @property
    def parts(self) -> tuple[str, ...]:
        return self.modes or tuple(mode.value for mode in GradientMode)

    @property
    def repeats(self) -> int:
        return self.attack.repeats

    def longer(self) -> Attack | None:
        longer = self.attack.longer()
        return None if longer is None else replace(self, attack=longer)

    def restarted(self) -> Attack | None:
        restarted = self.attack.restarted()
        return None if restarted is None else replace(self, attack=restarted)

    def with_eps(self, eps: float) -> Self:
        return replace(self, eps=eps, attack=self.attack.with_eps(eps))

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        offered = gradient_modes(model)
        missing = [mode for mode in self.modes if mode not in offered]
        if missing:
            raise InputError(
                "the model must offer the gradient modes of the attack",
                got=f"{', '.join(missing)} asked for; the model has {', '.join(offered)}",
                key="modes",
            )

        def run(mode: str, rows: torch.Tensor) -> AttackResult:
            jittered = mode == GradientMode.JITTERED_THRESHOLDS
            as_coded = mode == GradientMode.AS_CODED
            seen = model if as_coded else _InMode(model, mode, self.draws if jittered else 1)
            return self.attack.perturb_within(seen, images[rows], labels[rows], streams.select(rows), len(images))

        runs = [(number, partial(run, mode)) for number, mode in enumerate(self.parts) if mode in offered]
        return pointwise_worst(runs, model, images, labels, repeats=self.repeats, skip_without_gradient=True)
