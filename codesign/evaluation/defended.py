"""What the record says of a defence beyond what it says of every model: attacks that know it, and its own costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch

from codesign.config import EvaluateConfig
from codesign.data.images import ImageSet
from codesign.defenses.neni import DefendedModel
from codesign.defenses.neni.work_attack import raise_work
from codesign.evaluation.image_costs import ImageCosts, Spread
from codesign.evaluation.record import DefenseRecord, InputKind, SpreadRecord
from codesign.evaluation.subjects import Defended, Subject
from codesign.robustness.attacks.adaptive import Adaptive
from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.composition import AutoAttack, WorstCase
from codesign.robustness.attacks.eot import EOTPGD
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.transfer import SourceModel, Transfer
from codesign.robustness.inference import pixels
from codesign.robustness.result import RobustnessResult

__all__ = ["adaptive_attacks", "defense_record", "spreads"]

_DRAWS = 10
"""Of a random control at every step."""
_TRANSFER_STEPS = 20


def adaptive_attacks(attacks: Sequence[Attack], subject: Subject, device: str) -> tuple[Attack, ...]:
    """Attacks that know the defence: each once in every gradient mode, and images made on the undefended base.

    A network as it was loaded is attacked as asked. A random control gets PGD on the mean of its draws.
    """
    defended = subject.defended
    if defended is None:
        return tuple(attacks)
    adapted = tuple(_adapted(attack, randomised=defended.model.randomised) for attack in attacks)
    first = attacks[0]
    base = SourceModel(defended.base.label, defended.base.loaded.module.to(device))
    # One draw and no early stop: PGD that halts at the base's first error would hardly reach the defended network.
    inner = EOTPGD(norm=first.norm, eps=first.eps, steps=_TRANSFER_STEPS, draws=1)
    transfer = Transfer(norm=first.norm, eps=first.eps, attack=inner, sources=(base,))
    # One with the first, which the sanity checks judge: by itself a transfer is no attempt at the strongest attack.
    return (WorstCase(norm=first.norm, eps=first.eps, attacks=(adapted[0], transfer)), *adapted[1:])


def _adapted(attack: Attack, *, randomised: bool) -> Attack:
    if isinstance(attack, AutoAttack | WorstCase):
        members = tuple(_adapted(member, randomised=randomised) for member in attack.members)
        return WorstCase(norm=attack.norm, eps=attack.eps, attacks=members)
    if isinstance(attack, Adaptive) or attack.gradient_free:
        return attack
    if randomised and isinstance(attack, PGD):
        attack = EOTPGD(norm=attack.norm, eps=attack.eps, steps=attack.steps, draws=_DRAWS)
    return Adaptive(norm=attack.norm, eps=attack.eps, attack=attack)


def defense_record(
    config: EvaluateConfig,
    subject: Subject,
    result: RobustnessResult,
    images: ImageSet,
    costs: Sequence[SpreadRecord],
    remarks: Sequence[str] = (),
) -> DefenseRecord:
    """Everything that is known of the defence around ``subject``.

    Args:
        result: its robustness.
        images: the evaluated ones.
        costs: of single images.
        remarks: what is not modelled of it on this run's architectures.
    """
    defended = subject.defended
    assert defended is not None
    return DefenseRecord(
        method="neni",
        base=defended.base.label,
        settings=defended.model.settings.record(),
        calibration=defended.calibration,
        layers=tuple(report.record() for report in defended.model.layers),
        exact_layers=dict(defended.model.exact),
        bitops=_bitops(defended),
        broken_by=tuple(
            {"attack": outcome.attack.title, "part": part, "images": count}
            for outcome in result.attacks
            for part, count in outcome.broken_by
        ),
        spreads=tuple(costs),
        work=_work(config, defended.model, defended.cost_images, images),
        remarks=tuple(remarks),
    )


def _bitops(defended: Defended) -> dict[str, float]:
    reports = defended.reports()
    bits = defended.model.settings.exact_bits
    exact = sum(layer.macs * bits**2 for layer in defended.base.traced.layers if layer.name not in reports)
    before = sum(report.bitops.undefended for report in reports.values())
    after = sum(report.bitops.defended for report in reports.values())
    return {
        "undefended": before,
        "defended": after,
        "network_undefended": exact + before,
        "network_defended": exact + after,
    }


def _work(config: EvaluateConfig, model: DefendedModel, count: int, images: ImageSet) -> dict[str, float]:
    """The worst case of the efficiency claim; only thresholds have one, and it is sought in the Linf ball."""
    settings = model.settings
    if settings.selection != "threshold" or settings.control != "neni" or config.norm != "linf":
        return {}
    device = next(model.module.parameters()).device
    found = raise_work(
        model,
        pixels(images.images[:count], str(device)),
        eps=config.eps,
        steps=config.steps,
        step_size=max(config.eps / 4, 2.5 * config.eps / config.steps),
        generator=torch.Generator().manual_seed(config.seed),
    )
    before, after = found.clean_share.double().cpu().numpy(), found.attacked_share.double().cpu().numpy()
    values = {"clean": Spread.of(before), "attacked": Spread.of(after)}
    return {"images": len(before)} | {
        f"{name}_{key}": value for name, spread in values.items() for key, value in asdict(spread).items()
    }


def spreads(architecture: str, costs: Mapping[InputKind, ImageCosts]) -> tuple[SpreadRecord, ...]:
    """Costs of single images as rows of the record."""
    return tuple(
        SpreadRecord(architecture, kind, quantity, found.images, spread.mean, spread.p5, spread.p95)
        for kind, found in costs.items()
        for quantity, values in (
            ("energy_uJ", found.energy_pJ / 1e6),
            ("latency_cycles", found.latency_cycles.astype(np.float64)),
            ("executed_macs", found.executed_macs.astype(np.float64)),
            ("essential_share", found.essential_share),
        )
        for spread in (Spread.of(values),)
    )
