"""What a record says of a defence around a model. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["DefenseRecord", "SpreadRecord", "defense_from_json"]


@dataclass(frozen=True, slots=True)
class SpreadRecord:
    """A cost of single images on a dual-module design: mean, 5th and 95th percentile over ``images`` images.

    ``quantity`` is energy_uJ, latency_cycles, executed_macs or essential_share, of all defended layers together.
    """

    architecture: str
    input_kind: Literal["clean", "adversarial"]
    quantity: str
    images: int
    mean: float
    p5: float
    p95: float


@dataclass(frozen=True, slots=True)
class DefenseRecord:
    """A defence around a model.

    Args:
        method, base: which, and the name of the model that it was put around.
        settings: every choice of the method.
        calibration: where the images of the distillation come from, and how many.
        layers: what is known of each defended layer: sizes, k, fit, measured share, BitOPs.
        exact_layers: name and reason of layers left exact.
        bitops: of one sample: ``undefended`` and ``defended`` over the defended layers, ``network_undefended`` and
            ``network_defended`` over all.
        broken_by: rows {"attack", "part", "images"}: which gradient mode, or other part of an attack, broke how many
            images that stood before it.
        spreads: costs of single images.
        work: of an attack on the executed work of thresholds at the run's eps: shares before and after; empty where an
            image cannot change it.
        remarks: what is not modelled.
    """

    method: str
    base: str
    settings: Mapping[str, Any]
    calibration: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]
    exact_layers: Mapping[str, str]
    bitops: Mapping[str, float]
    broken_by: tuple[Mapping[str, Any], ...] = ()
    spreads: tuple[SpreadRecord, ...] = ()
    work: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def defense_from_json(data: Mapping[str, Any] | None) -> DefenseRecord | None:
    """What ``asdict`` gave.

    Raises:
        KeyError, TypeError: a key is missing or unknown.
    """
    if data is None:
        return None
    tuples: dict[str, Any] = {key: tuple(data[key]) for key in ("layers", "broken_by", "remarks")}
    return DefenseRecord(**{**data, **tuples, "spreads": tuple(SpreadRecord(**row) for row in data["spreads"])})
