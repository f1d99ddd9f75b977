"""Images and labels in a NumPy ``.npz`` file."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from codesign.data.files import read_bytes
from codesign.data.images import ImageSet
from codesign.errors import InputError

__all__ = ["read_npz"]

_CHANNELS = (1, 3)


def read_npz(path: Path, split: Literal["train", "test"]) -> ImageSet:
    """An ``.npz`` file with ``x`` and ``y``, or with ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    ``x`` is uint8 of shape (n, height, width), (n, height, width, channels) or (n, channels, height, width) with 1 or 3
    channels; ``y`` holds n integers. Class names come from an optional text array ``class_names``; without it the
    classes are "0" up to the largest label. A file with plain ``x`` and ``y`` has a test split only.
    """
    file = read_bytes(path)
    arrays = _arrays(file.content, path)
    x_key, y_key = (f"x_{split}", f"y_{split}")
    if x_key not in arrays and split == "test":
        x_key, y_key = "x", "y"
    missing = [key for key in (x_key, y_key) if key not in arrays]
    if missing:
        wanted = "x and y" if split == "test" else "x_train and y_train (x and y alone are a test split)"
        raise InputError(f"the file must hold {wanted}", got=f"only {', '.join(arrays) or 'nothing'}", path=path)
    images = _images(arrays[x_key], path, x_key)
    labels = _labels(arrays[y_key], len(images), path, y_key)
    names = _class_names(arrays.get("class_names"), labels, path, y_key)
    return ImageSet(path.stem, images, labels, names, {"split": split, "files": {path.name: file.sha256}})


def _arrays(content: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)), np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(
            "the file must be a complete .npz archive of plain arrays",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            path=path,
            fix="it is damaged, of another kind, or holds Python objects; write it with numpy.savez",
        ) from error


def _images(x: npt.NDArray[Any], path: Path, key: str) -> npt.NDArray[np.uint8]:
    if x.dtype != np.uint8:
        raise InputError(
            "images must be uint8, 255 for 1.0",
            got=str(x.dtype),
            path=path,
            key=key,
            fix="for floats in [0, 1]: numpy.round(x * 255).astype(numpy.uint8)",
        )
    if x.ndim == 3:
        return x[:, None]
    last = x.ndim == 4 and x.shape[3] in _CHANNELS
    first = x.ndim == 4 and x.shape[1] in _CHANNELS
    if last == first:
        raise InputError(
            "images must be (n, height, width), (n, height, width, channels) or (n, channels, height, width) "
            "with 1 or 3 channels",
            got=str(x.shape),
            path=path,
            key=key,
            fix="both axes could be the channels" if first else None,
        )
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if last else x


def _labels(y: npt.NDArray[Any], count: int, path: Path, key: str) -> npt.NDArray[np.int64]:
    if y.dtype.kind not in "iu" or y.shape != (count,):
        raise InputError(f"labels must be {count} integers", got=f"{y.dtype} {y.shape}", path=path, key=key)
    return y.astype(np.int64)


def _class_names(
    names: npt.NDArray[Any] | None, labels: npt.NDArray[np.int64], path: Path, key: str
) -> tuple[str, ...]:
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise InputError("class names must be text", got=f"{names.dtype} {names.shape}", path=path, key="class_names")
    lowest, highest = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
    count = highest + 1 if names is None else len(names)
    if lowest < 0:
        raise InputError("labels must not be negative", got=f"{lowest}..{highest}", path=path, key=key)
    if highest >= count:
        raise InputError(f"labels must be in 0..{max(count - 1, 0)}", got=f"{lowest}..{highest}", path=path, key=key)
    return tuple(str(i) for i in range(count)) if names is None else tuple(str(name) for name in names)
