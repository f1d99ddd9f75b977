"""Small networks for the tests of the defence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codesign.models.tracing import trace


class SmallNet(nn.Module):
    """Every kind of layer that can be defended: strided, depthwise, grouped, reflecting, 1-D-like, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.plain = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.grouped = nn.Conv2d(12, 16, 3, padding=1, groups=2, padding_mode="reflect")
        self.hidden = nn.Linear(16, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.plain(x))
        x = torch.relu(self.grouped(torch.relu(self.depthwise(x))))
        x = torch.relu(self.hidden(x.mean(dim=(2, 3))))
        out: Tensor = self.head(x)
        return out


SHAPE = (3, 12, 12)


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SmallNet().eval()


@pytest.fixture
def traced(network: nn.Module):  # type: ignore[no-untyped-def]
    return trace(network, SHAPE)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)
