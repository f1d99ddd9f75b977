"""A record is read back as it was written, and what is not a record is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.evaluation.record import (
    SCHEMA_VERSION,
    AccuracyRecord,
    HardwareRecord,
    LayerHardware,
    ModelRecord,
    Record,
    RobustnessRecord,
    Totals,
    WaterfallRecord,
)

FALL = WaterfallRecord(8, 4, 2, {"gated": 2}, 8, 7.5, {"imbalance": 1.5}, 2.0, 1.0, {"metadata": 0.25}, ("predictor",))
EMPTY = Record(config={"a": 1}, seed=3, versions={}, inputs=(), models=(), architectures=(), notes=("n",))


def test_round_trip() -> None:
    assert Record.from_json(json.loads(json.dumps(EMPTY.to_json()))) == EMPTY


def with_hardware(waterfall: WaterfallRecord | None) -> Record:
    accuracy = AccuracyRecord("clean", 3, 4, 0.2, 0.99)
    layer = LayerHardware("conv", 1.0, 8, 0.5, 8, 6, 0, 2, "compute", {"mac": 1.0}, "mapping.yaml", waterfall)
    totals = Totals(1.0, 0.0, 8, 0.1, None, 0.5, 8, 6, 0, 2)
    entry = HardwareRecord("arch", "clean", accuracy, totals, {"mac": 1.0}, (layer,), waterfall=waterfall)
    robustness = RobustnessRecord(accuracy, (accuracy,), accuracy)
    return replace(EMPTY, models=(ModelRecord("m", {}, 1, 8, (), robustness, (), (entry,)),))


@pytest.mark.parametrize("waterfall", [FALL, None])
def test_round_trip_with_hardware(waterfall: WaterfallRecord | None) -> None:
    record = with_hardware(waterfall)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_records_of_earlier_minor_versions_are_read() -> None:
    """Schema 1.0 had no waterfall."""
    data = json.loads(json.dumps(with_hardware(None).to_json())) | {"schema_version": "1.0"}
    entry = data["models"][0]["hardware"][0]
    for part in (entry, *entry["layers"]):
        del part["waterfall"]
    read = Record.from_json(data)
    assert read.schema_version == "1.0" != SCHEMA_VERSION
    assert read.models == with_hardware(None).models


def test_accuracies_carry_their_value() -> None:
    accuracy = AccuracyRecord("clean", 3, 4, 0.2, 0.99)
    robustness = RobustnessRecord(accuracy, (accuracy,), accuracy)
    assert robustness.clean.value == 0.75


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "JSON object"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (json.dumps(EMPTY.to_json() | {"schema_version": "2.0"}).encode(), "schema 1"),
        (json.dumps({"schema_version": "1.0"}).encode(), "config"),
        (json.dumps(EMPTY.to_json() | {"models": [1]}).encode(), "not a record"),
    ],
)
def test_what_is_not_a_record(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=said):
        Record.load(tmp_path)


def test_no_record_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.json"):
        Record.load(tmp_path)
