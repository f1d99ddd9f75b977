"""Published checkpoints, where the shared data folder is there: the numbers that its README states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.models.loading import load_model
from codesign.robustness.attacks import APGD, PGD
from codesign.robustness.protocol import evaluate_robustness

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not (DATA / "models" / "resnet4b.pth").exists(), reason="needs ../shared/data with resnet4b.pth"
)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride)) if shortcut else nn.Sequential()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.shortcut(x))


class ResNet4b(nn.Module):
    """The architecture that the data folder's README describes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(16, 32, 2, True), Block(32, 32, 1, False))
        self.layer2 = nn.Sequential(Block(32, 32, 2, True), Block(32, 32, 1, False))
        self.linear1 = nn.Linear(512, 100)
        self.linear2 = nn.Linear(100, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor((0.4914, 0.4822, 0.4465)).view(3, 1, 1)
        std = torch.tensor((0.2471, 0.2435, 0.2616)).view(3, 1, 1)
        x = self.layer2(self.layer1(torch.relu(self.conv1((x - mean) / std))))
        logits: torch.Tensor = self.linear2(torch.relu(self.linear1(x.flatten(1))))
        return logits


def test_resnet4b_reaches_its_published_accuracies() -> None:
    model = ResNet4b()
    state = torch.load(DATA / "models" / "resnet4b.pth", weights_only=True, map_location="cpu")
    model.load_state_dict(state.get("state_dict", state))
    with np.load(DATA / "cifar10" / "cifar10_test1000.npz") as arrays:
        images = np.ascontiguousarray(arrays["x"][:500].transpose(0, 3, 1, 2))
        labels = arrays["y"][:500].astype(np.int64)
    cifar = ImageSet("cifar10", images, labels, tuple("0123456789"))
    result = evaluate_robustness(model.eval(), cifar, [PGD(eps=2 / 255), PGD(eps=8 / 255)], batch_size=125, seed=0)
    assert result.clean.value == pytest.approx(0.766, abs=1e-9)
    assert result.attacks[0].accuracy.value == pytest.approx(0.614, abs=0.01)
    assert result.attacks[1].accuracy.value == pytest.approx(0.158, abs=0.01)
    assert result.trusted


@pytest.mark.skipif(
    not (DATA / "models" / "resnet20-12fca82f.th").exists(), reason="needs ../shared/data with resnet20-12fca82f.th"
)
def test_a_natural_resnet20_falls_to_nothing() -> None:
    checkpoint = str(DATA / "models" / "resnet20-12fca82f.th")
    model = load_model("resnet20", checkpoint=checkpoint, num_classes=10, input_shape=(3, 32, 32)).module
    with np.load(DATA / "cifar10" / "cifar10_test1000.npz") as arrays:
        images = np.ascontiguousarray(arrays["x"][:60].transpose(0, 3, 1, 2))
        labels = arrays["y"][:60].astype(np.int64)
    cifar = ImageSet("cifar10", images, labels, tuple("0123456789"))
    attacks = [PGD(eps=8 / 255), APGD(eps=8 / 255, steps=20)]
    result = evaluate_robustness(model, cifar, attacks, batch_size=60, seed=0, sanity_images=0)
    assert result.clean.value > 0.85
    assert [outcome.accuracy.correct for outcome in result.attacks] == [0, 0]
    assert not result.raised
