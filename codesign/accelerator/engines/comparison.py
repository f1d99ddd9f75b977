"""Two engines' answers to the same case, quantity by quantity; recorded answers of the real program count as one.

Counts and cycles must be equal. Energies may differ by what printing with two decimals takes away (0.01 pJ for each
printed number that is part of it) and by a millionth; the utilisation by half of its last printed digit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.errors import InputError

__all__ = ["Comparison", "Quantity", "Row", "compare", "read_recorded", "summarise"]

_FATES = ("algorithmic", "actual", "gated", "skipped")
_COUNTS = (
    *(f"{fate}_{kind}" for kind in ("reads", "fills", "updates") for fate in _FATES),
    "temporal_reductions",
    "utilized_capacity",
)
_PRINTED_pJ = 0.011
_PRINTED_UTILIZATION = 6e-5
_RELATIVE = 1e-6


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of both answers. ``name`` is the same at every level; ``place`` says which level and dataspace."""

    name: str
    place: str
    first: float
    second: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """True if the two differ by no more than the tolerance (NaN agrees with nothing)."""
        return abs(self.first - self.second) <= self.tolerance

    @property
    def relative(self) -> float:
        """Difference over the larger of the two; infinite where one is not finite."""
        if not (math.isfinite(self.first) and math.isfinite(self.second)):
            return math.inf
        largest = max(abs(self.first), abs(self.second))
        return abs(self.first - self.second) / largest if largest else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case: all quantities, or why the answers cannot be compared number by number."""

    case: str
    quantities: tuple[Quantity, ...] = ()
    disagreement: str | None = None

    @property
    def agrees(self) -> bool:
        """True if both call the mapping illegal, or all quantities agree."""
        return self.disagreement is None and all(quantity.agrees for quantity in self.quantities)

    @property
    def differences(self) -> tuple[Quantity, ...]:
        """The quantities that do not agree, largest relative difference first."""
        found = (quantity for quantity in self.quantities if not quantity.agrees)
        return tuple(sorted(found, key=lambda quantity: -quantity.relative))


def compare(case: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Comparison:
    """Compare two answers in the form of the ``codesign simulate`` contract.

    A level or dataspace that only one has is compared with zeros: Timeloop leaves out what does nothing.
    """
    legal = bool(first.get("legal")), bool(second.get("legal"))
    if legal[0] != legal[1]:
        told = [answer.get("message", "no reason given") for answer in (first, second) if not answer.get("legal")]
        which = "first" if legal[1] else "second"
        return Comparison(case, disagreement=f"only the {which} calls the mapping illegal: {told[0]}")
    if not legal[0]:
        return Comparison(case, disagreement=_reasons(first, second))
    return Comparison(case, tuple(_quantities(first, second)))


def _reasons(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Two refusals agree if they name the same level, demand and capacity, as far as both say."""
    for key in ("level", "demand", "capacity"):
        a, b = first.get(key), second.get(key)
        if a is not None and b is not None and a != b:
            return f"both call the mapping illegal, but {key} is {a} for the first and {b} for the second"
    return None


def _quantities(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Quantity]:
    levels = list(dict.fromkeys([*first["levels"], *second["levels"]]))
    spaces = {
        level: list(
            dict.fromkeys(ds for answer in (first, second) for ds in _at(answer, "levels", level, "dataspaces"))
        )
        for level in levels
    }
    parts = 1 + sum(1 + len(found) for found in spaces.values())

    def number(answer: Mapping[str, Any], *path: str) -> float:
        value = _at(answer, *path)
        return float(value) if isinstance(value, int | float) else 0.0

    def pair(name: str, tolerance: float, *path: str, relative: float = 0.0) -> Quantity:
        a, b = number(first, *path), number(second, *path)
        place = ".".join(part for part in path[:-1] if part not in ("levels", "dataspaces", "computes"))
        return Quantity(name, place, a, b, tolerance + relative * abs(b))

    yield pair("cycles", 0, "cycles")
    yield pair("energy_pJ", 0.01 * parts, "energy_pJ", relative=_RELATIVE)
    yield pair("utilization", _PRINTED_UTILIZATION, "utilization")
    for fate in _FATES:
        yield pair(f"computes {fate}", 0, "computes", fate)
    yield pair("computes energy_pJ", _PRINTED_pJ, "computes", "energy_pJ", relative=_RELATIVE)
    for level in levels:
        yield pair("level cycles", 0, "levels", level, "cycles")
        yield pair("level leakage_pJ", _PRINTED_pJ, "levels", level, "leakage_pJ", relative=_RELATIVE)
        for space in spaces[level]:
            path = ("levels", level, "dataspaces", space)
            for count in _COUNTS:
                yield pair(count, 0, *path, count)
            yield pair("access energy_pJ", _PRINTED_pJ, *path, "energy_pJ", relative=_RELATIVE)


def _at(answer: Mapping[str, Any], *path: str) -> Any:
    found: Any = answer
    for key in path:
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity over all cases."""

    name: str
    compared: int
    different: int
    largest_relative: float
    where: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "quantity": self.name,
            "compared": self.compared,
            "different": self.different,
            "largest_relative_difference": self.largest_relative if math.isfinite(self.largest_relative) else None,
            "where": self.where,
        }


def summarise(comparisons: Iterable[Comparison]) -> tuple[Row, ...]:
    """One row a quantity: how many numbers were compared, how many differ, and where by how much the most."""
    rows: dict[str, Row] = {}
    for comparison in comparisons:
        for quantity in comparison.quantities:
            old = rows.get(quantity.name, Row(quantity.name, 0, 0, 0.0, ""))
            worst, where = old.largest_relative, old.where
            if quantity.relative > worst and not quantity.agrees:
                worst, where = quantity.relative, f"{comparison.case}: {quantity.place}".rstrip(": ")
            rows[quantity.name] = Row(
                quantity.name, old.compared + 1, old.different + (not quantity.agrees), worst, where
            )
    return tuple(rows.values())


def read_recorded(folder: Path) -> Mapping[str, Any]:
    """The answer in the ``expected.json`` of a case's folder.

    Raises:
        InputError: there is none, it is not JSON, or it is not an answer.
    """
    path = folder / "expected.json"
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("a recorded case needs its answer", path=path, fix="name a folder of recorded cases") from None
    except (ValueError, OSError) as error:
        raise InputError(f"the recorded answer must be JSON: {error}", path=path) from error
    if not isinstance(answer, dict) or not isinstance(answer.get("legal"), bool):
        raise InputError("a recorded answer has a key `legal`, true or false", path=path)
    if answer["legal"] and not (isinstance(answer.get("levels"), dict) and isinstance(answer.get("computes"), dict)):
        raise InputError("the recorded answer of a legal mapping has `levels` and `computes`", path=path)
    return answer
