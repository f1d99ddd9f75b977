"""Compilation of the batch evaluator's inner loops (numba), typed for the checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """The function as machine code: cached on disk, without the interpreter lock, with IEEE arithmetic as written."""
    return cast(_Function, njit(cache=True, nogil=True)(function))
