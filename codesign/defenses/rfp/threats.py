"""Robust accuracy of several networks under several threats, in one table: a small-eps claim never stands alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from codesign.config_threats import ThreatChoice, threat_from_text
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.norms import norm_from_name
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.presets import attacks_from_text
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.result import RobustnessResult

__all__ = ["DEFAULT_THREATS", "Threat", "measure", "parse_threat"]


@dataclass(frozen=True, slots=True)
class Threat:
    """A ball of perturbations: a norm by name, a radius in units of the pixel range [0, 1], and what searches it.

    ``named`` are attacks by name, such as ``pgd50; autoattack-standard``; None leaves them to the call of ``attacks``.
    """

    norm: str
    eps: float
    named: str | None = None

    def attacks(self, steps: int, *, autoattack: bool) -> tuple[Attack, ...]:
        """The named attacks; else PGD, and AutoAttack standard if asked for."""
        norm = norm_from_name(self.norm)
        if self.named is not None:
            return attacks_from_text(self.named, norm, self.eps)
        pgd = PGD(norm=norm, eps=self.eps, steps=steps)
        if not autoattack:
            return (pgd,)
        from codesign.robustness.attacks.composition import AutoAttack

        return (pgd, AutoAttack(norm=norm, eps=self.eps))


DEFAULT_THREATS = (Threat("l2", 0.25), Threat("l2", 0.5), Threat("linf", 8 / 255))


def parse_threat(text: str) -> Threat:
    """``l2:0.25`` or ``linf:8/255``, or with attacks ``l2:0.5:autoattack-standard``. Raises InputError."""
    try:
        choice = ThreatChoice.model_validate(threat_from_text(text))
    except ValidationError as error:
        detail = error.errors()[0]
        rule = f"a threat is norm:radius or norm:radius:attacks; {detail['msg'].removeprefix('Value error, ')}"
        raise InputError(rule, got=text, key="--threat", fix="for example linf:8/255") from error
    threat = Threat(choice.norm, choice.eps, choice.attacks)
    threat.attacks(1, autoattack=False)  # refuses unknown names now, not after the pruning
    return threat


def measure(
    networks: Mapping[str, nn.Module],
    images: ImageSet,
    threats: Sequence[Threat],
    *,
    steps: int,
    autoattack: bool = False,
    batch_size: int,
    sanity_images: int,
    seed: int,
    device: str,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> dict[str, dict[str, Any]]:
    """Every network's record of robustness (clean, every attack, flags, checks), by name.

    Args:
        networks: name -> logits from pixels in [0, 1].
        images: test images.
        threats: what the attacker may do; each is attacked on its own.
        steps: of PGD.
        autoattack: attack with AutoAttack too.
        batch_size, sanity_images, seed, device: as for ``evaluate_robustness``.
        folder: keeps finished batches.
        progress: called with (network, images and attacks done, in total).
    """
    attacks = [attack for threat in threats for attack in threat.attacks(steps, autoattack=autoattack)]
    found: dict[str, dict[str, Any]] = {}
    for name, network in networks.items():
        result: RobustnessResult = evaluate_robustness(
            network,
            images,
            attacks,
            batch_size=batch_size,
            sanity_images=sanity_images,
            seed=seed,
            device=device,
            progress=lambda event, name=name: progress(f"attack {name}", event.done, event.total),
            folder=folder / name,
        )
        found[name] = _without_seconds(result.to_json())
    return found


def _without_seconds(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that is the same for the same seed."""
    attacks = [{key: value for key, value in one.items() if key != "seconds"} for one in record["attacks"]]
    return {key: value for key, value in record.items() if key != "clean_seconds"} | {"attacks": attacks}
