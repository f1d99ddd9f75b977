"""How numbers are written in figures, tables and pages, so that the same value reads the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10
from typing import Literal

from codesign.evaluation.record import AccuracyRecord

__all__ = ["accuracy_text", "count_text", "percent_text", "share_text", "short_names", "shorten", "significant"]


def significant(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, integer digits never dropped: 1234.5 -> "1,234", 0.01234 -> "0.0123".

    Below 1e-4 in size the scientific form is used.
    """
    if value == 0:
        return "0"
    size = floor(log10(abs(value)))
    if size < -4:
        return f"{value:.{digits - 1}e}"
    rounded = round(value, digits - 1 - size)
    size = floor(log10(abs(rounded)))  # 9.996 has become 10.0: one decimal less
    return f"{rounded:,.{max(0, digits - 1 - size)}f}" if size < digits else f"{round(value):,}"


def count_text(value: float) -> str:
    """A count in full with thousands separators: 1234567 -> "1,234,567"."""
    return f"{value:,}" if isinstance(value, int) else significant(value)


def percent_text(share: float, decimals: int = 1) -> str:
    """A share in 0..1 as per cent without the sign: 0.9123 -> "91.2"."""
    return f"{100 * share:.{decimals}f}"


def accuracy_text(accuracy: AccuracyRecord) -> str:
    """Accuracy with its interval, per cent: "91.2 [89.2, 92.9]"."""
    return f"{percent_text(accuracy.value)} [{percent_text(accuracy.low)}, {percent_text(accuracy.high)}]"


def share_text(share: float) -> str:
    """A share in 0..1 as whole per cent, where a small one is never written as nothing: 0.002 -> "<1 %"."""
    return "<1 %" if 0 < share < 0.005 else f"{percent_text(share, 0)} %"


def shorten(name: str, width: int = 26, cut: Literal["middle", "start"] = "middle") -> str:
    """``name`` on one line and at most ``width`` characters long, its middle or its start left out."""
    line = " ".join(name.split())
    if len(line) <= width:
        return line
    tail = (width - 1) // 2 if cut == "middle" else width - 1
    return f"{line[: width - 1 - tail]}…{line[len(line) - tail :]}"


def short_names(names: Iterable[str], width: int, cut: Literal["middle", "start"] = "middle") -> dict[str, str]:
    """Short forms of different names that stay different: numbered in order where shortening would make two alike."""
    every = list(dict.fromkeys(names))
    short = {name: shorten(name, width, cut) for name in every}
    if len(set(short.values())) == len(every):
        return short
    digits = len(str(len(every)))
    return {name: f"{i}: {shorten(name, width - digits - 2, cut)}" for i, name in enumerate(every, start=1)}
