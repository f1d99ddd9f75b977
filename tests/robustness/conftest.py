"""A small network trained on synthetic images, and models with a known fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet

CLASSES = 4


def _bars(count: int, seed: int) -> ImageSet:
    """8 x 8 grey images of a bright bar whose place gives the class, under noise that makes some of them hard."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    images = draw.normal(0.45, 0.12, (count, 1, 8, 8))
    for place, label in enumerate(labels):
        images[place, 0, 2 * label : 2 * label + 2] += draw.uniform(0.05, 0.3)
    return ImageSet(
        "bars",
        (images.clip(0, 1) * 255).round().astype(np.uint8),
        labels.astype(np.int64),
        tuple(f"bar {number}" for number in range(CLASSES)),
    )


@pytest.fixture(scope="session")
def bars() -> ImageSet:
    return _bars(120, seed=1)


@pytest.fixture(scope="session")
def make_bars() -> Callable[[int, int], ImageSet]:
    return _bars


@pytest.fixture(scope="session")
def network() -> nn.Sequential:
    """A convolutional network that has about nine of ten bars right; its parameters require gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(96, 24),
            nn.ReLU(),
            nn.Linear(24, CLASSES),
        )
        data = _bars(600, seed=0)
        images = torch.from_numpy(data.images).float() / 255
        labels = torch.from_numpy(data.labels)
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(4):
            for part in torch.randperm(len(images)).reshape(-1, 60):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(images[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        optimiser.zero_grad()
    return net.eval()
