"""``density: actual``: layers with their recorded masks, realised latency beside the expected one, and its sums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codesign.cli.app import run
from codesign.config import make_config
from codesign.errors import InputError
from codesign.evaluation import layer_run
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.hardware import LayerDensities, map_layers, simulate_model
from codesign.evaluation.layer_run import LayerSimulator, total_realised
from codesign.evaluation.record import AccuracyRecord, HardwareRecord, RealisedRecord, Record
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record
from codesign.masks.statistics import LayerStatistics, model_statistics
from codesign.masks.writing import MaskWriter
from codesign.models.layers import TracedModel
from codesign.models.tracing import trace
from codesign.workloads.traffic import Fusion

SHAPE = (8, 6, 6)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[TracedModel, MaskSet]:
    """A small network whose input channels differ in how many values are zero, over five images."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 36, 4),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    images = torch.relu(torch.randn(5, *SHAPE, generator=generator) - torch.linspace(-2, 2, 8)[:, None, None])
    traced = trace(module, SHAPE)
    folder = tmp_path_factory.mktemp("recorded") / "masks"
    with MaskWriter(folder) as writer:
        record(module, traced, images.split(2), writer, input_kind="clean")
    return traced, MaskSet(folder)


def simulated(architecture: str, traced: TracedModel, masks: MaskSet, *, actual: bool) -> HardwareRecord:
    accelerator = load_accelerator(architecture)
    seen: list[tuple[int, int]] = []
    entry = simulate_model(
        accelerator,
        map_layers(accelerator, traced.layers),
        traced.traffic,
        {row.layer: _densities(row) for row in model_statistics(traced, masks, input_kind="clean")},
        input_kind="clean",
        accuracy=AccuracyRecord("clean", 1, 2, 0.1, 0.9),
        fusion=Fusion.FUSED,
        mapping_file=str,
        masks=masks if actual else None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(number + 1, len(traced.layers)) for number in range(len(traced.layers))]
    return entry


def _densities(row: LayerStatistics) -> LayerDensities:
    return LayerDensities(row.nonzero_input_mac_share_exact, row.weight_density)


def test_skipped_work_is_that_of_the_masks(recorded: tuple[TracedModel, MaskSet]) -> None:
    """To the last MAC where one word waits for one; the linear layer skips vectors of eight weights at a time."""
    traced, masks = recorded
    rows = {row.layer: row for row in model_statistics(traced, masks, input_kind="clean")}
    for layer in simulated("vector_pe_edge", traced, masks, actual=True).layers:
        done = rows[layer.layer].nonzero_input_mac_share_exact * layer.macs
        useful = int(done + 0.5)
        assert layer.waterfall is not None
        assert layer.waterfall.macs - layer.waterfall.removable_macs <= useful  # zeros of weights are no use either
        assert layer.actual_macs == useful if layer.layer != "5" else layer.actual_macs > useful
        assert layer.skipped_macs == layer.macs - layer.actual_macs


def test_realised_latency_stands_beside_the_expected_one(recorded: tuple[TracedModel, MaskSet]) -> None:
    entry = simulated("vector_pe_edge", *recorded, actual=True)
    for layer in entry.layers:
        found = layer.realised
        assert found is not None
        assert found.samples == 5
        assert found.realised_cycles >= found.expected_cycles - 1e-9
        assert found.latency_cycles == max(layer.latency_cycles, found.realised_cycles)
        assert layer.waterfall is not None
        assert layer.waterfall.not_modelled == ()
        assert layer.waterfall.lost_cycles["imbalance"] == pytest.approx(
            max(0.0, found.realised_cycles - found.expected_cycles), abs=1
        )
    first = entry.layers[0].realised
    assert first is not None
    assert first.reordered_by == "C"
    assert first.realised_cycles > 1.05 * first.expected_cycles  # the channels were made to differ
    assert first.reordered_cycles is not None
    assert first.reordered_cycles < first.realised_cycles
    whole = entry.realised
    assert whole is not None
    assert whole.latency_cycles == sum(layer.realised.latency_cycles for layer in entry.layers if layer.realised)
    assert entry.totals.latency_cycles == sum(layer.latency_cycles for layer in entry.layers)


@pytest.mark.parametrize("architecture", ["systolic_weight_stationary", "eyeriss_row_stationary"])
def test_hardware_that_skips_nothing_has_no_imbalance(architecture: str, recorded: tuple[TracedModel, MaskSet]) -> None:
    actual, expected = (simulated(architecture, *recorded, actual=actual) for actual in (True, False))
    assert actual.totals.latency_cycles == pytest.approx(expected.totals.latency_cycles, abs=len(actual.layers))
    assert expected.realised is None
    assert actual.realised is not None
    assert actual.realised.realised_cycles == pytest.approx(actual.realised.expected_cycles)
    assert actual.realised.reordered_cycles is None


def test_what_is_not_modelled_falls_back_with_a_warning(
    recorded: tuple[TracedModel, MaskSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("not modelled: this layer", key="mapping")

    expected = simulated("vector_pe_edge", *recorded, actual=False)
    monkeypatch.setattr(layer_run, "realised_latency", refuse)
    entry = simulated("vector_pe_edge", *recorded, actual=True)
    assert [row.energy_uJ for row in entry.layers] == [row.energy_uJ for row in expected.layers]
    assert entry.realised is None
    names = [layer.name for layer in recorded[0].layers]
    said = "simulated with its densities, not its masks: mapping: not modelled: this layer"
    assert [text for text in entry.warnings if said in text] == [f"{name}: {said}" for name in names]


def test_another_error_is_not_swallowed(recorded: tuple[TracedModel, MaskSet], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("a mask is wrong")

    monkeypatch.setattr(layer_run, "realised_latency", refuse)
    with pytest.raises(InputError, match="a mask is wrong"):
        simulated("vector_pe_edge", *recorded, actual=True)


def test_masks_of_another_shape_are_refused(recorded: tuple[TracedModel, MaskSet], tmp_path: Path) -> None:
    """Both shapes are named."""
    traced, _ = recorded
    layer = traced.layers[0]
    with MaskWriter(tmp_path / "masks") as writer:
        writer.stream(layer.name, "inputs", "clean", (8, 5, 6)).append(np.ones((2, 8, 5, 6), bool))
        writer.add_constant(layer.name, "weights", np.ones(layer.weights.shape, bool))
    accelerator = load_accelerator("vector_pe_edge")
    (mapped, *_) = map_layers(accelerator, [layer])
    simulator = LayerSimulator(accelerator, layer_run.simulate, MaskSet(tmp_path / "masks"), "clean")
    with pytest.raises(InputError, match=r"\[8, 6, 6\].*got \[8, 5, 6\]"):
        simulator.run(layer, mapped.mapping, input_density=0.5, weight_density=1.0)


def test_totals_take_the_expected_latency_where_the_realised_one_is_not_known() -> None:
    known = RealisedRecord(5, 10.0, 15.0, 20.0, "C", 12.0, 18.0)
    fixed = RealisedRecord(5, 4.0, 6.0, 6.0)
    found = total_realised([(known, 19), (fixed, 5), (None, 7)])
    assert found == RealisedRecord(5, 14.0, 21.0, 33.0, "C", 18.0, 31.0)
    assert total_realised([(None, 7)]) is None
    assert total_realised([(fixed, 5)]) == fixed


def test_only_the_embedded_engine_simulates_masks() -> None:
    with pytest.raises(InputError, match="only the embedded engine simulates masks"):
        make_config({"models": ["a"], "density": "actual", "engine": "timeloop"})
    with pytest.raises(InputError, match="'expected' or 'actual'"):
        make_config({"models": ["a"], "density": "exact"})


def test_from_the_command_line_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    flags = ["--images", "6", "--eps", "0.1", "--steps", "1", "--mask-images", "4", "--arch", "vector_pe_edge"]
    assert run(["evaluate", "fmnist_resnet8_adversarial", *flags, "--density", "actual", "--out", str(out)]) == 0
    assert "Cycles with the recorded masks" in capsys.readouterr().out
    loaded = Record.load(out)
    assert loaded.config["density"] == "actual"
    assert any("recorded masks themselves" in note for note in loaded.notes)
    for entry in loaded.models[0].hardware:
        assert entry.realised is not None
        assert entry.realised.samples == 4
    assert Record.from_json(json.loads(json.dumps(loaded.to_json()))) == loaded
    page = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="realised"' in page
    assert "realised_latency_cycles" in (out / "layers.csv").read_text(encoding="utf-8").splitlines()[0]
