"""Data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from codesign.data.idx import FASHION_MNIST, MNIST, read_idx_set
from codesign.data.images import ImageSet

__all__ = ["load_dataset"]


def load_dataset(name: str, *, data_dir: Path | None = None, split: Literal["train", "test"] = "test") -> ImageSet:
    """A data set by name (interim: more formats follow)."""
    return read_idx_set({"mnist": MNIST, "fashion_mnist": FASHION_MNIST}[name], data_dir, split)
