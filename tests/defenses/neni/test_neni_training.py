"""Training with the defence as a whole run: same seed, same weights; killed and resumed; from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from codesign.cli.train import train as train_command
from codesign.data.images import ImageSet
from codesign.defenses.neni import NeniSettings, training
from codesign.defenses.neni.saving import load_defended
from codesign.defenses.neni.training import DefendedTrainingConfig, TrainedDefence, train_defended
from codesign.errors import InputError
from codesign.models.loading import LoadedModel, load_model
from codesign.training.loop import EpochReport

CLASSES = ("a", "b", "c")
SETTINGS = NeniSettings(dimension=4, selection="threshold", batch_size=32)


def shades(n: int, seed: int) -> ImageSet:
    """Noise whose brightness is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    images = rng.integers(0, 60, (n, 1, 28, 28)) + 80 * labels[:, None, None, None]
    return ImageSet("shades", images.clip(0, 255).astype(np.uint8), labels.astype(np.int64), CLASSES, {"made": seed})


TRAIN, TEST = shades(96, 1), shades(30, 2)


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return load_model("resnet8_fmnist", checkpoint="random:0", num_classes=3)


def config(**changes: Any) -> DefendedTrainingConfig:
    values = {
        "model": "resnet8_fmnist",
        "data": "shades",
        "method": "adversarial",
        "eps": 0.02,
        "steps": 1,
        "epochs": 2,
        "batch_size": 32,
        "crop_padding": 0,
        "validation_images": 32,
        "evaluation_steps": 1,
        "evaluation_images": 16,
        "seed": 3,
    }
    return DefendedTrainingConfig.model_validate(values | changes)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def run(
    base: LoadedModel, out: Path, *, kill_after: int | None = None, resume: bool = False, **changes: Any
) -> TrainedDefence:
    def on_epoch(report: EpochReport) -> None:
        if report.epoch == kill_after:
            raise KilledError

    return train_defended(
        base, TRAIN, TEST, SETTINGS, config(**changes), out, calibration_images=40, resume=resume, on_epoch=on_epoch
    )


@pytest.fixture(scope="module")
def finished(base: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> TrainedDefence:
    return run(base, tmp_path_factory.mktemp("whole"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_defended(path).defended.module.state_dict())


def test_it_leaves_a_network_that_loads(base: LoadedModel, finished: TrainedDefence) -> None:
    found = load_model(str(finished.path))
    assert found.num_classes == 3
    pixels = torch.from_numpy(TEST.images).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(found.module(pixels), finished.defended.module(pixels))
    saved = load_defended(finished.path)
    assert saved.defended.settings == SETTINGS
    assert saved.origin["finetuning"]["epochs"] == 2
    # Fine-tuning moved the exact network's weights too; the given one stays as it was.
    tuned, own = saved.base.module.state_dict(), base.module.state_dict()
    assert not torch.equal(tuned["network.conv1.weight"], own["network.conv1.weight"])
    record = json.loads(finished.record_file.read_text())
    assert record == finished.record
    assert record["test"]["clean"]["images"] == 16
    assert set(record["test"]["pgd"]["gradients"]) == {"as_coded", "straight_through"}
    assert record["calibration"]["images"] == 40
    assert len(record["history"]) == 2


@pytest.mark.parametrize("kill_after", [0, 1])
def test_a_killed_run_resumes_to_the_same_weights(
    base: LoadedModel, finished: TrainedDefence, tmp_path: Path, kill_after: int
) -> None:
    with pytest.raises(KilledError):
        run(base, tmp_path, kill_after=kill_after)
    assert not (tmp_path / "neni.json").exists()
    with pytest.raises(InputError, match="must not hold a run"):
        run(base, tmp_path)
    resumed = run(base, tmp_path, resume=True)
    want = weights(finished.path)
    assert all(torch.equal(value, want[key]) for key, value in weights(resumed.path).items())
    selectors = [[entry["selector"] for entry in json.loads(path.read_text())["layers"]]
                 for path in (resumed.path, finished.path)]  # fmt: skip
    assert selectors[0] == selectors[1]
    assert selectors[0][0]["value"] is not None


def test_resuming_with_other_settings_is_refused(base: LoadedModel, tmp_path: Path) -> None:
    run(base, tmp_path, epochs=0)
    assert load_defended(tmp_path / "neni.json").origin["finetuning"] is None
    other = load_model("resnet8_fmnist", checkpoint="random:1", num_classes=3)
    with pytest.raises(InputError, match=r"started with \(got another base\)"):
        run(other, tmp_path, resume=True)
    with pytest.raises(InputError, match="another seed"):
        run(base, tmp_path, resume=True, seed=4)


def test_only_distilled_with_no_epochs(base: LoadedModel, tmp_path: Path) -> None:
    found = run(base, tmp_path, epochs=0)
    assert found.record["selected_epoch"] == -1
    with torch.no_grad():
        pixels = torch.from_numpy(TEST.images).float() / 255
        want = base.module(pixels)
        assert torch.equal(load_defended(found.path).base.module(pixels), want)


def test_data_that_do_not_fit(base: LoadedModel, tmp_path: Path) -> None:
    wide = ImageSet("wide", np.zeros((40, 3, 28, 28), np.uint8), np.zeros(40, np.int64), CLASSES, {})
    with pytest.raises(InputError, match=r"takes images of shape \(1, 28, 28\)"):
        train_defended(base, wide, TEST, SETTINGS, config(), tmp_path)
    more = ImageSet("more", TRAIN.images, TRAIN.labels, ("a", "b", "c", "d"), {})
    with pytest.raises(InputError, match="has 3 classes"):
        train_defended(base, more, TEST, SETTINGS, config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command("train")(train_command)
    return made


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    path = tmp_path / "shades.npz"
    arrays = {"x_train": TRAIN.images, "y_train": TRAIN.labels, "x_test": TEST.images, "y_test": TEST.labels}
    np.savez(path, **arrays, class_names=np.array(CLASSES))
    return ["--model", "resnet8_fmnist", "--checkpoint", "random:0", "--data", str(path), "--epochs", "1",
            "--batch-size", "32", "--validation-images", "32", "--evaluation-steps", "1", "--eps", "0.02",
            "--out", str(tmp_path / "out")]  # fmt: skip


DEFENSE = ["--defense", "neni:dimension=4,selection=threshold,calibration_images=40"]


def test_command_leaves_a_model_for_every_command(app: typer.Typer, flags: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*flags, *DEFENSE, "--final-lr", "0", "--seed", "5"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "model.json").read_text())
    assert record["settings"]["selection"] == "threshold"
    assert record["config"]["final_lr"] == 0
    assert load_model(str(tmp_path / "out" / "neni.json")).num_classes == 3
    assert "no robustness evaluation" in result.stderr


def test_settings_from_a_file(app: typer.Typer, flags: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text("defense:\n  method: neni\n  dimension: 4\n  calibration_images: 40\nevaluation_images: 10\n")
    result = CliRunner().invoke(app, ["--config", str(settings), *flags, "--epochs", "0"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (record["settings"]["dimension"], record["test"]["clean"]["images"]) == (4, 10)
    assert "distilled" in result.stderr


def test_stopped_by_hand(app: typer.Typer, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "finetune_defended", stop)
        stopped = CliRunner().invoke(app, [*flags, *DEFENSE])
    assert stopped.exit_code == 130
    assert "--resume continues" in stopped.stderr
    assert not (tmp_path / "out" / "neni.json").exists()
    assert CliRunner().invoke(app, [*flags, *DEFENSE, "--resume"]).exit_code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--defense", "nemi"], "method"),
        (["--defense", "neni:share=0"], r"share must lie in \(0, 1\]"),
        (["--defense", "neni:dimensions=4"], "dimensions"),
        (["--defense", "neni:cost_images=4"], "belongs to codesign evaluate"),
        (["--defense", "neni:dimension=100000", "--epochs", "0"], "k must be at most d"),
        (["--defense", "neni:exact_layers=nothing"], "no such layer"),
        (["--final-lr", "0.1"], "--checkpoint: this goes with a defence"),
        (["--defense", "neni", "--epochs", "-1"], "epochs"),
    ],
)
def test_command_with_bad_settings(app: typer.Typer, flags: list[str], more: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, [*flags, *more], catch_exceptions=False)
