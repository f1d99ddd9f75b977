"""``layers.csv``: one row per model, architecture, input kind and layer."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from codesign.evaluation.record import LayerHardware, LayerRecord, Record

__all__ = ["layers_csv"]

_MEASURES = ("energy_uJ", "latency_cycles", "utilization", "macs", "actual_macs", "gated_macs", "skipped_macs")


def layers_csv(record: Record, path: Path) -> None:
    """Write ``path``: UTF-8, comma separated, one heading line, units in the column names, numbers in full.

    Densities are those of the row's input kind; a cell is empty where the record has no value. Loop bounds are columns
    ``bound_N`` and so on, components of all architectures columns ``energy_<component>_uJ``.
    """
    bounds = _in_order(key for model in record.models for layer in model.layers for key in layer.bounds)
    components = _in_order(
        key
        for model in record.models
        for entry in model.hardware
        for layer in entry.layers
        for key in layer.energy_by_component_uJ
    )
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            (
                *("model", "architecture", "input_kind", "layer", "kind"),
                *(f"bound_{key}" for key in bounds),
                *(
                    "weight_density",
                    "input_density",
                    "nonzero_input_mac_share",
                    *_MEASURES,
                    "latency_ms",
                    "bound_by",
                    "mapping",
                ),
                *(f"energy_{key}_uJ" for key in components),
            )
        )
        cycle_ms = {architecture.name: 1e3 * architecture.cycle_seconds for architecture in record.architectures}
        for model in record.models:
            layers = {layer.name: layer for layer in model.layers}
            for entry in model.hardware:
                for hardware in entry.layers:
                    layer = layers[hardware.layer]
                    writer.writerow(
                        (
                            *(model.name, entry.architecture, entry.input_kind, layer.name, layer.kind),
                            *(layer.bounds.get(key, "") for key in bounds),
                            *_densities(layer, entry.input_kind),
                            *(getattr(hardware, key) for key in _MEASURES),
                            hardware.latency_cycles * cycle_ms[entry.architecture],
                            *(hardware.bound_by, hardware.mapping),
                            *_energies(hardware, components),
                        )
                    )


def _densities(layer: LayerRecord, input_kind: str) -> tuple[float | str, ...]:
    return (
        "" if layer.weight_density is None else layer.weight_density,
        layer.input_density.get(input_kind, ""),
        layer.nonzero_input_mac_share.get(input_kind, ""),
    )


def _energies(hardware: LayerHardware, components: Iterable[str]) -> tuple[float | str, ...]:
    return tuple(hardware.energy_by_component_uJ.get(key, "") for key in components)


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order of first appearance."""
    return tuple(dict.fromkeys(names))
