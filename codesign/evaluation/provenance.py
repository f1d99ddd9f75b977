"""What a result depends on: hashes of the files that were read, and versions of the programs that read them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from codesign import __version__

__all__ = ["file_hashes", "program_versions"]


def file_hashes(source: Any) -> Iterator[dict[str, str]]:
    """Every file that a source names with its hash, wherever in the source it stands."""
    if isinstance(source, dict):
        if "sha256" in source:
            yield {"path": str(source.get("path") or source.get("folder")), "sha256": str(source["sha256"])}
        files = source.get("files")
        if isinstance(files, dict):  # name -> hash; an image folder has one hash over all and only their number here
            yield from ({"path": str(name), "sha256": str(digest)} for name, digest in files.items())
        for value in source.values():
            yield from file_hashes(value)
    elif isinstance(source, list | tuple):
        for value in source:
            yield from file_hashes(value)


def program_versions() -> dict[str, str]:
    """By name."""
    return {
        "codesign": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
