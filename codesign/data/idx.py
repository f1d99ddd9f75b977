"""MNIST and Fashion-MNIST in their official idx files (http://yann.lecun.com/exdb/mnist/), gzipped or not."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from codesign.data.files import FoundFile, find_folder, read_bytes
from codesign.data.images import ImageSet
from codesign.errors import InputError

__all__ = ["FASHION_MNIST", "MNIST", "IdxSet", "read_idx", "read_idx_set"]

_UNSIGNED_BYTE = 0x08


@dataclass(frozen=True, slots=True)
class IdxSet:
    """What is known of a set before it is read.

    ``sha256`` holds the hashes of its official gz files: MNIST and Fashion-MNIST have the same file names.
    """

    name: str
    folders: tuple[str, ...]
    class_names: tuple[str, ...]
    origin: str
    licence: str
    sha256: frozenset[str]


MNIST = IdxSet(
    name="mnist",
    folders=("mnist", "MNIST/raw", "MNIST", "."),
    class_names=tuple(str(digit) for digit in range(10)),
    origin="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    sha256=frozenset(
        {
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        }
    ),
)

FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "."),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    origin="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    sha256=frozenset(
        {
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        }
    ),
)


def read_idx(file: FoundFile, dimensions: int) -> npt.NDArray[np.uint8]:
    """An idx file of unsigned bytes with so many dimensions, as an array.

    Raises:
        InputError: wrong magic number, wrong number of dimensions, or another length than the header announces.
    """
    header = 4 + 4 * dimensions
    magic = file.content[:4]
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if magic != expected:
        raise InputError(
            f"an idx file of unsigned bytes with {dimensions} dimensions begins with {expected.hex(' ')}",
            got=magic.hex(" ") or "an empty file",
            path=file.path,
            fix="this is another kind of file (images and labels swapped?)",
        )
    if len(file.content) < header:
        raise _wrong_length(file, header, "the header alone")
    shape = struct.unpack(f">{dimensions}I", file.content[4:header])
    size = int(np.prod(shape, dtype=np.int64))
    if len(file.content) != header + size:
        raise _wrong_length(file, header + size, f"its header announces {' x '.join(map(str, shape))}")
    return np.frombuffer(file.content, np.uint8, size, header).reshape(shape)


def _wrong_length(file: FoundFile, expected: int, why: str) -> InputError:
    return InputError(
        f"the file must hold {expected} bytes ({why})",
        got=f"{len(file.content)} bytes",
        path=file.path,
        fix="it is truncated or damaged; get it again",
    )


def read_idx_set(idx_set: IdxSet, data_dir: Path | None, split: Literal["train", "test"]) -> ImageSet:
    """One split of MNIST or Fashion-MNIST: images (n, 1, 28, 28), ten classes."""
    prefix = {"train": "train", "test": "t10k"}[split]
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    accepted = [(f"{name}.gz", name, name.replace("-idx", ".idx")) for name in names]
    _, paths = find_folder(idx_set.name, data_dir, idx_set.folders, accepted, idx_set.origin)
    image_file, label_file = (read_bytes(path) for path in paths)
    for file in (image_file, label_file):
        _refuse_the_other_set(idx_set, file)
    images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if images.shape[1:] != (28, 28):
        raise InputError(
            f"images of {idx_set.name} are 28 x 28",
            got=f"{images.shape[1]} x {images.shape[2]}",
            path=image_file.path,
            fix="this file belongs to another set",
        )
    if len(images) != len(labels):
        raise InputError(
            f"{image_file.path.name} and {label_file.path.name} must hold equally many items",
            got=f"{len(images)} images, {len(labels)} labels",
            path=label_file.path,
            fix="the two files belong to different splits or sets",
        )
    classes = len(idx_set.class_names)
    if len(labels) and labels.max() >= classes:
        at = int(np.argmax(labels >= classes))
        raise InputError(
            f"labels of {idx_set.name} must be in 0..{classes - 1}",
            got=f"label {labels[at]} of item {at}",
            path=label_file.path,
            fix="this file belongs to another set (EMNIST?)",
        )
    source = {
        "split": split,
        "origin": idx_set.origin,
        "licence": idx_set.licence,
        "files": {file.path.name: file.sha256 for file in (image_file, label_file)},
    }
    return ImageSet(idx_set.name, images[:, None], labels.astype(np.int64), idx_set.class_names, source)


def _refuse_the_other_set(idx_set: IdxSet, file: FoundFile) -> None:
    for other in (MNIST, FASHION_MNIST):
        if other is not idx_set and file.sha256 in other.sha256:
            raise InputError(
                f"the file must belong to {idx_set.name}",
                got=f"the official file of {other.name}",
                path=file.path,
                key="--data-dir",
                fix=f"ask for {other.name}, or name the folder of {idx_set.name}",
            )
