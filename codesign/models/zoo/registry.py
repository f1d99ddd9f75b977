"""The table of the networks that the project defines itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from codesign.errors import InputError, did_you_mean
from codesign.models.normalization import Normalization, Normalized
from codesign.models.zoo import mobilenet, resnet, resnet_cifar, vgg, vit, wide_resnet

__all__ = ["ZOO", "ZooEntry", "zoo_entry"]


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """One network by name.

    Args:
        name: what ``--model`` takes.
        factory: number of classes -> the network without its normalisation, freshly initialised.
        input_shape: channels, height, width.
        num_classes: of the data that the network is usually trained on.
        normalization: what its usual checkpoints were trained with.
        source: the publication, and whose state_dict keys the network has.
        checkpoint: file in the package's checkpoints that belongs to this name, if one ships.
    """

    name: str
    factory: Callable[[int], nn.Module]
    input_shape: tuple[int, int, int]
    num_classes: int
    normalization: Normalization
    source: str
    checkpoint: str | None = None

    def build(self, num_classes: int | None = None, normalization: Normalization | None = None) -> Normalized:
        """The network behind its normalisation; weights are drawn from torch's global generator."""
        network = self.factory(self.num_classes if num_classes is None else num_classes)
        return Normalized(network, self.normalization if normalization is None else normalization)


_IMAGENET = Normalization(
    (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet training images, the values of torchvision's models"
)
_CIFAR10 = Normalization(
    (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "mean and deviation of all CIFAR-10 training pixels"
)
_FASHION_MNIST = Normalization((0.2860,), (0.3530,), "mean and deviation of all Fashion-MNIST training pixels")

_HE = "He et al. 2016, arXiv:1512.03385"
_HE_CIFAR = f"{_HE}, section 4.2, option A; keys and ImageNet mean and deviation of Y. Idelbayev's checkpoints"
_RESNET8 = f"basic blocks of {_HE}, one a stage, 24 channels; torchvision's keys"
_GREY, _SMALL, _LARGE = (1, 28, 28), (3, 32, 32), (3, 224, 224)

_ENTRIES = (
    ZooEntry(
        "fmnist_resnet8_natural",
        resnet.resnet8,
        _GREY,
        10,
        _FASHION_MNIST,
        f"{_RESNET8}; trained by this project on Fashion-MNIST",
        "fmnist_resnet8_natural.safetensors",
    ),
    ZooEntry(
        "fmnist_resnet8_adversarial",
        resnet.resnet8,
        _GREY,
        10,
        _FASHION_MNIST,
        f"{_RESNET8}; PGD-adversarially trained by this project on Fashion-MNIST",
        "fmnist_resnet8_adversarial.safetensors",
    ),
    ZooEntry("resnet8_fmnist", resnet.resnet8, _GREY, 10, _FASHION_MNIST, _RESNET8),
    ZooEntry("resnet20", resnet_cifar.resnet20, _SMALL, 10, _IMAGENET, _HE_CIFAR),
    ZooEntry("resnet56", resnet_cifar.resnet56, _SMALL, 10, _IMAGENET, _HE_CIFAR),
    ZooEntry(
        "resnet18_cifar",
        resnet.resnet18_cifar,
        _SMALL,
        10,
        _CIFAR10,
        f"{_HE}, 3x3 stem without pooling; torchvision's keys",
    ),
    ZooEntry(
        "wrn_28_10",
        wide_resnet.wrn_28_10,
        _SMALL,
        10,
        _CIFAR10,
        "Zagoruyko and Komodakis 2016, arXiv:1605.07146; keys of the TRADES checkpoints",
    ),
    ZooEntry(
        "vit_tiny_cifar",
        vit.vit_tiny_cifar,
        _SMALL,
        10,
        _CIFAR10,
        "widths of DeiT-Ti, Touvron et al. 2021, arXiv:2012.12877, with 4x4 patches; torchvision's keys",
    ),
    ZooEntry("resnet18", resnet.resnet18, _LARGE, 1000, _IMAGENET, f"{_HE}; torchvision's keys"),
    ZooEntry("resnet50", resnet.resnet50, _LARGE, 1000, _IMAGENET, f"{_HE}; torchvision's keys and strides"),
    ZooEntry(
        "vgg16", vgg.vgg16, _LARGE, 1000, _IMAGENET, "Simonyan and Zisserman 2015, arXiv:1409.1556; torchvision's keys"
    ),
    ZooEntry(
        "mobilenet_v2",
        mobilenet.mobilenet_v2,
        _LARGE,
        1000,
        _IMAGENET,
        "Sandler et al. 2018, arXiv:1801.04381; torchvision's keys",
    ),
    ZooEntry(
        "vit_b_16",
        vit.vit_b_16,
        _LARGE,
        1000,
        _IMAGENET,
        "Dosovitskiy et al. 2021, arXiv:2010.11929; torchvision's keys",
    ),
)

ZOO = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def zoo_entry(name: str) -> ZooEntry:
    """The entry with that name. Raises InputError with a suggestion for an unknown one."""
    if name not in ZOO:
        raise InputError("unknown model", got=name, key="--model", fix=did_you_mean(name, ZOO))
    return ZOO[name]
