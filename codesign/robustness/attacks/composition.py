"""Attacks made of attacks: the pointwise worst case, and the two versions of AutoAttack.

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020, arXiv 2003.01690.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Literal, Self, final

import torch

from codesign.errors import InputError, did_you_mean
from codesign.robustness.attacks.apgd import APGD, TargetedAPGD
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts
from codesign.robustness.attacks.fab import TargetedFAB
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.attacks.square import Square
from codesign.robustness.attacks.worst import pointwise_worst
from codesign.robustness.inference import Model
from codesign.robustness.streams import RandomStreams

__all__ = ["AutoAttack", "WorstCase"]

_VERSIONS = ("standard", "rand")


def _names(attack: Attack) -> tuple[str, ...]:
    """What an attack contributes to the parts of a composition."""
    return tuple(f"{attack.title}, {part}" for part in attack.parts) or (attack.title,)


@dataclass(frozen=True, kw_only=True)
class _Composite(Attack):
    """An attack that runs others; a subclass says which."""

    @property
    def members(self) -> tuple[Attack, ...]:
        """The attacks, in the order in which they run."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(name for attack in self.members for name in _names(attack))

    @property
    def gradient_free_parts(self) -> tuple[bool, ...]:
        return tuple(free for attack in self.members for free in attack.gradient_free_parts or (attack.gradient_free,))

    @property
    def repeats(self) -> int:
        return max(attack.repeats for attack in self.members)

    @property
    def gradient_free(self) -> bool:
        return all(attack.gradient_free for attack in self.members)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        def run(attack: Attack, rows: torch.Tensor) -> AttackResult:
            return attack.perturb_within(model, images[rows], labels[rows], streams.select(rows), len(images))

        starts = accumulate((len(_names(attack)) for attack in self.members), initial=0)
        runs = [(start, partial(run, attack)) for start, attack in zip(starts, self.members, strict=False)]
        return pointwise_worst(runs, model, images, labels, repeats=self.repeats)

    @property
    def sanity_member(self) -> Attack:
        return self.members[0]


@final
@dataclass(frozen=True, kw_only=True)
class WorstCase(_Composite):
    """Attacks of one norm and radius, in order, each on the images that are still standing.

    Args:
        norm, eps: those of all the attacks.
        attacks: at least one, all different.
    """

    norm: Norm = LINF
    eps: float
    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        object.__setattr__(self, "eps", float(self.eps))
        object.__setattr__(self, "attacks", tuple(self.attacks))
        if not self.attacks or not all(isinstance(attack, Attack) for attack in self.attacks):
            raise InputError("a worst case needs at least one Attack", got=self.attacks, key="attacks")
        if any(attack.norm != self.norm or attack.eps != self.eps for attack in self.attacks):
            raise InputError(
                "a worst case is over attacks of one norm and radius",
                got=", ".join(attack.title for attack in self.attacks),
                key="attacks",
            )
        if len({repr(attack) for attack in self.attacks}) < len(self.attacks):
            raise InputError("attacks must differ", got=", ".join(map(repr, self.attacks)), key="attacks")

    @property
    def members(self) -> tuple[Attack, ...]:
        return self.attacks

    @property
    def title(self) -> str:
        return f"worst of {len(self.attacks)} {self.norm.name} {eps_text(self.eps)}"

    def with_eps(self, eps: float) -> Self:
        return replace(self, eps=eps, attacks=tuple(attack.with_eps(eps) for attack in self.attacks))


@final
@dataclass(frozen=True, kw_only=True)
class AutoAttack(_Composite):
    """The standard of the field: four attacks without parameters to tune, or two for random models.

    ``standard``: APGD-CE (100 steps), APGD-T (100 steps for each of 9 targets), FAB-T (the same) and Square (5000
    queries), for deterministic models of at least four classes. ``rand``: APGD-CE and APGD-DLR, each step on the mean
    of ``draws`` draws; unlike the published code, which believes a single wrong answer, outcomes are means over fresh
    draws.

    Args:
        norm: of the perturbation, Linf or L2.
        eps: radius, in units of the pixel range [0, 1].
        version: "standard" or "rand".
        draws: of a random model at each step of ``rand``.
        chunk: draws that are run together, a matter of memory and speed only.
    """

    norm: Norm = LINF
    eps: float
    version: Literal["standard", "rand"] = "standard"
    draws: int = 20
    chunk: int = 1

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        object.__setattr__(self, "eps", float(self.eps))
        if self.version not in _VERSIONS:
            fix = did_you_mean(str(self.version), _VERSIONS)
            raise InputError("unknown version", got=self.version, key="version", fix=fix)
        check_counts({"draws": self.draws}, 2)
        check_counts({"chunk": self.chunk})

    @property
    def title(self) -> str:
        return f"AutoAttack {self.version} {self.norm.name} {eps_text(self.eps)}"

    @property
    def members(self) -> tuple[Attack, ...]:
        norm, eps = self.norm, self.eps
        if self.version == "rand":
            return (
                APGD(norm=norm, eps=eps, loss="ce", draws=self.draws, chunk=self.chunk),
                APGD(norm=norm, eps=eps, loss="dlr", draws=self.draws, chunk=self.chunk),
            )
        return (
            APGD(norm=norm, eps=eps, loss="ce"),
            TargetedAPGD(norm=norm, eps=eps),
            TargetedFAB(norm=norm, eps=eps),
            Square(norm=norm, eps=eps),
        )
