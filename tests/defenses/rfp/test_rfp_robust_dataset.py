"""The robust dataset: matched representations, honest distances, resumed without redoing."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rfp_networks import SHAPE, Plain, Residual, labelled, made
from torch import Tensor, nn

from codesign.data.images import ImageSet
from codesign.defenses.rfp import robust_dataset as subject
from codesign.defenses.rfp.representation import Representation, match, relative_distance
from codesign.defenses.rfp.robust_dataset import RobustDataset, RobustDatasetConfig, make_robust_dataset
from codesign.defenses.rfp.shards import load_robust_dataset
from codesign.errors import InputError

DATA = labelled(14, seed=3)
IMAGES = ImageSet("noise", DATA.images.numpy(), DATA.labels.numpy(), tuple("abcde"), {"made": 3})
CONFIG = RobustDatasetConfig(steps=15, step_size=0.2, batch_size=5, check_images=6, check_steps=3, seed=7)


class Sink:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[int] = []

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002
        if stage == "robust images":
            self.done.append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)


def make(out: Path, sink: Sink | None = None, **changes: Any) -> RobustDataset:
    config = CONFIG.model_copy(update=changes)
    return make_robust_dataset(made(Plain), {"kind": "test"}, IMAGES, out, config, progress=sink or Sink())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RobustDataset:
    return make(tmp_path_factory.mktemp("robust") / "set")


def features(network: nn.Module, pixels: Tensor) -> Tensor:
    """The input of Plain's linear layer, by hand."""
    x = torch.relu(network.bn1(network.conv1(pixels)))
    return torch.relu(network.conv2(x)).flatten(1)


def test_the_representation_is_what_goes_into_the_last_linear_layer() -> None:
    network, pixels = made(Plain), DATA.images[:3].float() / 255
    with Representation(network, pixels) as representation, torch.no_grad():
        assert representation.layer == "fc"
        torch.testing.assert_close(representation(pixels), features(network, pixels))
    assert not network.fc._forward_pre_hooks
    with Representation(network, pixels, "conv2") as other, torch.no_grad():
        torch.testing.assert_close(other(pixels), torch.relu(network.bn1(network.conv1(pixels))).flatten(1))
    with pytest.raises(InputError, match=r"--representation.*did you mean conv2"):
        Representation(network, pixels, "conv3")
    with pytest.raises(InputError, match="must end in a linear layer"):
        Representation(nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten()), pixels)


def test_every_step_is_normalised_and_stays_in_range() -> None:
    start, target = torch.full((2, *SHAPE), 0.5), torch.zeros(2, 4)
    weights = torch.randn((192, 4), generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def linear(pixels: Tensor) -> Tensor:
        seen.append(pixels.detach().clone())
        return pixels.flatten(1) @ weights

    match(linear, start, target, steps=4, step_size=0.05)
    for before, after in pairwise(seen):
        torch.testing.assert_close((after - before).flatten(1).norm(dim=1), torch.full((2,), 0.05))
    moved = match(linear, start, target, steps=40, step_size=3.0)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1


def test_one_step_against_the_gradient_by_hand() -> None:
    weights = torch.tensor([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0]])
    start, target = torch.tensor([[[[0.5]], [[0.4]], [[0.3]]]]), torch.tensor([[0.1, 0.2]])
    gap = start.flatten(1) @ weights - target
    gradient = (gap / gap.norm()) @ weights.T / target.norm()
    expected = start.flatten(1) - 0.1 * gradient / gradient.norm()
    found = match(lambda x: x.flatten(1) @ weights, start, target, steps=1, step_size=0.1)
    torch.testing.assert_close(found.flatten(1), expected)


def test_distance_is_relative_to_the_target() -> None:
    value, target = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    assert relative_distance(value, target).tolist() == pytest.approx([(9 + 4) ** 0.5 / 2, 1.0])


def test_images_come_nearer_and_the_distances_are_those_of_the_stored_images(finished: RobustDataset) -> None:
    network = made(Plain)
    stored = torch.from_numpy(finished.images.images.copy()).float() / 255
    with torch.no_grad():
        target = features(network, DATA.images.float() / 255)
        after = relative_distance(features(network, stored), target)
    distance = finished.manifest["distance"]
    assert distance["after"]["mean"] == pytest.approx(float(after.mean()), rel=1e-4)
    assert distance["after"]["max"] == pytest.approx(float(after.max()), rel=1e-4)
    assert distance["after"]["mean"] < 0.7 * distance["before"]["mean"]
    assert finished.images.labels.tolist() == DATA.labels.tolist()
    assert finished.manifest["images"] == 14
    assert len(finished.manifest["shards"]) == 3
    assert finished.manifest["representation"] == "fc"


def test_every_image_starts_from_another_one(finished: RobustDataset) -> None:
    starts = np.concatenate([np.load(path)["starts"] for path in sorted(finished.folder.glob("shard_*.npz"))])
    assert all(start != target for target, start in enumerate(starts))
    assert 0 <= starts.min() <= starts.max() < 14


def test_the_same_seed_gives_the_same_files(finished: RobustDataset, tmp_path: Path) -> None:
    assert make(tmp_path / "again").manifest == finished.manifest
    assert make(tmp_path / "other", seed=8).manifest["shards"] != finished.manifest["shards"]


def test_a_killed_run_redoes_the_last_batch_only(
    finished: RobustDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = subject.match, []

    def killed(*arguments: Any, **options: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(subject, "match", killed)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "set")
    assert len(list((tmp_path / "set").glob("shard_*.npz"))) == 2
    with pytest.raises(InputError, match="complete manifest"):
        load_robust_dataset(tmp_path / "set")
    with pytest.raises(InputError, match=r"config\.steps: 15 there, 16 here"):
        make(tmp_path / "set", steps=16)
    again: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(subject, "match", lambda *a, **o: (again.append(1), original(*a, **o))[1])
        resumed = make(tmp_path / "set")
    assert len(again) == 1
    assert resumed.manifest == finished.manifest
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_shard_of_a_killed_run_is_made_again(finished: RobustDataset, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    first = finished.folder / "shard_00000.npz"
    (folder / first.name).write_bytes(first.read_bytes()[:200])
    assert make(folder).manifest == finished.manifest


def test_a_finished_dataset_is_not_overwritten_and_is_checked_when_read(
    finished: RobustDataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--out.*finished robust dataset"):
        make(finished.folder)
    copy = make(tmp_path / "copy").folder
    assert np.array_equal(load_robust_dataset(copy).images, finished.images.images)
    other = make(tmp_path / "other", seed=9).folder
    (copy / "shard_00001.npz").write_bytes((other / "shard_00001.npz").read_bytes())
    with pytest.raises(InputError, match="the one that the manifest names"):
        load_robust_dataset(copy)
    (copy / "shard_00001.npz").unlink()
    with pytest.raises(InputError, match="shard_00001"):
        load_robust_dataset(copy)


def test_a_teacher_that_is_not_robust_is_warned_of(finished: RobustDataset, tmp_path: Path) -> None:
    sink = Sink()
    network = made(Plain)
    # Labelled as the network sees the images, so that clean accuracy is 100 %; noise is easily attacked.
    with torch.no_grad():
        labels = network(DATA.images.float() / 255).argmax(1).numpy()
    easy = ImageSet("noise", DATA.images.numpy(), labels, tuple("abcde"))
    config = CONFIG.model_copy(update={"check_eps": 5.0, "steps": 1})
    made_set = make_robust_dataset(network, {}, easy, tmp_path / "set", config, progress=sink)
    check = made_set.manifest["teacher_check"]
    assert check["clean"]["value"] == 1
    assert check["robust"]["value"] < 0.5
    assert sink.notes == [f"warning: {check['warning']}"]
    assert "the teacher is not robust: 100.0% clean" in sink.notes[0]
    trusting = config.model_copy(update={"check_share": 0.0})
    assert (
        make_robust_dataset(network, {}, easy, tmp_path / "b", trusting, progress=sink).manifest["teacher_check"][
            "warning"
        ]
        is None
    )


def test_the_teacher_is_left_as_it_was(tmp_path: Path) -> None:
    network = made(Residual).train()
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    make_robust_dataset(network, {}, IMAGES, tmp_path / "set", CONFIG, progress=Sink())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_images_of_another_shape_or_with_more_classes(tmp_path: Path) -> None:
    other = labelled(4, shape=(3, 16, 16))
    images = ImageSet("larger", other.images.numpy(), other.labels.numpy(), tuple("abcde"))
    with pytest.raises(InputError, match=r"--data.*\(3, 16, 16\) in larger"):
        make_robust_dataset(made(Plain), {}, images, tmp_path / "set", CONFIG, progress=Sink())
    many = ImageSet("many", IMAGES.images, IMAGES.labels, tuple("abcdefg"))
    with pytest.raises(InputError, match=r"the teacher has 5 outputs.*7 classes"):
        make_robust_dataset(made(Plain), {}, many, tmp_path / "set", CONFIG, progress=Sink())
    assert not (tmp_path / "set").exists()


def test_manifest_is_json_without_times(finished: RobustDataset) -> None:
    text = (finished.folder / "manifest.json").read_text(encoding="utf-8")
    assert json.loads(text) == finished.manifest
    assert "seconds" not in text
