"""The part of a record that says how robust a model is: accuracies, threats, and models compared image by image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AccuracyRecord",
    "ModelComparison",
    "RobustnessRecord",
    "ThreatRecord",
    "accuracy_from_json",
    "labelled_threats",
    "robustness_from_json",
    "threat_label",
]


@dataclass(frozen=True, slots=True)
class AccuracyRecord:
    """An accuracy in 0..1 with its confidence interval (``low``, ``high``, at ``level``) and image count.

    ``correct`` counts images; for a random model it is a mean over draws and need not be whole.
    """

    name: str
    correct: float
    total: int
    low: float
    high: float
    level: float = 0.95
    method: str = "clopper-pearson"

    @property
    def value(self) -> float:
        """Share of images classified correctly."""
        return self.correct / self.total


@dataclass(frozen=True, slots=True)
class ThreatRecord:
    """Accuracy inside one ball of perturbations.

    ``eps`` is in units of the pixel range. ``robust`` is the pointwise worst over ``attacks``. ``right`` says which
    images: one bit an image, the first image in the highest bit of the first byte, in hexadecimal. ``doubts`` are the
    raised flags and failed checks, rows of {"id", "state", "detail"}.
    """

    norm: str
    eps: float
    attacks: tuple[AccuracyRecord, ...]
    robust: AccuracyRecord
    right: str
    doubts: tuple[Mapping[str, str], ...] = ()

    @property
    def label(self) -> str:
        """Such as ``L2 0.25``; radii that are whole 255ths are written so."""
        return threat_label(self.norm, self.eps)


@dataclass(frozen=True, slots=True)
class RobustnessRecord:
    """Clean accuracy, accuracy under every attack, and their pointwise worst case over the same images.

    ``flags`` and ``sanity`` are rows of {"id", "state", "detail"}; a flag's state is raised, clear or not_checked.
    ``threats`` begins with the run's own threat, to which ``attacks`` and ``robust`` belong; those that were asked for
    beside it follow. ``clean_right`` says which images are right as they are, as ``ThreatRecord.right``.
    """

    clean: AccuracyRecord
    attacks: tuple[AccuracyRecord, ...]
    robust: AccuracyRecord
    flags: tuple[Mapping[str, str], ...] = ()
    sanity: tuple[Mapping[str, str], ...] = ()
    threats: tuple[ThreatRecord, ...] = ()
    clean_right: str = ""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Two models on the same images: McNemar's exact test, two-sided.

    ``inputs`` is ``clean`` or a threat's label. ``only_first`` and ``only_second`` count the images that one of them
    alone has right. ``adjusted_p_value`` is Holm's, over all comparisons of the record; ``better`` names a model only
    where it is below 0.05.
    """

    inputs: str
    first: str
    second: str
    only_first: int
    only_second: int
    total: int
    p_value: float
    adjusted_p_value: float
    better: str | None


def threat_label(norm: str, eps: float) -> str:
    """``Linf 8/255``, ``L2 0.25``."""
    steps = round(255 * eps)
    whole = norm == "linf" and steps > 0 and abs(255 * eps - steps) < 1e-9 and steps < 128
    return f"{norm.capitalize()} {f'{steps}/255' if whole else f'{eps:g}'}"


def labelled_threats(robustness: RobustnessRecord) -> dict[str, ThreatRecord]:
    """The threats by label; a ball that is there again, with other attacks, is numbered: ``L2 0.5 (2)``."""
    found: dict[str, ThreatRecord] = {}
    seen: dict[str, int] = {}
    for threat in robustness.threats:
        seen[threat.label] = seen.get(threat.label, 0) + 1
        found[threat.label if seen[threat.label] == 1 else f"{threat.label} ({seen[threat.label]})"] = threat
    return found


def accuracy_from_json(data: Mapping[str, Any]) -> AccuracyRecord:
    """What ``Record.to_json`` made of it."""
    return AccuracyRecord(**{key: value for key, value in data.items() if key != "value"})


def robustness_from_json(data: Mapping[str, Any]) -> RobustnessRecord:
    """What ``Record.to_json`` made of it; a record of before 1.1 has no threats."""
    return RobustnessRecord(
        clean=accuracy_from_json(data["clean"]),
        attacks=tuple(accuracy_from_json(attack) for attack in data["attacks"]),
        robust=accuracy_from_json(data["robust"]),
        flags=tuple(data["flags"]),
        sanity=tuple(data["sanity"]),
        threats=tuple(_threat(threat) for threat in data.get("threats", ())),
        clean_right=data.get("clean_right", ""),
    )


def _threat(data: Mapping[str, Any]) -> ThreatRecord:
    return ThreatRecord(
        norm=data["norm"],
        eps=data["eps"],
        attacks=tuple(accuracy_from_json(attack) for attack in data["attacks"]),
        robust=accuracy_from_json(data["robust"]),
        right=data["right"],
        doubts=tuple(data["doubts"]),
    )
