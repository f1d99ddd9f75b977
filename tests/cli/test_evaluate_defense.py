"""``codesign evaluate --defense neni`` from the command line to the record and the report, on a small real run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.cli.app import run
from codesign.config import make_config
from codesign.config_defense import DefenseChoice
from codesign.data.datasets import load_dataset
from codesign.data.sampling import sample
from codesign.evaluation.record import ModelRecord, Record
from codesign.evaluation.subjects import calibration_images, defended_subject, load_subjects
from codesign.report.checks import inconsistencies
from codesign.report.defenses import ARRAY, DUAL, defense_tables, layer_facts

FACTORY = """
import torch
from torch import nn

def build(num_classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
IMAGES = 12


def command(folder: Path, out: Path, *more: str) -> list[str]:
    network = folder / "network.py"
    settings = ("--data", f"npz:{folder / 'data.npz'}", "--eps", "0.1", "--steps", "3", "--out", str(out), "--quiet")
    return ["evaluate", f"{network}:build", *settings, *more]


class Silent:
    """Nobody is told."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None: ...

    def note(self, text: str) -> None: ...


SMALL = ("--images", str(IMAGES), "--arch", "vector_pe_edge", "--arch", "dual_module")
DEFENSES = ("--defense", "neni:dimension=8,share=0.25,name=quarter", "--defense", "neni:control=random,dimension=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("defended")
    (made / "network.py").write_text(FACTORY, encoding="utf-8")
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    np.savez(made / "data.npz", x=x[:60], y=np.arange(60) % 3)
    np.savez(made / "other.npz", x=x[60:], y=np.arange(20) % 3)
    return made


@pytest.fixture(scope="module")
def record(folder: Path) -> Record:
    assert run(command(folder, folder / "run", *SMALL, *DEFENSES)) == 0
    return Record.load(folder / "run")


def defended(record: Record) -> ModelRecord:
    return record.models[1]


def test_every_model_is_followed_by_its_defended_twins(record: Record) -> None:
    base, quarter, control = record.models
    assert base.defense is None
    assert quarter.defense is not None
    assert control.defense is not None
    assert quarter.name == f"{base.name} + quarter"
    assert quarter.defense.base == control.defense.base == base.name
    assert quarter.defense.settings["share"] == 0.25
    assert quarter.defense.calibration["images"] == 60 - IMAGES
    assert {layer["name"] for layer in quarter.defense.layers} == {"2", "4"}


def test_sums_of_the_record_hold(record: Record) -> None:
    assert inconsistencies(record) == ()
    lanes = {"vector_pe_edge": 16, "dual_module": 8}  # an array fills k = 8 up to 16 lanes
    base = (8 * 9 * 64, 16 * 8 * 9 * 16, 16 * 16 * 9 * 16, 16 * 3)
    cheap = 16 * (8 * 9 + 16) + 16 * (16 * 9 + 16)  # a lane: its filter of the projection, its column of W~
    for entry in defended(record).hardware:
        macs = sum(base) + lanes[entry.architecture] * cheap
        assert sum(row.macs for row in entry.layers) == entry.totals.macs == macs
        assert entry.totals.macs >= defended(record).macs == sum(base) + 8 * cheap
        assert sum(row.actual_macs + row.skipped_macs + row.gated_macs for row in entry.layers) == entry.totals.macs


def test_an_array_runs_three_products_and_the_dual_module_one_row_a_layer(record: Record) -> None:
    rows = {entry.architecture: [row.layer for row in entry.layers] for entry in defended(record).hardware}
    assert rows["vector_pe_edge"] == ["0", "2", "2.projection", "2.conv2d", "4", "4.projection", "4.conv2d", "8"]
    assert rows["dual_module"] == ["0", "2", "4", "8"]


def test_executed_work_of_the_dual_module_is_that_of_the_masks(record: Record, folder: Path) -> None:
    """A quarter of the outputs, and of these the multiply-accumulates with a nonzero input at most."""
    entry = next(e for e in defended(record).hardware if (e.architecture, e.input_kind) == ("dual_module", "clean"))
    defense = defended(record).defense
    assert defense is not None
    spread = {row.quantity: row for row in defense.spreads if row.input_kind == "clean"}
    macs = {"2": 16 * 8 * 4 * 4 * 9, "4": 16 * 16 * 4 * 4 * 9}
    assert spread["essential_share"].mean == spread["essential_share"].p5 == pytest.approx(0.25)
    assert 0 < spread["executed_macs"].mean <= sum(macs.values()) / 4
    # All recorded images have their own cost simulated too: the mean over them is the row of the record.
    assert spread["executed_macs"].images == IMAGES
    rows = {row.layer: row for row in entry.layers if row.layer in macs}
    energy = sum(row.energy_uJ for row in rows.values())
    assert spread["energy_uJ"].mean == pytest.approx(energy, rel=1e-3)
    cheap = {name: 16 * 4 * 4 * 8 + round(4 * 4 * 8 * size / 3) for name, size in (("2", 8 * 9), ("4", 16 * 9))}
    executed = sum(row.actual_macs - cheap[name] for name, row in rows.items())
    assert executed == pytest.approx(spread["executed_macs"].mean, abs=2)


def test_attacks_know_the_defence_and_every_broken_image_has_its_part(record: Record) -> None:
    base, quarter, _ = record.models
    assert [attack.name.split("(")[0] for attack in base.robustness.attacks] == ["PGD"]
    assert quarter.robustness.attacks[0].name.startswith("WorstCase(")
    assert quarter.defense is not None
    parts = [row["part"] for row in quarter.defense.broken_by]
    assert len(parts) == 7
    assert parts[-1].startswith("transfer from 1")
    assert any("bpda_exact" in part for part in parts)
    broken = sum(row["images"] for row in quarter.defense.broken_by)
    assert broken == quarter.robustness.clean.correct - quarter.robustness.robust.correct
    pairs = {(pair.first, pair.second) for pair in record.comparisons}
    assert (base.name, quarter.name) in pairs


def test_a_random_control_is_judged_over_draws_and_not_simulated(record: Record) -> None:
    control = record.models[2]
    assert control.hardware == ()
    assert control.defense is not None
    assert "not simulated" in control.defense.remarks[0]
    flags = {flag["id"]: flag["state"] for flag in control.robustness.flags}
    assert flags["RANDOMISED"] == "raised"
    assert control.robustness.attacks[0].name.count("EOTPGD") == 2


def test_bitops_follow_the_published_definition(record: Record) -> None:
    defense = defended(record).defense
    assert defense is not None
    exact = {"2": (16, 8 * 9), "4": (16, 16 * 9)}
    expected = sum(16 * (0.25 * n * d * 64 + n * 8 * 16 + 8 * d / 3 * 8) for n, d in exact.values())
    assert defense.bitops["defended"] == pytest.approx(expected)
    assert defense.bitops["undefended"] == sum(16 * n * d * 64 for n, d in exact.values())
    others = defense.bitops["network_undefended"] - defense.bitops["undefended"]
    assert others == (8 * 9 * 64 + 16 * 3) * 64


def test_tables_compare_with_the_base_on_the_same_architecture(record: Record, folder: Path) -> None:
    base = record.models[0]
    quarter, control = defense_tables(record)
    assert control.rows == ()
    variants = {(row.architecture, row.variant) for row in quarter.rows}
    assert ("vector_pe_edge", ARRAY) in variants
    assert ("dual_module", DUAL) in variants
    energies = {(entry.architecture, str(entry.input_kind)): entry.totals.energy_uJ for entry in base.hardware}
    for row in quarter.rows:
        assert row.energy_ratio == row.energy_uJ / energies[row.architecture, row.input_kind]
    assert [fact["n"] for fact in layer_facts(quarter.defense)] == [16, 16]
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert DUAL in page
    assert "95th percentile" in page


def test_the_record_survives_its_file(record: Record) -> None:
    again = Record.from_json(record.to_json())
    assert asdict(again.models[1])["defense"] == asdict(record.models[1])["defense"]


def test_speculator_and_executor_are_in_the_architecture(record: Record) -> None:
    dual = next(each for each in record.architectures if each.name == "dual_module")
    assert len(dual.files) == 3
    assert any(row["component"].startswith("projection: ") for row in dual.energy_table)
    areas = {model.name: {e.architecture: e.totals.area_mm2 for e in model.hardware} for model in record.models}
    base, quarter = (areas[model.name]["dual_module"] for model in record.models[:2])
    assert base is not None
    assert quarter is not None
    assert quarter > base


def test_a_random_control_is_measured_with_the_runs_seed_alone(folder: Path) -> None:
    """Its own draws come from torch's default generator, which somebody else may have used."""
    config = make_config({"models": [f"{folder / 'network.py'}:build"], "data": f"npz:{folder / 'data.npz'}"})
    images = load_dataset(config.data)
    (base,) = load_subjects(config, 0, images)
    control = DefenseChoice.model_validate({"control": "random", "dimension": 8})
    made = []
    for _ in range(2):
        torch.rand(3)
        made.append(defended_subject(config, config.models[0], base, control, images, Silent()).defended)
    assert made[0] is not None
    assert made[1] is not None
    assert made[0].model.record() == made[1].model.record()


def test_share_one_answers_as_the_base(folder: Path) -> None:
    more = ("--images", "6", "--arch", "vector_pe_edge", "--defense", "neni:share=1,dimension=8")
    assert run(command(folder, folder / "whole", *more)) == 0
    base, whole = Record.load(folder / "whole").models
    assert whole.robustness.clean_right == base.robustness.clean_right
    assert whole.defense is not None
    assert whole.defense.spreads == ()  # no dual-module design was asked for


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--images", "12", "--defense", "neni:dimension=1000"), "k must be at most d = 72"),
        (("--images", "12", "--defense", "neni:exact_layers=nothing"), "no such layer"),
        (("--images", "12", "--defense", "neni:share=0"), "an essential share must lie in"),
        (("--images", "12", "--defense", "neni:selection=n_of_m,group=3:5"), "5"),
        (("--images", "12", "--defense", "neni:share"), "a setting is name=value"),
        (("--images", "12", "--defense", "nemi"), "neni"),
        (("--defense", "neni"), "a defence is fitted to images that are not evaluated"),
        (("--images", "12", "--defense", "neni:precision=int8,dimension=8"), "not modelled: the speculator"),
    ],
)
def test_bad_settings_cost_no_attack(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert run(command(folder, tmp_path / "run", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_calibration_images_must_not_be_evaluated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = f"neni:dimension=8,calibration_data=npz:{folder / 'data.npz'},calibration_split=test"
    assert run(command(folder, tmp_path / "run", *SMALL, "--defense", same)) == 2
    assert "12 images are in both" in capsys.readouterr().err
    config = make_config({"models": ["any"], "data": f"npz:{folder / 'data.npz'}", "images": 12})
    whole = load_dataset(config.data)
    path = f"npz:{folder / 'other.npz'}"
    settings = {"calibration_data": path, "calibration_split": "test", "calibration_images": 15}
    other = DefenseChoice.model_validate(settings)
    found = calibration_images(config, other, whole, sample(whole, 12))
    assert (found.name, len(found)) == ("other", 15)


def test_real_masks_of_a_filled_up_layer_are_said_not_to_be_simulated(folder: Path, tmp_path: Path) -> None:
    more = ("--images", "4", "--arch", "vector_pe_edge", "--density", "actual", "--defense", "neni:share=1,dimension=8")
    assert run(command(folder, tmp_path / "run", *more)) == 0
    base, whole = Record.load(tmp_path / "run").models
    assert not any("simulated with its densities" in text for entry in base.hardware for text in entry.warnings)
    told = {text.split(":")[0] for text in whole.hardware[0].warnings if "loops were padded" in text}
    assert told == {"2.projection", "2.conv2d", "4.projection", "4.conv2d"}
