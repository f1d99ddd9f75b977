"""Layers as a table: ``layers.csv``, and the same as a pandas frame for analysis in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.evaluation.record import HardwareRecord, LayerHardware, LayerRecord, Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["layers_csv", "layers_frame"]

_MEASURES = ("energy_uJ", "latency_cycles", "utilization", "macs", "actual_macs", "gated_macs", "skipped_macs")


def layers_frame(record: Record) -> pd.DataFrame:
    """One row per model, architecture, input kind and layer, with units in the column names.

    Densities are those of the row's input kind; a cell is NA where the record has no value. Loop bounds are columns
    ``bound_N`` and so on, components of all architectures columns ``energy_<component>_uJ``.
    """
    import pandas as pd

    frame = pd.DataFrame(list(_rows(record)))
    # pandas' own integers cannot be missing, and a loop bound that a layer does not have is.
    return frame.astype(
        {column: "Int64" for column in frame.columns if column.startswith("bound_") and column != "bound_by"}
    )


def layers_csv(record: Record, path: Path) -> None:
    """Write ``layers_frame``: UTF-8, comma separated, one heading line, numbers in full, empty where there is none."""
    layers_frame(record).to_csv(path, index=False, encoding="utf-8", lineterminator="\n")


def _rows(record: Record) -> Iterator[dict[str, object]]:
    cycle_ms = {architecture.name: 1e3 * architecture.cycle_seconds for architecture in record.architectures}
    for model in record.models:
        layers = {layer.name: layer for layer in model.layers}
        for entry in model.hardware:
            for hardware in entry.layers:
                yield {"model": model.name} | _row(
                    entry, hardware, layers[hardware.layer], hardware.latency_cycles * cycle_ms[entry.architecture]
                )


def _row(entry: HardwareRecord, hardware: LayerHardware, layer: LayerRecord, latency_ms: float) -> dict[str, object]:
    return {
        "architecture": entry.architecture,
        "input_kind": entry.input_kind,
        "layer": layer.name,
        "kind": layer.kind,
        **{f"bound_{key}": bound for key, bound in layer.bounds.items()},
        "weight_density": layer.weight_density,
        "input_density": layer.input_density.get(entry.input_kind),
        "nonzero_input_mac_share": layer.nonzero_input_mac_share.get(entry.input_kind),
        **{key: getattr(hardware, key) for key in _MEASURES},
        "latency_ms": latency_ms,
        "bound_by": hardware.bound_by,
        **_realised(hardware),
        "mapping": hardware.mapping,
        **{f"energy_{name}_uJ": energy for name, energy in hardware.energy_by_component_uJ.items()},
    }


def _realised(hardware: LayerHardware) -> dict[str, object]:
    """Columns of a layer whose recorded masks were simulated; none for others."""
    found = hardware.realised
    if found is None:
        return {}
    return {
        "realised_latency_cycles": found.latency_cycles,
        "expected_compute_cycles": found.expected_cycles,
        "realised_compute_cycles": found.realised_cycles,
        "reordered_compute_cycles": found.reordered_cycles,
        "reordered_by": found.reordered_by,
    }
