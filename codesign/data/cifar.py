"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their official python and binary layouts."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from codesign.data.files import FoundFile, find_folder, read_bytes
from codesign.data.images import ImageSet
from codesign.errors import InputError

__all__ = ["CIFAR10", "CIFAR100", "CifarSet", "read_cifar"]

_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True, slots=True)
class CifarSet:
    """The layout of one of the two sets.

    Args:
        name: of the set.
        folders: where its files usually lie, below the data folder.
        files: of each split, without the ".bin" of the binary layout.
        records: images in each file.
        label_key: key of the labels in a python file.
        label_bytes: labels before the pixels of a binary record; the last one counts.
        class_names: one a class.
    """

    name: str
    folders: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    records: dict[str, int]
    label_key: bytes
    label_bytes: int
    class_names: tuple[str, ...]


CIFAR10 = CifarSet(
    name="cifar10",
    folders=(
        "cifar10",
        "cifar-10-batches-py",
        "cifar-10-batches-bin",
        "cifar10/cifar-10-batches-py",
        "cifar10/cifar-10-batches-bin",
        ".",
    ),
    files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    records={"train": 10_000, "test": 10_000},
    label_key=b"labels",
    label_bytes=1,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)

CIFAR100 = CifarSet(
    name="cifar100",
    folders=(
        "cifar100",
        "cifar-100-python",
        "cifar-100-binary",
        "cifar100/cifar-100-python",
        "cifar100/cifar-100-binary",
        ".",
    ),
    files={"train": ("train",), "test": ("test",)},
    records={"train": 50_000, "test": 10_000},
    label_key=b"fine_labels",
    label_bytes=2,
    class_names=tuple(_CIFAR100_CLASSES.split()),
)


def read_cifar(cifar: CifarSet, data_dir: Path | None, split: Literal["train", "test"]) -> ImageSet:
    """One split of CIFAR-10 or CIFAR-100: images (n, 3, 32, 32); fine labels for CIFAR-100."""
    names = [(name, f"{name}.bin") for name in cifar.files[split]]
    _, paths = find_folder(cifar.name, data_dir, cifar.folders, names, _ORIGIN)
    files = [read_bytes(path) for path in paths]
    parts = [_parse(cifar, file, cifar.records[split]) for file in files]
    images = np.concatenate([pixels for pixels, _ in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([labels for _, labels in parts])
    source = {
        "split": split,
        "origin": _ORIGIN,
        "licence": "none stated by its authors",
        "files": {file.path.name: file.sha256 for file in files},
    }
    return ImageSet(cifar.name, images, labels, cifar.class_names, source)


def _parse(cifar: CifarSet, file: FoundFile, records: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    binary = file.path.suffix == ".bin"
    pixels, labels = _parse_binary(cifar, file) if binary else _parse_python(cifar, file)
    if len(pixels) != records:
        raise InputError(
            f"the official file holds {records} images",
            got=f"{len(pixels)}",
            path=file.path,
            fix="it is truncated, or belongs to another set or split; get it again",
        )
    classes = len(cifar.class_names)
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"labels of {cifar.name} must be in 0..{classes - 1}",
            got=f"label {labels[at]} of item {at}",
            path=file.path,
            fix="the file is damaged or belongs to another set",
        )
    return pixels, labels


def _parse_binary(cifar: CifarSet, file: FoundFile) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    record = cifar.label_bytes + _PIXELS
    if len(file.content) % record:
        raise InputError(
            f"the file must hold records of {record} bytes",
            got=f"{len(file.content)} bytes, {len(file.content) % record} too many",
            path=file.path,
            fix="it is truncated, or belongs to the other CIFAR set; get it again",
        )
    table = np.frombuffer(file.content, np.uint8).reshape(-1, record)
    return table[:, cifar.label_bytes :], table[:, cifar.label_bytes - 1].astype(np.int64)


def _parse_python(cifar: CifarSet, file: FoundFile) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    content = _unpickle(file)
    data = content.get(b"data") if isinstance(content, dict) else None
    labels = content.get(cifar.label_key) if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(
            f"the file must hold data, uint8 (images, {_PIXELS})",
            got=got,
            path=file.path,
            fix="it belongs to another set",
        )
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        got = f"{len(labels)} values" if isinstance(labels, list) else type(labels).__name__
        raise InputError(
            f"the file must hold {cifar.label_key.decode()}, a list of {len(data)} integers",
            got=got,
            path=file.path,
            fix="it belongs to another set",
        )
    return data, np.asarray(labels, dtype=np.int64)


def _unpickle(file: FoundFile) -> Any:
    try:
        return _ArrayUnpickler(io.BytesIO(file.content), encoding="bytes").load()
    except InputError:
        raise
    except _ForbiddenError as error:
        raise InputError(
            "a CIFAR file holds arrays and plain containers only",
            got=str(error),
            path=file.path,
            fix="this is not the official file; get it again",
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise InputError(
            "the file must be a complete pickle, as the official python version has it",
            got=f"{len(file.content)} bytes, {type(error).__name__}: {error}",
            path=file.path,
            fix="it is truncated or damaged; get it again",
        ) from error


class _ForbiddenError(pickle.UnpicklingError):
    """A pickle that names something else than NumPy's array constructors."""


def _encode_latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into a pickle that Python 2 can read."""
    if encoding != "latin1":
        raise _ForbiddenError(f"an encoding {encoding}")
    return text.encode("latin1")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; every other global is refused, so that nothing can be executed."""

    # An array's own pickle starts with this function, whose module moved between NumPy 1 and 2.
    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise _ForbiddenError(f"{module_name}.{global_name}") from None
