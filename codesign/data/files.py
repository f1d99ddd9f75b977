"""Finding and reading data files: where a set was looked for, what is missing, and hashes for the record."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.errors import InputError

__all__ = ["DEFAULT_DATA_DIR", "FoundFile", "find_folder", "read_bytes"]

# Where data sets are looked for when no folder is given: relative to the working directory, and named in every message.
DEFAULT_DATA_DIR = Path("data")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that was read: its path, its content (decompressed) and the sha256 of the file as it lies on disk."""

    path: Path
    content: bytes
    sha256: str


def find_folder(
    data_set: str, data_dir: Path | None, folders: Sequence[str], files: Sequence[Sequence[str]], origin: str
) -> tuple[Path, list[Path]]:
    """The first candidate folder that holds at least one of a set's files, and the path of each file in it.

    Args:
        data_set: name of the set, for the message.
        data_dir: where to look; ``DEFAULT_DATA_DIR`` if None.
        folders: candidate folders relative to ``data_dir``, in order of preference ("." is ``data_dir`` itself).
        files: for every file that is needed, its accepted names in order of preference.
        origin: the official place to get the set from.

    Raises:
        InputError: the folder is missing, or one or several files are; all missing files are listed.
    """
    root = DEFAULT_DATA_DIR if data_dir is None else data_dir
    wanted = ", ".join(" or ".join(names) for names in files)
    for folder in (root / name for name in folders):
        present = [next((folder / name for name in names if (folder / name).is_file()), None) for names in files]
        if not any(present):
            continue
        missing = [" or ".join(names) for names, path in zip(files, present, strict=True) if path is None]
        if missing:
            raise InputError(
                f"{data_set} needs {wanted}",
                got=f"missing: {', '.join(missing)}",
                path=folder,
                fix=f"get the missing files from {origin}",
            )
        return folder, [path for path in present if path is not None]
    looked = ", ".join(str(root / name) if name != "." else str(root) for name in folders)
    raise InputError(
        f"{data_set} needs {wanted}",
        got=f"none of them in {looked}",
        key="--data-dir",
        fix=f"nothing is downloaded: get them from {origin}, and name their folder with --data-dir",
    )


def read_bytes(path: Path) -> FoundFile:
    """The content of a file; ``.gz`` is decompressed. Raises InputError where it is unreadable or truncated."""
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise InputError("the file must be readable", got=error.strerror or str(error), path=path) from error
    content = stored
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(stored)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                "the file must be a complete gzip file",
                got=f"{len(stored)} bytes, {error}",
                path=path,
                fix="it is truncated or damaged; get it again",
            ) from error
    return FoundFile(path, content, hashlib.sha256(stored).hexdigest())
