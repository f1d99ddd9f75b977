"""Small networks with one structural feature each, and images to go with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.defenses.rfp.evidence import Labelled

SHAPE = (3, 8, 8)


class Plain(nn.Module):
    """Two convolutions, the first with batch norm, flattened into a linear layer: an entry for every channel's map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1, stride=2)
        self.fc = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(torch.flatten(F.relu(self.conv2(x), inplace=True), 1))


class Residual(nn.Module):
    """A stem and a block whose second convolution is added to the stem's output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + x)
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Pointwise, depthwise, pointwise: the depthwise channels go with those of the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.bn1 = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.bn2 = nn.BatchNorm2d(8)
        self.project = nn.Conv2d(8, 6, 1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn1(self.expand(x)))
        x = F.relu6(self.bn2(self.depth(x)))
        return self.fc(F.adaptive_avg_pool2d(self.project(x), 1).flatten(1))


class Concatenated(nn.Module):
    """Two branches side by side, then a batch norm over both (as in DenseNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 6, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(10)
        self.conv = nn.Conv2d(10, 6, 3)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(torch.cat([self.left(x), self.right(x)], dim=1)))
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


NETWORKS = (Plain, Residual, Depthwise, Concatenated)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """The network in eval mode, with running statistics, scales and shifts as after some training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias)
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return network.eval()


def labelled(n: int = 12, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Labelled:
    """Uniform noise with labels in 0 .. 4."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return Labelled(images, torch.randint(0, 5, (n,), generator=generator))
