"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from codesign.data.arrays import read_npz
from codesign.data.cifar import CIFAR10, CIFAR100, read_cifar
from codesign.data.folders import parse_folder_name, read_image_folder
from codesign.data.idx import FASHION_MNIST, MNIST, read_idx_set
from codesign.data.images import ImageSet
from codesign.errors import InputError, did_you_mean
from codesign.resources import bundled_dir

__all__ = ["DATASETS", "Split", "load_dataset"]

Split = Literal["train", "test"]
_SUBSET = "fashion_mnist_1k"
_Reader = Callable[[Path | None, Split], ImageSet]


def _bundled_subset(data_dir: Path | None, split: Split) -> ImageSet:
    """The first 1,000 Fashion-MNIST test images, which ship with the package."""
    del data_dir
    if split != "test":
        raise InputError(
            f"{_SUBSET} is a test set",
            got=f"split {split}",
            key="--data",
            fix="train on fashion_mnist, with its files in --data-dir",
        )
    images = read_npz(bundled_dir() / "data" / "fashion_mnist_test_1k.npz", split)
    source = images.source | {"origin": FASHION_MNIST.origin, "licence": FASHION_MNIST.licence}
    return ImageSet(_SUBSET, images.images, images.labels, FASHION_MNIST.class_names, source)


DATASETS: MappingProxyType[str, _Reader] = MappingProxyType(
    {
        _SUBSET: _bundled_subset,
        "fashion_mnist": lambda data_dir, split: read_idx_set(FASHION_MNIST, data_dir, split),
        "mnist": lambda data_dir, split: read_idx_set(MNIST, data_dir, split),
        "cifar10": lambda data_dir, split: read_cifar(CIFAR10, data_dir, split),
        "cifar100": lambda data_dir, split: read_cifar(CIFAR100, data_dir, split),
    }
)
"""Reader of every data set that has a name; ``npz:PATH`` and ``imagefolder:PATH`` come beside these."""


def load_dataset(name: str, *, data_dir: Path | None = None, split: Split = "test") -> ImageSet:
    """A data set by name, from local files only: nothing is ever downloaded.

    Args:
        name: a key of ``DATASETS``; ``npz:PATH`` or a path that ends in .npz; ``imagefolder:PATH``, with options as in
            ``imagefolder:PATH?resize=256&crop=224`` (see ``FolderOptions``).
        data_dir: the folder with the set's files, or with a folder of them; ``data`` in the working directory if None.
            The bundled subset and paths do not use it.
        split: ``train`` or ``test``.

    Raises:
        InputError: unknown name; files that are missing (which, where, from which official source), truncated, of
            another kind, or with wrong counts or labels.
    """
    if name in DATASETS:
        return DATASETS[name](data_dir, split)
    if name.startswith("npz:") or name.endswith(".npz"):
        return read_npz(Path(name.removeprefix("npz:")), split)
    if name.startswith("imagefolder:"):
        folder, options = parse_folder_name(name.removeprefix("imagefolder:"))
        return read_image_folder(folder, options, split)
    raise InputError(
        "unknown data set", got=name, key="--data", fix=did_you_mean(name, [*DATASETS, "npz:PATH", "imagefolder:PATH"])
    )
