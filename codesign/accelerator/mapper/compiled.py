"""Compilation of the batch evaluator's inner loops (numba), typed for the checker.

The machine code is kept in a folder named after the content of all compiled modules: numba itself looks at the file
of a function only, and would run old code after an upgrade that changed what the function calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar, cast

import numba
from numba.core import config

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])
_HERE = Path(__file__).parent


@cache
def _folder() -> Path | None:
    """Where machine code is kept: below NUMBA_CACHE_DIR or the user's cache folder; None if neither can be written."""
    sources = sorted(path for path in _HERE.glob("*.py") if "compiled" in path.read_text(encoding="utf-8"))
    content = sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "codesign" / f"{numba.__version__}-{content}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def compiled(function: _Function) -> _Function:
    """The function as machine code: cached on disk, without the interpreter lock, with IEEE arithmetic as written."""
    folder, before = _folder(), config.CACHE_DIR  # type: ignore[attr-defined]
    try:
        config.CACHE_DIR = "" if folder is None else str(folder)  # type: ignore[attr-defined]
        return cast(_Function, numba.njit(cache=folder is not None, nogil=True)(function))
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
