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
from typing import Any, TypeVar, cast

import numba
from numba.core import config

__all__ = ["compiled", "inner"]

_Function = TypeVar("_Function", bound=Callable[..., object])
_HERE = Path(__file__).parent


def _matters(path: Path) -> bool:
    """Whether machine code depends on a module: what it compiles, or the constants that are part of that."""
    return path.stem.endswith("layout") or "mapper.compiled import" in path.read_text(encoding="utf-8")


@cache
def _folder() -> Path | None:
    """Where machine code is kept: below NUMBA_CACHE_DIR or the user's cache folder; None if neither can be written."""
    sources = sorted(path for path in _HERE.glob("*.py") if _matters(path))
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
    return _compiled(function, {})


def inner(function: _Function) -> _Function:
    """The same for a function that makes no array: its arguments are then not reference-counted, which takes half of
    the time of a small one. Dividing by zero gives infinities instead of an error.
    """
    return _compiled(function, {"_nrt": False, "error_model": "numpy"})


def _compiled(function: _Function, options: dict[str, Any]) -> _Function:
    folder, before = _folder(), config.CACHE_DIR  # type: ignore[attr-defined]
    try:
        config.CACHE_DIR = "" if folder is None else str(folder)  # type: ignore[attr-defined]
        return cast(_Function, numba.njit(cache=folder is not None, nogil=True, **options)(function))
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
