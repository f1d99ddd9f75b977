"""What must hold before a record is reported, and what a reader must be told when it does not add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isclose, isfinite

from codesign.errors import InputError, did_you_mean
from codesign.evaluation.record import AccuracyRecord, HardwareRecord, ModelRecord, Record, Totals

__all__ = ["inconsistencies", "require_reportable", "unattributed_energy_uJ"]

# Sums of many rounded floats: a difference below this share of the total is rounding, not a missing part.
_RELATIVE_TOLERANCE = 1e-3


def require_reportable(record: Record) -> None:
    """Refuse a record that no report can be written of.

    Raises:
        InputError: no models, a name used twice, an accuracy over no images or outside its interval, a value that is
            no finite number, or hardware that names an architecture or a layer that the record does not have.
    """
    if not record.models:
        raise InputError(
            "a record holds at least one model", got="none", key="models", fix="run `codesign evaluate` again"
        )
    for key, names in (
        ("models", [model.name for model in record.models]),
        ("architectures", [architecture.name for architecture in record.architectures]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise InputError("names are unique", got=", ".join(twice), key=key, fix="rename one of them")
    for model in record.models:
        _require_model(model, {architecture.name for architecture in record.architectures})


def _require_model(model: ModelRecord, architectures: set[str]) -> None:
    at = f"models.{model.name}"
    for accuracy in (model.robustness.clean, *model.robustness.attacks, model.robustness.robust):
        _require_accuracy(accuracy, f"{at}.robustness.{accuracy.name}")
    for layer in model.layers:
        shares: dict[str, float | None] = {"weight_density": layer.weight_density}
        shares |= {f"input_density.{kind}": share for kind, share in layer.input_density.items()}
        shares |= {f"nonzero_input_mac_share.{kind}": share for kind, share in layer.nonzero_input_mac_share.items()}
        for key, share in shares.items():
            if share is not None:
                _require_number(share, f"{at}.layers.{layer.name}.{key}", high=1.0)
    layers = {layer.name for layer in model.layers}
    for entry in model.hardware:
        here = f"{at}.hardware.{entry.architecture}.{entry.input_kind}"
        if entry.architecture not in architectures:
            raise InputError(
                "hardware names an architecture of the record",
                got=entry.architecture,
                key=here,
                fix=did_you_mean(entry.architecture, architectures),
            )
        for layer_hardware in entry.layers:
            if layer_hardware.layer not in layers:
                raise InputError(
                    "hardware names a layer of its model",
                    got=layer_hardware.layer,
                    key=f"{here}.layers",
                    fix=did_you_mean(layer_hardware.layer, layers),
                )
        _require_hardware(entry, here)


def _require_hardware(entry: HardwareRecord, key: str) -> None:
    _require_accuracy(entry.accuracy, f"{key}.accuracy")
    for name in Totals.__slots__:
        value = getattr(entry.totals, name)
        if not (name == "area_mm2" and value is None):
            _require_number(value, f"{key}.totals.{name}")
    for component, energy in entry.energy_by_component_uJ.items():
        _require_number(energy, f"{key}.energy_by_component_uJ.{component}")
    for layer in entry.layers:
        for name in ("energy_uJ", "latency_cycles", "utilization", "macs", "actual_macs", "gated_macs", "skipped_macs"):
            _require_number(getattr(layer, name), f"{key}.layers.{layer.layer}.{name}")
        for component, energy in layer.energy_by_component_uJ.items():
            _require_number(energy, f"{key}.layers.{layer.layer}.energy_by_component_uJ.{component}")


def _require_accuracy(accuracy: AccuracyRecord, key: str) -> None:
    for name in ("correct", "total", "low", "high", "level"):
        _require_number(getattr(accuracy, name), f"{key}.{name}")
    if not 0 <= accuracy.correct <= accuracy.total or accuracy.total == 0:
        raise InputError(
            "0 <= correct <= total and total > 0", got=f"{accuracy.correct} of {accuracy.total} images", key=key
        )
    if not accuracy.low <= accuracy.value <= accuracy.high:
        raise InputError(
            "an accuracy lies inside its interval",
            got=f"{accuracy.value:.4f} outside [{accuracy.low}, {accuracy.high}]",
            key=key,
            fix="accuracies and intervals are shares in 0..1, not per cent",
        )


def _require_number(value: object, key: str, high: float = float("inf")) -> None:
    """Numbers of a record are finite and never negative; JSON can hold text, NaN and Infinity in their place."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not 0 <= value <= high:
        limit = "" if high == float("inf") else f" of at most {high:g}"
        raise InputError(f"must be a finite number{limit}, zero or above", got=value, key=key)


def unattributed_energy_uJ(entry: HardwareRecord) -> float:
    """The part of the total energy that no component carries, uJ; 0 where the difference is rounding."""
    total = entry.totals.energy_uJ
    attributed = sum(entry.energy_by_component_uJ.values())
    return 0.0 if _close(attributed, total) else total - attributed


def inconsistencies(record: Record) -> tuple[str, ...]:
    """Sums of the record that do not hold, as sentences for the reader; a report shows them, it never mends them."""
    return tuple(
        f"{model.name} on {entry.architecture}, {entry.input_kind} inputs: {sentence}"
        for model in record.models
        for entry in model.hardware
        for sentence in _sums(entry)
    )


def _sums(entry: HardwareRecord) -> Iterator[str]:
    totals = entry.totals
    fates = totals.actual_macs + totals.gated_macs + totals.skipped_macs
    if not _close(fates, totals.macs):
        yield f"actual + gated + skipped MACs are {fates:,}, not the {totals.macs:,} of the total."
    rest = unattributed_energy_uJ(entry)
    if rest and not _close(rest, totals.traffic_energy_uJ):
        yield f"{rest:.4g} uJ of {totals.energy_uJ:.4g} uJ belong to no component."
    layers_uJ = sum(layer.energy_uJ for layer in entry.layers) + totals.traffic_energy_uJ
    if not _close(layers_uJ, totals.energy_uJ):
        yield f"layers and traffic add up to {layers_uJ:.4g} uJ, not the {totals.energy_uJ:.4g} uJ of the total."
    cycles = sum(layer.latency_cycles for layer in entry.layers)
    if not _close(cycles, totals.latency_cycles):
        yield f"the layers add up to {cycles:,} cycles, not the {totals.latency_cycles:,} of the total."


def _close(one: float, other: float) -> bool:
    return isclose(one, other, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-12)
