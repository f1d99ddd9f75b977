"""The checkpoints that ship: they are what their records say, and robust exactly where they should be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from codesign.data.datasets import load_dataset
from codesign.models.loading import LoadedModel, load_model
from codesign.models.zoo import ZOO
from codesign.resources import bundled_dir
from codesign.training.adversary import LinfPGD
from codesign.training.config import make_training_config
from codesign.training.measure import measure_accuracy

FOLDER = bundled_dir() / "checkpoints"
NAMES = [name for name, entry in ZOO.items() if entry.checkpoint is not None]
ATTACKED = 150


def record_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module", params=NAMES)
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(request.param)


def test_every_file_belongs_to_an_entry() -> None:
    expected = {f"{name}{suffix}" for name in NAMES for suffix in (".safetensors", ".json", ".yaml")}
    assert {path.name for path in FOLDER.iterdir() if path.name != "README.md"} == expected


def test_file_is_small_and_the_one_of_the_record(loaded: LoadedModel) -> None:
    path = FOLDER / f"{loaded.name}.safetensors"
    assert path.stat().st_size < 1_000_000
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == record_of(loaded.name)["checkpoint_sha256"] == loaded.source["weights"]["sha256"]
    assert loaded.source["weights"]["kind"] == "bundled"
    assert not Path(loaded.source["weights"]["path"]).is_absolute()


def test_committed_config_is_the_one_that_was_run(loaded: LoadedModel) -> None:
    config = make_training_config(YAML(typ="safe").load(FOLDER / f"{loaded.name}.yaml"))
    assert config.record() == record_of(loaded.name)["config"]


def test_record_is_of_the_full_test_set(loaded: LoadedModel) -> None:
    record = record_of(loaded.name)
    test = record["test"]
    assert test["clean"]["images"] == test["pgd"]["images"] == 10_000
    assert (test["pgd"]["norm"], test["pgd"]["steps"], test["pgd"]["eps"]) == ("Linf", 20, 0.1)
    assert record["parameters"] == sum(parameter.numel() for parameter in loaded.module.parameters())
    assert record["normalization"]["mean"] == list(ZOO[loaded.name].normalization.mean)


def test_clean_accuracy_on_the_bundled_images_agrees(loaded: LoadedModel) -> None:
    images = load_dataset("fashion_mnist_1k")
    pixels, labels = torch.from_numpy(images.images), torch.from_numpy(images.labels)
    recorded = record_of(loaded.name)["test"]["clean"]["accuracy"]
    # Four standard deviations of a sample of 1,000.
    tolerance = 4 * (recorded * (1 - recorded) / 1000) ** 0.5
    assert measure_accuracy(loaded.module, pixels, labels).fraction == pytest.approx(recorded, abs=tolerance)


def test_robustness_on_the_bundled_images_agrees(loaded: LoadedModel) -> None:
    images = load_dataset("fashion_mnist_1k")
    pixels, labels = torch.from_numpy(images.images[:ATTACKED]), torch.from_numpy(images.labels[:ATTACKED])
    attack = LinfPGD(eps=0.1, step_size=0.025, steps=10)
    accuracy = measure_accuracy(
        loaded.module, pixels, labels, attack=attack, generator=torch.Generator().manual_seed(0)
    )
    recorded = record_of(loaded.name)["test"]["pgd"]["accuracy"]
    tolerance = 4 * (0.25 / ATTACKED) ** 0.5
    assert accuracy.fraction == pytest.approx(recorded, abs=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_readme_states_the_recorded_counts(name: str) -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
    test = record_of(name)["test"]
    assert f"{test['clean']['correct']:,} of 10,000" in row
    assert f"{test['pgd']['correct']:,} of 10,000" in row


def test_natural_is_accurate_and_adversarial_is_robust() -> None:
    natural = record_of("fmnist_resnet8_natural")["test"]
    adversarial = record_of("fmnist_resnet8_adversarial")["test"]
    assert natural["clean"]["accuracy"] > 0.9
    assert natural["pgd"]["accuracy"] < 0.05
    assert adversarial["pgd"]["accuracy"] > 0.65
    assert adversarial["clean"]["accuracy"] > 0.78
