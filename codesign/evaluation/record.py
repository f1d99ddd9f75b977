"""The joined record: robustness beside simulated energy and latency, as value objects and as ``results.json``.

Nothing here imports torch: a record can be read, compared and plotted without it. The schema is described in
docs/record.md; ``SCHEMA_VERSION`` changes its first number when a reader of the old form would misread the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from codesign.errors import InputError
from codesign.evaluation.accuracies import (
    AccuracyRecord,
    ModelComparison,
    RobustnessRecord,
    ThreatRecord,
    accuracy_from_json,
    robustness_from_json,
)
from codesign.evaluation.defense_record import DefenseRecord, SpreadRecord, defense_from_json
from codesign.evaluation.pruning import PruningRecord, pruning_from_json

__all__ = [
    "SCHEMA_VERSION",
    "AccuracyRecord",
    "ArchitectureRecord",
    "DefenseRecord",
    "HardwareRecord",
    "LayerHardware",
    "LayerRecord",
    "ModelComparison",
    "ModelRecord",
    "PruningRecord",
    "RealisedRecord",
    "Record",
    "RobustnessRecord",
    "SpreadRecord",
    "ThreatRecord",
    "Totals",
    "WaterfallRecord",
]

SCHEMA_VERSION = "1.1"

InputKind = Literal["clean", "adversarial"]


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A traced layer: its nest, and what its masks say, per input kind where images decide it. Shares in 0..1.

    ``nonzero_input_mac_share`` is the share of the nest's multiply-accumulates whose input is nonzero, padding counted
    as zero: the density that the simulation takes, so that expected skipped work equals what the masks really skip.
    """

    name: str
    kind: str
    bounds: Mapping[str, int]
    macs: int
    weight_density: float | None
    input_density: Mapping[str, float]
    nonzero_input_mac_share: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WaterfallRecord:
    """What becomes of superfluous work, of a layer or summed over the layers of a model (docs/waterfall.md).

    ``removable_macs`` have a zero operand or a masked output; ``skipped_macs`` take no cycle. Losses are by name:
    those of MACs add up to ``removable_macs - skipped_macs``, those of cycles to what is left above the share of MACs
    that are not skipped, those of energy to what is left above the share of MACs that are not removable, layer by
    layer. ``not_modelled`` names what is in none of the numbers.
    """

    macs: int
    removable_macs: int
    skipped_macs: int
    lost_macs: Mapping[str, int]
    dense_cycles: int
    cycles: float
    lost_cycles: Mapping[str, float]
    dense_energy_uJ: float
    energy_uJ: float
    lost_energy_uJ: Mapping[str, float]
    not_modelled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RealisedRecord:
    """Latency from recorded masks, of a layer or a model: mean over ``samples`` samples (docs/waterfall.md).

    ``expected_cycles`` of the compute units if their work were spread evenly, ``realised_cycles`` if every step waits
    for its busiest instance; ``latency_cycles`` with bandwidth too. ``reordered_*``: the same with channels along the
    dimension ``reordered_by`` in an order that evens work out; None where no order can change.
    """

    samples: int
    expected_cycles: float
    realised_cycles: float
    latency_cycles: float
    reordered_by: str | None = None
    reordered_cycles: float | None = None
    reordered_latency_cycles: float | None = None


@dataclass(frozen=True, slots=True)
class LayerHardware:
    """One layer on one architecture for one input kind; energies over all instances, one sample.

    ``bound_by`` is "compute" or the name of the level whose bandwidth sets the cycles.
    """

    layer: str
    energy_uJ: float
    latency_cycles: int
    utilization: float
    macs: int
    actual_macs: int
    gated_macs: int
    skipped_macs: int
    bound_by: str
    energy_by_component_uJ: Mapping[str, float]
    mapping: str
    waterfall: WaterfallRecord | None = None
    realised: RealisedRecord | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the layers for one sample. ``traffic_energy_uJ`` (operators without multiply-accumulates) is in
    ``energy_uJ``; their latency is not modelled. ``area_mm2`` is the chip without DRAM, None
    where no area table was given."""

    energy_uJ: float
    traffic_energy_uJ: float
    latency_cycles: int
    latency_ms: float
    area_mm2: float | None
    utilization: float
    macs: int
    actual_macs: int
    gated_macs: int
    skipped_macs: int


@dataclass(frozen=True, slots=True)
class HardwareRecord:
    """One model on one architecture for one input kind, with the accuracy on just these inputs beside it.

    ``waterfall`` and ``realised`` sum those of the layers; None where the engine gives none, and ``realised`` also
    where only densities were simulated.
    """

    architecture: str
    input_kind: InputKind
    accuracy: AccuracyRecord
    totals: Totals
    energy_by_component_uJ: Mapping[str, float]
    layers: tuple[LayerHardware, ...]
    traffic: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    waterfall: WaterfallRecord | None = None
    realised: RealisedRecord | None = None


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model: where it comes from, what was and was not modelled, robustness, layers, hardware.

    ``defense`` and ``pruning`` say what was done to it, None where nothing was.
    """

    name: str
    source: Mapping[str, Any]
    parameters: int
    macs: int
    coverage: tuple[Mapping[str, Any], ...]
    robustness: RobustnessRecord
    layers: tuple[LayerRecord, ...]
    hardware: tuple[HardwareRecord, ...]
    defense: DefenseRecord | None = None
    pruning: PruningRecord | None = None


@dataclass(frozen=True, slots=True)
class ArchitectureRecord:
    """One accelerator: its files, clock, area, and every energy per action and area with its source.

    ``area_mm2`` is None where no area table was given.
    """

    name: str
    title: str
    files: tuple[Mapping[str, str], ...]
    cycle_seconds: float
    area_mm2: float | None
    area_by_component_mm2: Mapping[str, float]
    energy_table: tuple[Mapping[str, Any], ...]
    area_table: tuple[Mapping[str, Any], ...] = ()
    sparse: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A whole run.

    ``data`` is the image set: name, number of images, classes, source. ``inputs`` are all files with their sha256.
    ``notes`` are the assumptions that a reader must know. ``comparisons`` are of every two models under every threat.
    """

    config: Mapping[str, Any]
    seed: int
    versions: Mapping[str, str]
    inputs: tuple[Mapping[str, str], ...]
    models: tuple[ModelRecord, ...]
    architectures: tuple[ArchitectureRecord, ...]
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    comparisons: tuple[ModelComparison, ...] = ()
    schema_version: str = field(default=SCHEMA_VERSION)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; accuracies carry their ``value`` too."""
        data: dict[str, Any] = _plain(asdict(self))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, path: Path | None = None) -> Self:
        """The record of what ``to_json`` gave.

        Raises:
            InputError: another schema version, or a key is missing or unknown.
        """
        version = str(data.get("schema_version"))
        if version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise InputError(
                f"this version reads records of schema {SCHEMA_VERSION}",
                got=version,
                path=path,
                key="schema_version",
                fix="run `codesign evaluate` again, or read it with the codesign version that wrote it",
            )
        try:
            return cls(
                config=data["config"],
                seed=data["seed"],
                versions=data["versions"],
                inputs=tuple(data["inputs"]),
                models=tuple(_model(model) for model in data["models"]),
                architectures=tuple(
                    _tuples(ArchitectureRecord, a, "files", "energy_table", "area_table", "sparse")
                    for a in data["architectures"]
                ),
                notes=tuple(data["notes"]),
                data=data.get("data", {}),
                comparisons=tuple(ModelComparison(**item) for item in data.get("comparisons", ())),
                schema_version=version,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"not a record of schema {SCHEMA_VERSION}: {error}", path=path, key="results.json"
            ) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``results.json``, or the folder that holds it."""
        file = path / "results.json" if path.is_dir() else path
        if not file.is_file():
            raise InputError(
                "a run holds a results.json",
                got=str(file),
                path=path,
                fix="give the folder that `codesign evaluate --out` wrote",
            )
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(f"not JSON: {error.msg}", path=file, line=error.lineno) from error
        except (UnicodeDecodeError, OSError) as error:
            raise InputError("the file must be readable UTF-8 text", got=str(error), path=file) from error
        if not isinstance(data, dict):
            raise InputError("a record is a JSON object", got=type(data).__name__, path=file)
        return cls.from_json(data, path=file)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        plain = {str(key): _plain(item) for key, item in value.items()}
        if {"correct", "total", "low", "high"} <= plain.keys():
            plain["value"] = plain["correct"] / plain["total"]
        return plain
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _tuples(kind: type[Any], data: Mapping[str, Any], *keys: str) -> Any:
    return kind(**{key: tuple(value) if key in keys else value for key, value in data.items()})


def _hardware(data: Mapping[str, Any]) -> HardwareRecord:
    return HardwareRecord(
        architecture=data["architecture"],
        input_kind=data["input_kind"],
        accuracy=accuracy_from_json(data["accuracy"]),
        totals=Totals(**data["totals"]),
        energy_by_component_uJ=data["energy_by_component_uJ"],
        layers=tuple(
            LayerHardware(
                **(
                    layer
                    | {
                        "waterfall": _waterfall(layer.get("waterfall")),
                        "realised": _realised(layer.get("realised")),
                    }
                )
            )
            for layer in data["layers"]
        ),
        traffic=tuple(data["traffic"]),
        warnings=tuple(data["warnings"]),
        waterfall=_waterfall(data.get("waterfall")),
        realised=_realised(data.get("realised")),
    )


def _realised(data: Mapping[str, Any] | None) -> RealisedRecord | None:
    return None if data is None else RealisedRecord(**data)


def _waterfall(data: Mapping[str, Any] | None) -> WaterfallRecord | None:
    waterfall: WaterfallRecord | None = None if data is None else _tuples(WaterfallRecord, data, "not_modelled")
    return waterfall


def _model(data: Mapping[str, Any]) -> ModelRecord:
    return ModelRecord(
        name=data["name"],
        source=data["source"],
        parameters=data["parameters"],
        macs=data["macs"],
        coverage=tuple(data["coverage"]),
        robustness=robustness_from_json(data["robustness"]),
        layers=tuple(LayerRecord(**layer) for layer in data["layers"]),
        hardware=tuple(_hardware(entry) for entry in data["hardware"]),
        defense=defense_from_json(data.get("defense")),
        pruning=pruning_from_json(data.get("pruning")),
    )
