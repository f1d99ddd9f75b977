"""The whole way on a real model: what a run leaves behind, and that its numbers are those of its parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from small_run import SMALL, FinishedRun

from codesign.cli.app import run
from codesign.config import DEFAULT_ARCHITECTURES
from codesign.evaluation.record import Record
from codesign.masks.reading import MaskSet

ARCHITECTURES = DEFAULT_ARCHITECTURES


def test_a_run_leaves_all_its_parts(finished: FinishedRun) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {"results.json", "report.html", "layers.csv", "robustness.csv", "figures", "masks", "timeloop"}
    suffixes = {path.suffix for path in (finished.folder / "figures").iterdir()}
    assert suffixes == {".png", ".svg"}
    assert not [path for path in finished.folder.parent.iterdir() if path != finished.folder]


def test_every_architecture_and_kind_of_input(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    assert [(entry.architecture, entry.input_kind) for entry in model.hardware] == [
        (name, kind)
        for name in ("eyeriss_row_stationary", "systolic_weight_stationary", "vector_pe_edge")
        for kind in ("clean", "adversarial")
    ]


def test_macs_are_those_of_the_layers_everywhere(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    for entry in model.hardware:
        assert entry.totals.macs == model.macs == sum(layer.macs for layer in model.layers)
        for row in entry.layers:
            assert row.macs == row.actual_macs + row.gated_macs + row.skipped_macs


def test_totals_are_the_sums_of_their_parts(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    for entry in model.hardware:
        totals = entry.totals
        assert totals.latency_cycles == sum(row.latency_cycles for row in entry.layers)
        layers = sum(row.energy_uJ for row in entry.layers)
        assert totals.energy_uJ == pytest.approx(layers + totals.traffic_energy_uJ)
        assert sum(entry.energy_by_component_uJ.values()) == pytest.approx(totals.energy_uJ)
        assert 0 < totals.utilization <= 1


def test_a_design_without_sparsity_support_does_not_see_the_attack(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    clean, adversarial = (e for e in model.hardware if e.architecture == "systolic_weight_stationary")
    assert clean.totals == adversarial.totals
    assert clean.totals.skipped_macs == clean.totals.gated_macs == 0


def test_skipped_work_is_what_the_masks_leave_out(finished: FinishedRun) -> None:
    """Expected skipped computes equal the exact count of multiply-accumulates with a zero input."""
    (model,) = finished.record.models
    layers = {layer.name: layer for layer in model.layers}
    for entry in model.hardware:
        if entry.architecture == "systolic_weight_stationary":
            continue
        for row in entry.layers:
            layer = layers[row.layer]
            expected = row.macs * layer.nonzero_input_mac_share[entry.input_kind]
            # The hypergeometric model takes a whole number of nonzeros, rounded up: at most one value too many.
            one_value = row.macs / (layer.bounds["C"] * layer.bounds["P"] * layer.bounds["Q"])
            assert expected - 2 <= row.actual_macs <= expected + one_value + 2


def test_gating_saves_no_time_and_skipping_does(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    by_name = {entry.architecture: entry.totals for entry in model.hardware if entry.input_kind == "clean"}
    assert by_name["eyeriss_row_stationary"].gated_macs > 0 == by_name["eyeriss_row_stationary"].skipped_macs
    assert by_name["vector_pe_edge"].skipped_macs > 0 == by_name["vector_pe_edge"].gated_macs


def test_accuracies_carry_interval_and_count(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    robustness = model.robustness
    for accuracy in (robustness.clean, robustness.robust, *robustness.attacks):
        assert accuracy.total == 24
        assert accuracy.low <= accuracy.value <= accuracy.high
    assert robustness.robust.correct <= robustness.clean.correct
    assert {flag["id"] for flag in robustness.flags} >= {"RANDOMISED", "ZERO_GRAD", "BLACKBOX_WINS"}


def test_masks_of_both_kinds_for_every_layer(finished: FinishedRun) -> None:
    (model,) = finished.record.models
    (folder,) = (finished.folder / "masks").iterdir()
    masks = MaskSet(folder)
    for layer in model.layers:
        for kind in ("clean", "adversarial"):
            tensor = masks.tensor(layer.name, "inputs", kind)
            assert tensor.entry.samples == 24
            assert tensor.entry.density == pytest.approx(layer.input_density[kind])
    with (folder / "statistics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(model.layers)


def test_every_energy_has_a_source(finished: FinishedRun) -> None:
    for architecture in finished.record.architectures:
        assert architecture.energy_table
        for row in architecture.energy_table:
            assert row["source"], row
            assert row["confidence"] in {"measured", "published", "simulated", "scaled"}, row


@pytest.mark.parametrize("kind", ["clean", "adversarial"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_exported_timeloop_input_gives_the_same_numbers(
    finished: FinishedRun, tmp_path: Path, architecture: str, kind: str
) -> None:
    (model,) = finished.record.models
    entry = next(e for e in model.hardware if (e.architecture, e.input_kind) == (architecture, kind))
    shared = finished.folder / "timeloop" / architecture
    for row in entry.layers[:3]:
        mapping = finished.folder / row.mapping
        case = [shared / "arch.yaml", shared / "ert.yaml", mapping, mapping.parent / f"problem.{kind}.yaml"]
        out = tmp_path / f"{row.layer}.json"
        assert run(["simulate", *map(str, case), "--json", str(out)]) == 0
        (answer,) = json.loads(out.read_text())
        assert answer["result"]["cycles"] == row.latency_cycles
        assert answer["result"]["energy_pJ"] / 1e6 == pytest.approx(row.energy_uJ, rel=1e-9)
        assert answer["result"]["computes"]["actual"] == row.actual_macs


def test_the_same_seed_gives_the_same_record_byte_for_byte(finished: FinishedRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert run([*SMALL, "--out", str(again), "--quiet"]) == 0
    assert (again / "results.json").read_bytes() == (finished.folder / "results.json").read_bytes()
    assert (again / "layers.csv").read_bytes() == (finished.folder / "layers.csv").read_bytes()


def test_a_killed_run_is_taken_up_and_gives_the_same_record(
    finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import codesign.evaluation.one_model as evaluation

    calls = []

    def interrupted(*_: object, **__: object) -> None:
        calls.append(1)
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "measure_masks", interrupted)
        assert run([*SMALL, "--out", str(out), "--quiet"]) == 130
    assert calls
    assert capsys.readouterr().err == "codesign: interrupted; the same command resumes\n"
    assert not out.exists()
    assert len(list(tmp_path.rglob("batch_*.npz"))) == 3  # 24 images, 8 at a time
    assert run([*SMALL, "--out", str(out), "--quiet"]) == 0
    assert Record.load(out) == finished.record


def test_report_of_a_run_can_be_made_again(finished: FinishedRun, tmp_path: Path) -> None:
    assert run(["report", str(finished.folder), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert (tmp_path / "again" / "layers.csv").read_bytes() == (finished.folder / "layers.csv").read_bytes()
