"""Kinds of values that settings share: pixels, counts and sizes, as a flag or a YAML file writes them."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field

__all__ = ["Count", "Pixels", "Size", "parse_fraction"]


def parse_fraction(value: object) -> object:
    """``"8/255"`` as a float; anything else is left to the validator."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise ValueError("must be a number or a fraction such as 8/255") from error
    return value


def _no_truth_value(value: object) -> object:
    """YAML's true is no 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Pixels = Annotated[float, BeforeValidator(parse_fraction), BeforeValidator(_no_truth_value)]
"""A distance of pixel values, 1 being white minus black."""

Count = Annotated[int, BeforeValidator(_no_truth_value)]
Size = Annotated[Count, Field(ge=1)]
