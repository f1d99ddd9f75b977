"""What several commands share: options that every one has, and the check of files that they are told to write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from codesign.errors import InputError

__all__ = ["QuietOption", "UnusedSeedOption", "check_output_file"]

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
UnusedSeedOption = Annotated[int, typer.Option(help="Accepted by every command; this one draws nothing at random.")]


def check_output_file(path: Path | None, key: str) -> None:
    """Raise InputError unless a file can be written at ``path``: said before the work, not after it."""
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{key} must be a file", got="a folder", path=path, key=key, fix="add the name of a file")
    if not folder.is_dir():
        raise InputError("the folder of the file must exist", got=str(folder), path=path, key=key, fix="make it first")
    if not os.access(folder, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError("the file must be writable", path=path, key=key)
