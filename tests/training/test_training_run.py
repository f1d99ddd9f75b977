"""Whole runs on a small made-up task: they learn, resume bit for bit, and leave complete files or none."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from codesign.cli.train import train as train_command
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.models.loading import load_model
from codesign.training.config import TrainingConfig, make_training_config
from codesign.training.loop import EpochReport
from codesign.training.run import TrainingResult, train

CLASSES = tuple(str(i) for i in range(10))


def stripes(n: int, seed: int) -> ImageSet:
    """Noise with one bright pair of rows, whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    images = rng.integers(0, 60, (n, 1, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 + 2 * label : 6 + 2 * label] += 180
    return ImageSet("stripes", images, labels.astype(np.int64), CLASSES, {"made": seed})


TRAIN, TEST = stripes(320, 1), stripes(100, 2)


def config(**changes: Any) -> TrainingConfig:
    values = {
        "model": "resnet8_fmnist",
        "data": "stripes",
        "method": "natural",
        "eps": 0.05,
        "steps": 2,
        "epochs": 3,
        "batch_size": 32,
        "crop_padding": 0,
        "validation_images": 64,
        "evaluation_steps": 2,
        "seed": 3,
    }
    return make_training_config(values | changes)


class KilledError(Exception):
    """Stands for whatever ends a process."""


def run(out: Path, settings: TrainingConfig, *, kill_after: int | None = None, resume: bool = False) -> TrainingResult:
    def on_epoch(report: EpochReport) -> None:
        # The state of the epoch that this reports is not written yet: the epoch is lost, as in a real kill.
        if kill_after is not None and report.epoch == kill_after:
            raise KilledError

    return train(settings, TRAIN, TEST, out, resume=resume, on_epoch=on_epoch)


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    history = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in record["history"]]
    return record | {"history": history}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return run(tmp_path_factory.mktemp("adversarial"), config(method="adversarial"))


def test_learns_and_records_what_it_measured(finished: TrainingResult) -> None:
    record = json.loads(finished.record_file.read_text(encoding="utf-8"))
    assert record == finished.record
    assert record["test"]["clean"]["images"] == record["test"]["pgd"]["images"] == 100
    assert record["test"]["clean"]["accuracy"] >= record["test"]["pgd"]["accuracy"] > 0.5
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert record["checkpoint_sha256"] == hashlib.sha256(finished.checkpoint.read_bytes()).hexdigest()
    assert record["data"] == {"training": {"made": 1}, "test": {"made": 2}}
    assert record["config"]["evaluation_step_size"] == pytest.approx(2.5 * 0.05 / 2)
    assert not list(finished.checkpoint.parent.glob(".*"))


def test_selected_epoch_is_the_best_on_held_out_images(finished: TrainingResult) -> None:
    scores = [epoch["validation_adversarial"]["correct"] for epoch in finished.record["history"]]
    best = finished.record["selected_epoch"]
    assert scores[best] == max(scores)
    assert all(score < scores[best] for score in scores[best + 1 :])


def test_checkpoint_loads_and_gives_the_recorded_accuracy(finished: TrainingResult) -> None:
    loaded = load_model("resnet8_fmnist", checkpoint=finished.checkpoint)
    with torch.no_grad():
        predicted = loaded.module(torch.from_numpy(TEST.images).float() / 255).argmax(1)
    assert int((predicted.numpy() == TEST.labels).sum()) == finished.record["test"]["clean"]["correct"]


def test_killed_run_resumes_bit_for_bit(finished: TrainingResult, tmp_path: Path) -> None:
    settings = config(method="adversarial")
    with pytest.raises(KilledError):
        run(tmp_path, settings, kill_after=1)
    assert not (tmp_path / "model.json").exists()
    resumed = run(tmp_path, settings, resume=True)
    assert resumed.checkpoint.read_bytes() == finished.checkpoint.read_bytes()
    assert without_time(resumed.record) == without_time(finished.record)


def test_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    first = run(tmp_path / "a", config(epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second = run(tmp_path / "b", config(epochs=1))
    other = run(tmp_path / "c", config(epochs=1, seed=4))
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes() != other.checkpoint.read_bytes()


def test_bfloat16_trains_float32_weights(tmp_path: Path) -> None:
    result = run(tmp_path, config(epochs=1, precision="bfloat16"))
    weights = load_file(result.checkpoint)
    assert {value.dtype for key, value in weights.items() if "num_batches" not in key} == {torch.float32}


def test_folder_with_a_run_is_not_overwritten(finished: TrainingResult) -> None:
    with pytest.raises(InputError, match=r"--out.*state\.pt, model\.safetensors.*--resume"):
        run(finished.checkpoint.parent, config(method="adversarial"))


def test_resume_with_another_config_names_the_difference(finished: TrainingResult) -> None:
    with pytest.raises(InputError, match=r"lr: 0\.1 there, 0\.2 here"):
        run(finished.checkpoint.parent, config(method="adversarial", lr=0.2), resume=True)


def test_damaged_state(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match=r"state\.pt.*must be readable"):
        run(tmp_path, config(), resume=True)


def test_diverging_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--lr: the training loss must stay finite"):
        run(tmp_path, config(lr=1e30, warmup_fraction=0.0))


def test_images_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"resnet20 takes images of shape \(3, 32, 32\).*\(1, 28, 28\)"):
        run(tmp_path / "out", config(model="resnet20"))
    assert not (tmp_path / "out").exists()


def test_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validation images and at least one batch"):
        run(tmp_path, config(validation_images=300))


def test_number_of_classes_is_that_of_the_data(tmp_path: Path) -> None:
    three = ImageSet("three", TRAIN.images, TRAIN.labels % 3, ("a", "b", "c"))
    result = train(config(epochs=1), three, three, tmp_path)
    assert result.record["num_classes"] == 3
    assert load_model("resnet8_fmnist", checkpoint=result.checkpoint, num_classes=3).num_classes == 3


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command("train")(train_command)
    return made


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "stripes.npz"
    arrays = {"x_train": TRAIN.images, "y_train": TRAIN.labels, "x_test": TEST.images, "y_test": TEST.labels}
    np.savez(path, **arrays, class_names=np.array(CLASSES))
    return path


def test_command_takes_values_from_file_and_flags(app: typer.Typer, data_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text(
        f"model: resnet8_fmnist\ndata: {data_file}\nmethod: natural\neps: 8/255\nepochs: 5\nbatch_size: 32\n"
        f"validation_images: 64\nevaluation_steps: 1\nflip: false\nout: {tmp_path / 'from_file'}\n",
        encoding="utf-8",
    )
    out = tmp_path / "from_flag"
    copy = tmp_path / "copy.json"
    flags = ["--config", str(settings), "--epochs", "1", "--out", str(out), "--json", str(copy)]
    result = CliRunner().invoke(app, flags)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert json.loads(copy.read_text(encoding="utf-8")) == record
    assert record["config"]["epochs"] == 1
    assert record["config"]["eps"] == pytest.approx(8 / 255)
    assert record["config"]["flip"] is False
    assert "under PGD-1" in result.stderr
    assert not (tmp_path / "from_file").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: resnet20\n", r"run\.yaml:1: .*did you mean model"),
        ("out: o\nepochs: -1\n", "epochs.*greater than or equal to 1"),
        ("model: resnet20\nmodel: resnet56\n", "model"),
        ("model: [resnet20]\n", "a number, a word, true or false"),
        ("out: o\nresume: no\n", r"run\.yaml:2: --resume: resume must be true or false"),
        ("out: o\nthreads: 0\n", r"run\.yaml:2: --threads: threads must be an integer"),
        ("out: 3\n", r"run\.yaml:1: --out: out must be a path"),
    ],
)
def test_command_with_bad_file(app: typer.Typer, tmp_path: Path, text: str, message: str) -> None:
    settings = tmp_path / "run.yaml"
    settings.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, ["--config", str(settings)], catch_exceptions=False)


def test_command_needs_a_folder_and_a_device_that_exists(app: typer.Typer, data_file: Path, tmp_path: Path) -> None:
    flags = [
        "--model",
        "resnet8_fmnist",
        "--data",
        str(data_file),
        "--method",
        "natural",
        "--eps",
        "0",
        "--epochs",
        "1",
    ]
    with pytest.raises(InputError, match="--out"):
        CliRunner().invoke(app, flags, catch_exceptions=False)
    with pytest.raises(InputError, match="--device"):
        CliRunner().invoke(app, [*flags, "--out", str(tmp_path / "o"), "--device", "abacus"], catch_exceptions=False)
