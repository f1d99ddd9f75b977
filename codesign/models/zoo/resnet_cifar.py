"""The CIFAR residual networks of He et al. (2016, arXiv:1512.03385), section 4.2: 6n + 2 layers, shortcuts of option A.

Such a shortcut has no parameters: it takes every second row and column and appends zero channels. The state_dict keys
(``conv1``, ``layer1.0.conv1``, ``linear``) are those of the widely used checkpoints of Y. Idelbayev's "Proper ResNet
implementation for CIFAR10/CIFAR100 in PyTorch".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CifarResNet", "resnet20", "resnet56"]


class PaddedShortcut(nn.Module):
    """Option A: subsample by two and pad the channels with zeros, half of them on either side."""

    def __init__(self, extra_channels: int) -> None:
        super().__init__()
        self.before = extra_channels // 2
        self.after = extra_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions; where the resolution halves, the shortcut is of option A."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else PaddedShortcut(width - in_channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(inner)) + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """Three stages of ``n`` blocks with 16, 32, 64 channels at 32x32, 16x16, 8x8."""

    def __init__(self, n: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(n, 16, 16)
        self.layer2 = _stage(n, 16, 32)
        self.layer3 = _stage(n, 32, 64)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(self.avgpool(x).flatten(1))
        return logits


def _stage(n: int, in_channels: int, width: int) -> nn.Sequential:
    first = CifarBlock(in_channels, width, stride=1 if in_channels == width else 2)
    return nn.Sequential(first, *(CifarBlock(width, width, stride=1) for _ in range(n - 1)))


def resnet20(num_classes: int) -> CifarResNet:
    """ResNet-20 for 32x32 images (n = 3)."""
    return CifarResNet(3, num_classes)


def resnet56(num_classes: int) -> CifarResNet:
    """ResNet-56 for 32x32 images (n = 9)."""
    return CifarResNet(9, num_classes)
