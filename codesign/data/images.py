"""A labelled set of images, as every data reader returns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ImageSet"]


@dataclass(frozen=True)
class ImageSet:
    """Images and labels in memory.

    Args:
        name: the data set's name.
        images: uint8, shape (n, channels, height, width); pixel 255 is 1.0 of a model's input.
        labels: int64, shape (n,), in 0 .. number of classes - 1.
        class_names: one a class.
        source: where it comes from, for the record: folder or file names, sha256, licence.
    """

    name: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"ImageSet {self.name}: images must be uint8 (n, c, h, w) (got {self.images.dtype} {self.images.shape})"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.images),):
            raise ValueError(
                f"ImageSet {self.name}: labels must be int64 ({len(self.images)},) "
                f"(got {self.labels.dtype} {self.labels.shape})"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"ImageSet {self.name}: labels must be in 0..{len(self.class_names) - 1} "
                f"(got {self.labels.min()}..{self.labels.max()})"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: npt.NDArray[np.int64]) -> ImageSet:
        """The images at ``indices``, in that order."""
        return ImageSet(self.name, self.images[indices], self.labels[indices], self.class_names, self.source)
