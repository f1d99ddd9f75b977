"""Refusals of parameters that attacks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from codesign.errors import InputError

__all__ = ["check_counts", "check_numbers"]


def check_counts(counts: Mapping[str, object], least: int = 1) -> None:
    """Raise InputError unless each value is an integer >= ``least``."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer >= {least}", got=value, key=name)


def check_numbers(numbers: Mapping[str, object], low: float = 0.0, high: float = float("inf")) -> None:
    """Raise InputError unless each value is a finite number, above ``low`` and at most ``high``."""
    for name, value in numbers.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not number or not low < value <= high:  # type: ignore[operator]
            bound = f"> {low:g}" + (f" and <= {high:g}" if isfinite(high) else "")
            raise InputError(f"{name} must be a finite number {bound}", got=value, key=name)
