"""A record is read back as it was written, and what is not a record is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.evaluation.record import AccuracyRecord, Record, RobustnessRecord

EMPTY = Record(config={"a": 1}, seed=3, versions={}, inputs=(), models=(), architectures=(), notes=("n",))


def test_round_trip() -> None:
    assert Record.from_json(json.loads(json.dumps(EMPTY.to_json()))) == EMPTY


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
