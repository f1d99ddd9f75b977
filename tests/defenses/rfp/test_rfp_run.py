"""Whole runs: prune, fine-tune, attack, save, load again; killed and taken up; and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codesign.cli.app import run as run_command
from codesign.cli.make_robust_dataset import make_robust_dataset as dataset_command
from codesign.cli.prune import prune as prune_command
from codesign.data.images import ImageSet
from codesign.defenses.rfp.config import make_pruning_config
from codesign.defenses.rfp.finetuning import FinetuningConfig, finetune, finetuning_rate
from codesign.defenses.rfp.run import Comparison, PruningRun, run_pruning
from codesign.defenses.rfp.threats import Threat, parse_threat
from codesign.errors import InputError
from codesign.evaluation.record import Record
from codesign.models.loading import LoadedModel, load_model
from codesign.training.loop import EpochReport


def stripes(n: int, seed: int) -> ImageSet:
    """Noise with one bright pair of rows, whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    images = rng.integers(0, 60, (n, 1, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 + 2 * label : 6 + 2 * label] += 180
    return ImageSet("stripes", images, labels.astype(np.int64), tuple("0123456789"), {"made": seed})


TRAIN, TEST = stripes(192, 1), stripes(20, 2)
PRUNING = make_pruning_config({"ratio": 0.25, "images": 20})
COMPARISON = Comparison(
    images=12, threats=(Threat("l2", 0.25), Threat("linf", 0.02)), steps=2, batch_size=6, sanity_images=0
)


def tuning(**changes: Any) -> FinetuningConfig:
    values: dict[str, Any] = {
        "model": "m",
        "data": "stripes",
        "epochs": 2,
        "batch_size": 32,
        "lr": 0.05,
        "validation_images": 32,
        "crop_padding": 0,
        "flip": False,
    }
    return FinetuningConfig.model_validate(values | changes)


def model() -> LoadedModel:
    return load_model("resnet8_fmnist", checkpoint="random:0")


def whole(**changes: Any) -> PruningRun:
    values: dict[str, Any] = {
        "model": model(),
        "training_set": TRAIN,
        "test_set": TEST,
        "config": PRUNING,
        "finetuning": tuning(),
        "comparison": COMPARISON,
    }
    return PruningRun(**(values | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rfp") / "run"
    run_pruning(whole(), out)
    return out


def logits(path: Path) -> Tensor:
    with torch.no_grad():
        return load_model(str(path / "network.json")).module(torch.from_numpy(TEST.images.copy()).float() / 255)


def test_a_run_leaves_a_smaller_network_that_loads(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {"network.json", "network.safetensors", "pruning.json"}
    record = json.loads((finished / "pruning.json").read_text())
    loaded = load_model(str(finished / "network.json"))
    parts = dict(loaded.module.named_modules())
    for change in record["pruning"]["layers"]:
        assert parts[f"network.{change['layer']}"].out_channels == change["after"] == change["before"] * 3 // 4
    assert sum(p.numel() for p in loaded.module.parameters()) < record["parameters"]["before"]
    assert record["macs"]["after"] == sum(one["after"] for one in record["layer_macs"].values())
    assert record["macs"]["after"] < record["macs"]["before"]
    assert record["pruning"]["difference_to_zeroed"] < 1e-5
    assert loaded.source["origin"]["pruning"]["criterion"] == "activation_gradient"


def test_all_networks_under_all_threats(finished: Path) -> None:
    robustness = json.loads((finished / "pruning.json").read_text())["robustness"]
    assert list(robustness) == ["original", "pruned", "fine-tuned"]
    for result in robustness.values():
        assert [attack["title"] for attack in result["attacks"]] == ["PGD-2 L2 0.25", "PGD-2 Linf 0.02"]
        assert all(attack["accuracy"]["total"] == 12 for attack in result["attacks"])
    assert robustness["fine-tuned"]["clean"]["correct"] > robustness["pruned"]["clean"]["correct"]
    correct = int((logits(finished)[:12].argmax(1).numpy() == TEST.labels[:12]).sum())
    assert correct == robustness["fine-tuned"]["clean"]["correct"]


def test_a_killed_run_is_taken_up_and_ends_the_same(finished: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(report: EpochReport) -> None:
        if report.epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        run_pruning(whole(), tmp_path / "run", on_epoch=kill)
    assert not (tmp_path / "run").exists()
    epochs: list[int] = []
    run_pruning(whole(), tmp_path / "run", on_epoch=lambda report: epochs.append(report.epoch))
    assert epochs == [1]
    assert (tmp_path / "run/network.safetensors").read_bytes() == (finished / "network.safetensors").read_bytes()
    with pytest.raises(InputError, match="--out"):
        run_pruning(whole(), tmp_path / "run")


@pytest.mark.parametrize("granularity", ["weights", "2:4"])
def test_zero_weights_stay_zero_in_finetuning(granularity: str, tmp_path: Path) -> None:
    config = make_pruning_config({"granularity": granularity})
    run = whole(config=config, finetuning=tuning(epochs=1), comparison=Comparison(images=0))
    record = run_pruning(run, tmp_path / "run")
    assert record["robustness"] is None
    module = load_model(str(tmp_path / "run" / "network.json")).module
    before = model().module
    for change in record["pruning"]["layers"]:
        weight = module.get_submodule(f"network.{change['layer']}").weight
        assert int(torch.count_nonzero(weight)) == change["after"]
        assert not torch.equal(
            weight[weight != 0], before.get_submodule(f"network.{change['layer']}").weight[weight != 0]
        )
    assert record["macs"]["before"] == record["macs"]["after"]


def test_finetuning_on_the_robust_set_and_adversarially(tmp_path: Path) -> None:
    robust = stripes(96, 5)
    none = Comparison(images=0)
    with pytest.raises(InputError, match="--robust-data"):
        run_pruning(whole(finetune_on="robust"), tmp_path / "a")
    first = run_pruning(
        whole(finetune_on="robust", robust_set=robust, finetuning=tuning(epochs=1), comparison=none), tmp_path / "b"
    )
    assert first["finetuning"]["on"] == "robust"
    adversarial = tuning(epochs=1, method="adversarial", eps=0.02, steps=1)
    second = run_pruning(whole(finetuning=adversarial, comparison=none), tmp_path / "c")
    assert second["finetuning"]["history"][0]["validation_adversarial"]["images"] == 32
    assert not torch.equal(logits(tmp_path / "b"), logits(tmp_path / "c"))


def test_learning_rate_falls_from_first_to_last() -> None:
    config = tuning(lr=0.01, final_lr=0.001)
    rates = [finetuning_rate(config, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.0055)
    assert rates[100] == pytest.approx(0.001)
    assert rates == sorted(rates, reverse=True)
    with pytest.raises(InputError, match="--final-lr"):
        finetune(model().module, TRAIN, tuning(lr=0.001, final_lr=0.01), Path())


def test_data_of_another_shape_or_more_classes(tmp_path: Path) -> None:
    colour = ImageSet("colour", np.zeros((4, 3, 32, 32), np.uint8), np.zeros(4, np.int64), ("a", "b"))
    with pytest.raises(InputError, match=r"--data.*\(1, 28, 28\).*\(3, 32, 32\) in colour"):
        run_pruning(whole(training_set=colour), tmp_path / "run")
    many = ImageSet("many", TRAIN.images, TRAIN.labels, tuple(map(str, range(12))))
    with pytest.raises(InputError, match=r"10 outputs.*12 classes"):
        run_pruning(whole(training_set=many), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l2", "norm:radius"),
        ("l2:much", "norm:radius"),
        ("l3:1", "norm:radius.*linf"),
        ("linf:8", "Linf eps lies in"),
        ("l2:0.5:pgd7", "unknown attack"),
        ("linf:-1", "greater than or equal to 0"),
        ("l2:1/0", "norm"),
    ],
)
def test_bad_threats(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_threat(text)


def test_threats_in_words() -> None:
    assert parse_threat("L2:0.25") == Threat("l2", 0.25)
    assert parse_threat("linf:8/255") == Threat("linf", 8 / 255)


def test_attacks_of_a_threat_by_name() -> None:
    threat = parse_threat("l2:0.5:pgd50; autoattack-standard")
    titles = [attack.title for attack in threat.attacks(7, autoattack=False)]
    assert titles == ["PGD-50 L2 0.5", "AutoAttack standard L2 0.5"]


def test_autoattack_goes_beside_pgd() -> None:
    titles = [attack.title for attack in Threat("l2", 0.5).attacks(20, autoattack=True)]
    assert titles == ["PGD-20 L2 0.5", "AutoAttack standard L2 0.5"]


def test_evaluate_takes_the_pruned_network_as_a_model(finished: Path, tmp_path: Path) -> None:
    flags = ["--images", "2", "--steps", "1", "--eps", "0.1", "--arch", "systolic_weight_stationary", "--quiet"]
    out = tmp_path / "run"
    assert run_command(["evaluate", str(finished / "network.json"), *flags, "--out", str(out)]) == 0
    (pruned,) = Record.load(out).models
    before = json.loads((finished / "pruning.json").read_text())
    assert pruned.macs == before["macs"]["after"]
    assert {layer.name: layer.macs for layer in pruned.layers} == {
        name: macs["after"] for name, macs in before["layer_macs"].items()
    }


@pytest.fixture
def data_file(tmp_path: Path) -> str:
    path = tmp_path / "stripes.npz"
    arrays = {"x_train": TRAIN.images, "y_train": TRAIN.labels, "x_test": TEST.images, "y_test": TEST.labels}
    np.savez(path, **arrays, class_names=np.array(TRAIN.class_names))
    return str(path)


def test_the_two_commands_together(data_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robust = tmp_path / "robust"
    dataset_command(
        "fmnist_resnet8_adversarial", data=data_file, images=64, steps=2, check_images=5, batch_size=40, out=robust
    )
    assert "relative distance" in capsys.readouterr().out
    criterion = tmp_path / "mine.py"
    criterion.write_text(
        "def largest(evidence):\n"
        "    return {n: layer.weight.detach().abs().flatten(1).sum(1) for n, layer in evidence.layers.items()}\n"
    )
    prune_command(
        "fmnist_resnet8_adversarial",
        data=data_file,
        robust_data=robust,
        criterion=f"{criterion}:largest",
        layer_ratio=["layer2.*=0.5"],
        finetune="robust",
        epochs=1,
        batch_size=16,
        validation_images=16,
        compare_images=5,
        threat=["linf:0.1"],
        attack_steps=2,
        out=tmp_path / "pruned",
        json_file=tmp_path / "copy.json",
    )
    shown = capsys.readouterr().out
    assert "PGD-2 Linf 0.1" in shown
    record = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    assert json.loads((tmp_path / "copy.json").read_text()) == record
    changed = {change["layer"]: change["after"] for change in record["pruning"]["layers"]}
    assert changed == {"layer1.0.conv1": 17, "layer2.0.conv1": 24, "layer3.0.conv1": 67}
    assert load_model(str(tmp_path / "pruned" / "network.json")).num_classes == 10


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"finetune": "robustly"}, "--finetune"),
        ({"epochs": 3}, "--epochs.*goes with fine-tuning"),
        ({"finetune": "natural", "epochs": 0}, "--epochs.*greater than or equal to 1"),
        ({"criterion": "nothing.py:f"}, "--criterion.*no such file"),
        ({"criterion": "l2_norm"}, "did you mean l1_norm"),
        ({"layer_ratio": ["conv1"]}, "--layer-ratio.*LAYER=RATIO"),
        ({"layer_ratio": ["=0.5"]}, "--layer-ratio.*LAYER=RATIO"),
        ({"threat": ["0.1"]}, "--threat"),
        ({"compare_images": -1}, "--compare-images"),
        ({"ratio": 0.99}, "would empty"),
        ({"granularity": "2:4", "multiple": 8}, "--multiple"),
        ({"multiple": 0}, "--multiple"),
        ({"device": "abacus"}, "--device"),
    ],
)
def test_bad_flags(flags: dict[str, Any], message: str, data_file: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        prune_command("fmnist_resnet8_natural", data=data_file, out=tmp_path / "out", quiet=True, **flags)
    assert not (tmp_path / "out").exists()
