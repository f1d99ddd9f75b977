"""Wide residual networks (Zagoruyko and Komodakis, 2016, arXiv:1605.07146) for 32x32 images.

The state_dict keys (``conv1``, ``block1.layer.0.bn1``, ``convShortcut``, ``bn1``, ``fc``) are those of most
adversarially trained WRN checkpoints (TRADES and what followed it).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["WideResNet", "wrn_28_10"]


class WideBlock(nn.Module):
    """Pre-activation block: batch norm, ReLU, 3x3 convolution, twice.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the pre-activated input; elsewhere it is
    the input itself.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.convShortcut = (
            None if in_channels == width else nn.Conv2d(in_channels, width, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        out: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(activated)))) + shortcut
        return out


class WideStage(nn.Module):
    """Blocks of one width; the keys need them under ``layer``."""

    def __init__(self, count: int, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        first = WideBlock(in_channels, width, stride)
        self.layer = nn.Sequential(first, *(WideBlock(width, width, 1) for _ in range(count - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """Depth 6n + 4, three stages of 16k, 32k, 64k channels at 32x32, 16x16, 8x8; no dropout."""

    def __init__(self, depth: int, widen_factor: int, num_classes: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"WideResNet: depth must be 6n + 4 with n >= 1 (got {depth})")
        count = (depth - 4) // 6
        widths = [16 * widen_factor << i for i in range(3)]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = WideStage(count, 16, widths[0], 1)
        self.block2 = WideStage(count, widths[0], widths[1], 2)
        self.block3 = WideStage(count, widths[1], widths[2], 2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        logits: Tensor = self.fc(self.avgpool(self.relu(self.bn1(x))).flatten(1))
        return logits


def wrn_28_10(num_classes: int) -> WideResNet:
    """WRN-28-10."""
    return WideResNet(28, 10, num_classes)
