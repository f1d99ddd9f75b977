"""Whether attacks without gradients do better than those with: the gradients then mislead.

The rule is that of AutoAttack (F. Croce and M. Hein, arXiv 2003.01690, and its documentation of flags): Square must not
gain more than 0.2 points over the attacks by gradient.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.norms import L2, Linf
from codesign.robustness.attacks.square import Square
from codesign.robustness.preflight import Flag, FlagId
from codesign.robustness.runner import Runner

__all__ = ["blackbox_wins"]

_POINTS = 0.002
_PROBE_QUERIES = 500
_PROBE_DRAWS = 5


def blackbox_wins(
    runner: Runner,
    attacks: tuple[Attack, ...],
    right: npt.NDArray[np.bool_],
    correct: npt.NDArray[np.bool_],
    parts: npt.NDArray[np.int64],
    *,
    probe: int,
    draws: int = 1,
) -> Flag:
    """The flag BLACKBOX_WINS, from attacks that have run, or from a short Square attack if none was without gradients.

    An attack on a random model is judged over draws, since a lucky one is soon found in 500 queries.

    Args:
        runner: over the whole set, its model in eval mode.
        attacks: what ran.
        right: bool (n,), the model is right on the images as they are.
        correct: bool (a, n), it is right under each attack.
        parts: int64 (a, n), which part of a composed attack broke the image.
        probe: how many images, the first of the set, a Square attack of 500 queries may be tried on.
        draws: of a random model, over which the outcomes are judged; 1 for a deterministic one.
    """
    fell = [_fell(attack, right & ~row, part) for attack, row, part in zip(attacks, correct, parts, strict=True)]
    if not any(_by_gradient(attack) for attack in attacks):
        return Flag(FlagId.BLACKBOX_WINS, "not_checked", "no attack by gradient was run")
    gradient = np.any([white for white, _ in fell], axis=0)
    if any(_without_gradient(attack) for attack in attacks):
        only = int((np.any([black for _, black in fell], axis=0) & ~gradient).sum())
        return _flag(only, len(right), "attacks without gradients break {only} of {total} images that those with leave")
    attack = next(attack for attack in attacks if _by_gradient(attack))
    if not probe or not isinstance(attack.norm, Linf | L2):
        return Flag(FlagId.BLACKBOX_WINS, "not_checked", "needs an attack without gradients beside one with")
    square = Square(
        norm=attack.norm, eps=attack.eps, queries=_PROBE_QUERIES, stretched=True, draws=min(draws, _PROBE_DRAWS)
    )
    broken = runner.attack(square, 0, probe).claimed
    only = int((broken & right[:probe] & ~gradient[:probe]).sum())
    return _flag(only, probe, f"{square.title} breaks {{only}} of the first {{total}} images that gradients leave")


def _flag(only: int, total: int, text: str) -> Flag:
    # One image more than the others is luck in a small set.
    raised = only > max(_POINTS * total, 1)
    return Flag(FlagId.BLACKBOX_WINS, "raised" if raised else "clear", text.format(only=only, total=total))


def _members(attack: Attack) -> tuple[bool, ...]:
    """For each part of an attack, or for the attack itself, whether it does without gradients."""
    return attack.gradient_free_parts or (attack.gradient_free,)


def _by_gradient(attack: Attack) -> bool:
    return not all(_members(attack))


def _without_gradient(attack: Attack) -> bool:
    return any(_members(attack))


def _fell(
    attack: Attack, broken: npt.NDArray[np.bool_], part: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which images fell to gradients and which to attacks without, bool (n,) each."""
    free = np.array(_members(attack))
    black = free[np.maximum(part, 0)] if attack.parts else np.broadcast_to(free[0], broken.shape)
    return broken & ~black, broken & black
