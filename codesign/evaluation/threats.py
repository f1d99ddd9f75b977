"""Threats beside the run's own: each attacked as the run attacks its own, so that no small radius stands alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from codesign.config import EvaluateConfig
from codesign.config_threats import ThreatChoice
from codesign.evaluation.accuracies import RobustnessRecord, ThreatRecord, threat_label
from codesign.evaluation.paired import bits_of
from codesign.evaluation.software import attacks_of
from codesign.robustness.attacks.norms import norm_from_name
from codesign.robustness.result import RobustnessResult

__all__ = ["STANDARD_RADII", "check_threats", "threat_notes", "under_threat", "with_threats"]

STANDARD_RADII = {"linf": 8 / 255, "l2": 0.5}
"""The radii at which robust accuracy on CIFAR-10 is customarily compared (RobustBench, Croce et al. 2021,
arXiv:2010.09670); a claim below them is one about a weak adversary."""

Measured = tuple[RobustnessResult, RobustnessRecord]


def under_threat(config: EvaluateConfig, threat: ThreatChoice) -> EvaluateConfig:
    """The run's settings with the threat in place of its own.

    The threat's attacks are its own, else the run's at this norm and radius; the step of PGD follows from the radius.
    """
    changes = {
        "norm": threat.norm,
        "eps": threat.eps,
        "attacks": config.attacks if threat.attacks is None else threat.attacks,
        "step_size": None,
        "threats": (),
    }
    return config.model_copy(update=changes)


def check_threats(config: EvaluateConfig, image_shape: tuple[int, ...]) -> None:
    """Raise InputError for a radius or attacks that no evaluation takes, before any work is done.

    Args:
        image_shape: channels, height, width.
    """
    for changed in (config, *(under_threat(config, threat) for threat in config.threats)):
        norm_from_name(changed.norm).check_eps(changed.eps, image_shape)
        attacks_of(changed)


def with_threats(
    config: EvaluateConfig,
    own: Measured,
    measure: Callable[[EvaluateConfig, Path, str], Measured],
    folder: Path,
) -> RobustnessRecord:
    """The record of the run's own threat with a row for it and for every other.

    Args:
        own: what was measured under the run's own threat.
        measure: measures the same model under other settings; called with them, a folder that keeps finished batches,
            and the threat's name.
        folder: for those folders.
    """
    result, record = own
    rows = [_row(config.norm, config.eps, result, record)]
    done = {repr(attacks_of(config))}
    for number, threat in enumerate(config.threats):
        changed = under_threat(config, threat)
        attacks = repr(attacks_of(changed))
        if attacks in done:
            continue  # the run's own threat, named once more
        done.add(attacks)
        label = threat_label(threat.norm, threat.eps)
        place = folder / f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', label)}"
        rows.append(_row(threat.norm, threat.eps, *measure(changed, place, label)))
    return replace(record, threats=tuple(rows), clean_right=bits_of(result.clean_correct))


def _row(norm: str, eps: float, result: RobustnessResult, record: RobustnessRecord) -> ThreatRecord:
    return ThreatRecord(
        norm=norm,
        eps=eps,
        attacks=record.attacks,
        robust=record.robust,
        right=bits_of(result.robust_correct),
        doubts=tuple(row for row in (*record.flags, *record.sanity) if row.get("state") in {"raised", "failed"}),
    )


def threat_notes(config: EvaluateConfig) -> tuple[str, ...]:
    """What a reader must know about the radii: a small one says nothing about the customary ones."""
    radii = [(config.norm, config.eps), *((threat.norm, threat.eps) for threat in config.threats)]
    if any(eps >= STANDARD_RADII[norm] * (1 - 1e-9) for norm, eps in radii if norm in STANDARD_RADII):
        return ()
    shown = ", ".join(threat_label(norm, eps) for norm, eps in radii)
    customary = " or ".join(f"{threat_label(norm, eps)}" for norm, eps in STANDARD_RADII.items())
    return (
        f"Robust accuracy is measured inside small balls only ({shown}). It says nothing about the radii at which "
        f"robustness is customarily compared ({customary} for colour images): add one with --threat.",
    )
