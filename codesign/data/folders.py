"""Images in one folder a class (the layout of ImageNet and of torchvision's ``ImageFolder``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from codesign.data.images import ImageSet
from codesign.errors import InputError, did_you_mean

__all__ = ["FolderOptions", "parse_folder_name", "read_image_folder"]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
_SPLIT_FOLDERS = {"train": ("train",), "test": ("test", "val")}


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """How images become arrays of one size. By default nothing is resized and all images must have one size.

    Args:
        resize: bring the shorter side to so many pixels (bilinear with antialiasing, as Pillow does it).
        crop: cut the middle square of so many pixels.
        channels: 3 (RGB) or 1 (grey); images are converted.
        per_class: read only so many images of each class, the first by name.
    """

    resize: int | None = None
    crop: int | None = None
    channels: int = 3
    per_class: int | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "crop", "per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"FolderOptions: {name} must be at least 1 (got {value})")
        if self.channels not in {1, 3}:
            raise ValueError(f"FolderOptions: channels must be 1 or 3 (got {self.channels})")


def parse_folder_name(text: str) -> tuple[Path, FolderOptions]:
    """``PATH?resize=256&crop=224`` as a path and options."""
    place, _, query = text.partition("?")
    known = [field.name for field in fields(FolderOptions)]
    values: dict[str, int] = {}
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        if key not in known:
            raise InputError("unknown option of imagefolder", got=key, key="--data", fix=did_you_mean(key, known))
        if not value.isdecimal() or int(value) < 1:
            raise InputError(f"{key} of imagefolder must be a positive integer", got=value, key="--data")
        values[key] = int(value)
    if values.get("channels", 3) not in {1, 3}:
        raise InputError("channels of imagefolder must be 1 or 3", got=values["channels"], key="--data")
    return Path(place), FolderOptions(**values)


def read_image_folder(folder: Path, options: FolderOptions, split: Literal["train", "test"]) -> ImageSet:
    """All images of ``folder/<split>/<class>/``; classes in alphabetical order.

    The test split is ``folder/test`` or ``folder/val``; a folder without any of these three holds the classes
    themselves and is a test split. Images are in the order of their paths.
    """
    root = _split_folder(folder, split)
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError("an image folder must hold one folder a class", got="no folders", path=root, key="--data")
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise InputError("every class folder must hold images", got="none", path=root / name, key="--data")
        chosen = found[: options.per_class]
        paths += chosen
        labels += [label] * len(chosen)
    digest = hashlib.sha256()
    images = _read_images(paths, root, options, digest)
    source = {
        "split": split,
        "folder": str(root),
        "files": len(paths),
        "sha256": digest.hexdigest(),
        "options": {field.name: getattr(options, field.name) for field in fields(options)},
    }
    return ImageSet(folder.name, images, np.asarray(labels, dtype=np.int64), tuple(classes), source)


def _split_folder(folder: Path, split: Literal["train", "test"]) -> Path:
    if not folder.is_dir():
        raise InputError("the image folder must exist", got="no such folder", path=folder, key="--data")
    split_folders = [folder / name for name in _SPLIT_FOLDERS[split] if (folder / name).is_dir()]
    if split_folders:
        return split_folders[0]
    has_splits = any((folder / name).is_dir() for names in _SPLIT_FOLDERS.values() for name in names)
    if split == "test" and not has_splits:
        return folder
    raise InputError(
        f"the image folder must hold a folder {' or '.join(_SPLIT_FOLDERS[split])} for the {split} split",
        got=", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "an empty folder",
        path=folder,
        key="--data",
    )


def _read_images(paths: list[Path], root: Path, options: FolderOptions, digest: Any) -> npt.NDArray[np.uint8]:
    """All images; ``digest`` takes in every file's relative path and content."""
    stack: npt.NDArray[np.uint8] | None = None
    for i, path in enumerate(paths):
        image = _read_image(path, options)
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        if stack is None:
            stack = np.empty((len(paths), *image.shape), np.uint8)
        if image.shape != stack.shape[1:]:
            raise InputError(
                "all images must have one size",
                got=f"{image.shape[1:]} here, {stack.shape[2:]} in {paths[0].relative_to(root)}",
                path=path,
                key="--data",
                fix="say how to resize: imagefolder:PATH?resize=256&crop=224",
            )
        stack[i] = image
    return cast("npt.NDArray[np.uint8]", stack)


def _read_image(path: Path, options: FolderOptions) -> npt.NDArray[np.uint8]:
    """One image as (channels, height, width)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB" if options.channels == 3 else "L")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            "the image must be complete and of a known format", got=str(error), path=path, fix="get it again"
        ) from error
    if options.resize is not None:
        scale = options.resize / min(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    if options.crop is not None:
        if min(image.size) < options.crop:
            raise InputError(
                f"the image must have at least {options.crop} pixels on either side to be cropped",
                got=f"{image.height} x {image.width}",
                path=path,
                key="--data",
                fix=f"add resize={options.crop} or more",
            )
        left, top = (image.width - options.crop) // 2, (image.height - options.crop) // 2
        image = image.crop((left, top, left + options.crop, top + options.crop))
    pixels = np.asarray(image, np.uint8)
    return pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[None]
