"""The table of the networks that the project defines itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from codesign.errors import InputError, did_you_mean
from codesign.models.normalization import Normalization, Normalized
from codesign.models.zoo import resnet

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


IMAGENET = Normalization(
    (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet training images, as torchvision's models use them"
)
CIFAR10 = Normalization(
    (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "all pixels of the CIFAR-10 training images"
)
FASHION_MNIST = Normalization((0.2860,), (0.3530,), "all pixels of the Fashion-MNIST training images")

_HE = "He et al. 2016, arXiv:1512.03385"
_RESNET8 = f"basic blocks of {_HE}, one a stage, 24 channels; torchvision's keys"

_ENTRIES = (
    ZooEntry("resnet8_fmnist", resnet.resnet8, (1, 28, 28), 10, FASHION_MNIST, _RESNET8),
    ZooEntry(
        "fmnist_resnet8_natural",
        resnet.resnet8,
        (1, 28, 28),
        10,
        FASHION_MNIST,
        f"{_RESNET8}; trained by this project on Fashion-MNIST",
        "fmnist_resnet8_natural.safetensors",
    ),
    ZooEntry(
        "fmnist_resnet8_adversarial",
        resnet.resnet8,
        (1, 28, 28),
        10,
        FASHION_MNIST,
        f"{_RESNET8}; PGD-adversarially trained by this project on Fashion-MNIST",
        "fmnist_resnet8_adversarial.safetensors",
    ),
)

ZOO = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def zoo_entry(name: str) -> ZooEntry:
    """The entry with that name. Raises InputError with a suggestion for an unknown one."""
    if name not in ZOO:
        raise InputError("unknown model", got=name, key="--model", fix=did_you_mean(name, ZOO))
    return ZOO[name]
