"""Residual networks with projection shortcuts (He et al., 2016, arXiv:1512.03385), torchvision's state_dict keys.

One class makes the ImageNet networks (7x7 stem, stride 2, max pooling), their usual CIFAR form (3x3 stem, stride 1, no
pooling) and the small ResNet-8 for 28x28 images that this project ships trained (3x3 stem, stride 2).
As in torchvision, a bottleneck strides in its 3x3 convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "Stem", "resnet8", "resnet18", "resnet18_cifar", "resnet50"]


@dataclass(frozen=True, slots=True)
class Stem:
    """The first convolution: kernel, stride, and whether a 3x3 max pooling of stride 2 follows."""

    in_channels: int
    kernel: int
    stride: int
    pool: bool


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(inner)) + shortcut)
        return out


class Bottleneck(nn.Module):
    """1x1 reduction, 3x3 convolution, 1x1 expansion by four, and a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _projection(in_channels, out_channels, stride)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.relu2(self.bn2(self.conv2(inner)))
        out: Tensor = self.relu3(self.bn3(self.conv3(inner)) + shortcut)
        return out


class ResNet(nn.Module):
    """A stem, stages ``layer1``, ``layer2``, ... that double the width and halve the resolution, pooling, ``fc``.

    Args:
        block: the kind of block.
        blocks: number of blocks of each stage.
        width: channels of the stem and of the first stage (before a bottleneck's expansion).
        stem: the first convolution.
        num_classes: outputs of ``fc``.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, ...],
        *,
        width: int,
        stem: Stem,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(
            stem.in_channels, width, stem.kernel, stride=stem.stride, padding=stem.kernel // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem.pool else nn.Identity()
        channels = width
        self.stages = tuple(f"layer{i + 1}" for i in range(len(blocks)))
        for i, (stage, count) in enumerate(zip(self.stages, blocks, strict=True)):
            layers: list[nn.Module] = []
            for j in range(count):
                layers.append(block(channels, width << i, stride=2 if i > 0 and j == 0 else 1))
                channels = (width << i) * block.expansion
            self.add_module(stage, nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _initialize(network: nn.Module) -> None:
    """He initialisation by fan-out, as the paper trains with."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


_IMAGENET_STEM = Stem(in_channels=3, kernel=7, stride=2, pool=True)
_CIFAR_STEM = Stem(in_channels=3, kernel=3, stride=1, pool=False)
_GREY_STEM = Stem(in_channels=1, kernel=3, stride=2, pool=False)


def resnet8(num_classes: int) -> ResNet:
    """Stem and three basic blocks of 24, 48, 96 channels at 14x14, 7x7, 4x4 (28x28 grey input)."""
    return ResNet(BasicBlock, (1, 1, 1), width=24, stem=_GREY_STEM, num_classes=num_classes)


def resnet18_cifar(num_classes: int) -> ResNet:
    """ResNet-18 with the 3x3 stem that is customary for 32x32 images."""
    return ResNet(BasicBlock, (2, 2, 2, 2), width=64, stem=_CIFAR_STEM, num_classes=num_classes)


def resnet18(num_classes: int) -> ResNet:
    """ResNet-18 of the paper's table 1."""
    return ResNet(BasicBlock, (2, 2, 2, 2), width=64, stem=_IMAGENET_STEM, num_classes=num_classes)


def resnet50(num_classes: int) -> ResNet:
    """ResNet-50 of the paper's table 1, stride in the 3x3 convolutions (torchvision's form)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), width=64, stem=_IMAGENET_STEM, num_classes=num_classes)
