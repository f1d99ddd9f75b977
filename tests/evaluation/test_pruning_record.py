"""A pruned network's own file says what was taken out of it; the record finds its parent among the models of a run."""

from __future__ import annotations

from typing import Any

import pytest

from codesign.evaluation.accuracies import AccuracyRecord, RobustnessRecord
from codesign.evaluation.pruning import PrunedLayer, pruning_from_json, with_pruning
from codesign.evaluation.record import HardwareRecord, LayerHardware, LayerRecord, ModelRecord, Record, Totals
from codesign.report.pruning import Change, pruning_tables

ACCURACY = AccuracyRecord("a", 5, 10, 0.2, 0.8)
ROBUSTNESS = RobustnessRecord(ACCURACY, (), ACCURACY)
PARENT = {"kind": "zoo", "factory": "net", "weights": {"kind": "file", "sha256": "aa"}}
ORIGIN = {
    "original": PARENT | {"name": "net"},
    "original_macs": {"network.conv1": 900, "network.fc": 100},
    "pruning": {"granularity": "filters", "criterion": "l1_norm", "ratio": 0.5, "scope": "layer"},
    "layers": [{"layer": "conv1", "kind": "filters", "before": 8, "after": 4}],
    "left_out": {"conv0": "excluded by name"},
}
PRUNED = {"kind": "network", "weights": {"kind": "file", "sha256": "bb"}, "origin": ORIGIN}


def hardware(macs: dict[str, int]) -> HardwareRecord:
    rows = tuple(
        LayerHardware(name, count / 100, 10 * count, 1.0, count, count, 0, 0, "compute", {"MAC": count / 100}, "m.yaml")
        for name, count in macs.items()
    )
    total = sum(macs.values())
    totals = Totals(total / 100 + 1.0, 1.0, 10 * total, 0.1, None, 1.0, total, total, 0, 0)
    return HardwareRecord("chip", "clean", ACCURACY, totals, {"MAC": total / 100}, rows)


def model(name: str, source: dict[str, Any], macs: dict[str, int]) -> ModelRecord:
    layers = tuple(LayerRecord(layer, "conv", {"M": 1}, count, 1.0, {"clean": 1.0}) for layer, count in macs.items())
    return ModelRecord(name, source, 1, sum(macs.values()), (), ROBUSTNESS, layers, (hardware(macs),))


PARENT_MODEL = model("big", PARENT, {"network.conv1": 900, "network.fc": 100})
PRUNED_MODEL = model("small", PRUNED, {"network.conv1": 450, "network.fc": 50})


def record(*models: ModelRecord) -> Record:
    return Record({}, 0, {}, (), with_pruning(models), ())


def test_the_parent_is_found_by_the_hash_of_its_weights() -> None:
    big, small = record(PARENT_MODEL, PRUNED_MODEL).models
    assert big.pruning is None
    assert small.pruning is not None
    assert small.pruning.parent_model == "big"
    assert small.pruning.layers == (PrunedLayer("network.conv1", "filters", 8, 4),)
    assert small.pruning.left_out == {"conv0": "excluded by name"}


@pytest.mark.parametrize(
    "source",
    [
        PARENT | {"weights": {"kind": "file", "sha256": "cc"}},
        PARENT | {"weights": {"kind": "factory"}},
        PRUNED,
        {},
    ],
)
def test_another_network_is_no_parent(source: dict[str, Any]) -> None:
    _, small = record(model("other", source, {"network.conv1": 900}), PRUNED_MODEL).models
    assert small.pruning is not None
    assert small.pruning.parent_model is None


def test_random_weights_are_known_by_their_seed() -> None:
    drawn = {"kind": "zoo", "factory": "net", "weights": {"kind": "random", "seed": 3}}
    child = PRUNED | {"origin": ORIGIN | {"original": drawn}}
    other = drawn | {"weights": {"kind": "random", "seed": 4}}
    models = [model("4", other, {"c": 1}), model("3", drawn, {"c": 1}), model("small", child, {"c": 1})]
    small = record(*models).models[-1]
    assert small.pruning is not None
    assert small.pruning.parent_model == "3"


def test_a_defended_networks_parent_has_the_same_defense_if_there_is_one() -> None:
    def defended(source: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "defended", "base": source, "settings": {"share": 0.5}}

    names = {"network.conv1": 900}
    twins = [model("big+", defended(PARENT), names), model("small+", defended(PRUNED), names)]
    assert _parent(record(PARENT_MODEL, *twins).models[-1]) == "big+"
    assert _parent(record(PARENT_MODEL, twins[1]).models[-1]) == "big"


def _parent(found: ModelRecord) -> str | None:
    assert found.pruning is not None
    return found.pruning.parent_model


def test_side_by_side() -> None:
    (table,) = pruning_tables(record(PARENT_MODEL, PRUNED_MODEL))
    assert (table.model, table.parent, table.kind, table.architectures) == ("small", "big", "filters", ("chip",))
    first, last = table.rows
    assert (first.parts, first.macs) == (Change(8, 4), Change(900, 450))
    assert first.costs == ((Change(9.0, 4.5), Change(9000, 4500)),)
    # A layer behind a pruned one keeps its filters and loses inputs.
    assert (last.parts, last.macs) == (Change(None, None), Change(100, 50))
    assert table.total.parts == Change(8, 4)
    assert table.total.macs == Change(1000, 500)
    assert table.total.costs == ((Change(11.0, 6.0), Change(10000, 5000)),)
    assert "not fine-tuned" in table.settings


def test_without_the_parent_its_work_is_known_and_its_cost_is_not() -> None:
    (table,) = pruning_tables(record(PRUNED_MODEL))
    assert table.parent is None
    assert table.total.macs == Change(1000, 500)
    assert table.total.costs == ((Change(None, 6.0), Change(None, 5000)),)


def test_a_file_of_before_this_record_has_no_layers() -> None:
    old = PRUNED | {"origin": {key: ORIGIN[key] for key in ("original", "pruning")}}
    (table,) = pruning_tables(record(PARENT_MODEL, model("small", old, {"network.conv1": 450, "network.fc": 50})))
    assert table.total.macs == Change(1000, 500)
    assert {row.parts for row in table.rows} == {Change(None, None)}


def test_round_trip() -> None:
    for pruned in (record(PARENT_MODEL, PRUNED_MODEL), record(PARENT_MODEL)):
        assert Record.from_json(pruned.to_json()).models == pruned.models
    assert pruning_from_json(None) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change(200, 150), "200 → 150 (−25.0 %)"),
        (Change(2.0, 3.0), "2.00 → 3.00 (+50.0 %)"),
        (Change(7, 7), "7 (same)"),
        (Change(3457, 3456), "3,457 → 3,456 (0.0 %)"),
        (Change(None, 7), "7"),
        (Change(7, None), "7"),
        (Change(None, None), "–"),
        (Change(0, 7), "0 → 7"),
    ],
)
def test_a_change_in_words(change: Change, text: str) -> None:
    assert change.text == text
