"""A user's own figures from a CSV file, as estimators like any other.

One row an action::

    class,attributes,action,energy,energy_unit,area,area_unit,source
    my_SRAM,width=64;depth=512;technology=28nm,read,3.2,pJ,5200,um2,"foundry compiler, slow corner"
    my_SRAM,width=64;depth=512;technology=28nm,write,3.9,pJ,,,
    my_SRAM,width=64;depth=512;technology=28nm,leak,12,uW,,,

A row holds for a component of the class whose attributes have the listed values; of several rows the one with the most
attributes counts. Nothing is scaled or interpolated: a component that no row describes is an error. ``leak`` is an
energy per cycle or a power (times ``global_cycle_seconds``). The area of one instance stands in any row of a component;
write 0 where it is not to be counted. ``area``, ``area_unit``, ``source`` and ``confidence`` may be left out as columns
if all areas are given elsewhere; the file's name is the source then.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import cast, get_args

from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator, Figure
from codesign.accelerator.spec.energy_table import Confidence, Provenance
from codesign.errors import InputError, did_you_mean

__all__ = ["read_user_table"]

_REQUIRED = ("class", "attributes", "action", "energy", "energy_unit")
_OPTIONAL = ("area", "area_unit", "source", "confidence")
_ENERGY_pJ = MappingProxyType({"fJ": 1e-3, "pJ": 1.0, "nJ": 1e3, "uJ": 1e6, "mJ": 1e9, "J": 1e12})
_POWER_W = MappingProxyType({"nW": 1e-9, "uW": 1e-6, "mW": 1e-3, "W": 1.0})
_AREA_um2 = MappingProxyType({"um2": 1.0, "um^2": 1.0, "mm2": 1e6, "mm^2": 1e6})


@dataclass(frozen=True, slots=True)
class _Row:
    """One action of the components that ``attributes`` describe; a leak may be a power (``watts``)."""

    attributes: Mapping[str, str]
    action: str
    energy_pJ: float | None
    watts: float | None
    area_um2: float | None
    provenance: Provenance
    line: int


@dataclass(frozen=True)
class _TableEstimator:
    """The estimator of one class of a file."""

    path: Path
    name: str
    rows: tuple[_Row, ...] = field(repr=False)

    def __call__(self, component: Component) -> ComponentEstimate:
        """The figures of the rows that describe the component."""
        matching = [row for row in self.rows if _describes(row, component)]
        if not matching:
            raise InputError(
                f"no row of the table describes this {self.name}",
                got=_told(component, self.rows),
                path=self.path,
                key=component.name,
                fix=f"the nearest is {_nearest(component, self.rows)}; nothing is scaled, so add rows for this one",
            )
        energies, areas = {}, []
        for action in dict.fromkeys(row.action for row in matching):
            row = self._most_specific([row for row in matching if row.action == action], action)
            value = row.energy_pJ
            if value is None:
                value = (row.watts or 0.0) * component.cycle_seconds * 1e12
            energies[action] = Figure(value, row.provenance)
        for row in sorted(matching, key=lambda row: -len(row.attributes)):
            if row.area_um2 is not None:
                areas.append(Figure(row.area_um2, row.provenance))
        if not areas:
            raise InputError(
                f"no row of this {self.name} gives its area",
                path=self.path,
                key=f"{component.name}.area",
                fix="add area and area_unit to one of its rows (0 if it is not to be counted)",
            )
        return ComponentEstimate(energies, areas[0])

    def _most_specific(self, rows: Sequence[_Row], action: str) -> _Row:
        most = max(len(row.attributes) for row in rows)
        best = [row for row in rows if len(row.attributes) == most]
        if len(best) > 1:
            lines = " and ".join(str(row.line) for row in best)
            raise InputError(
                f"two rows describe the {action} of this {self.name} equally well", got=f"lines {lines}", path=self.path
            )
        return best[0]


def read_user_table(path: Path) -> Mapping[str, Estimator]:
    """The estimators of all classes in a CSV file: ``estimate(..., estimators={**BUILTIN, **read_user_table(path)})``.

    Raises:
        InputError: the file cannot be read, a column is missing or unknown, a number or a unit is not valid.
    """
    classes: dict[str, list[_Row]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_columns(reader.fieldnames or (), path)
            for row in reader:
                name = _cell(row, "class", path, reader.line_num)
                classes.setdefault(name, []).append(_row(row, path, reader.line_num))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the energy table must be a CSV file: {error}", path=path) from error
    if not classes:
        raise InputError("the energy table has no rows", path=path)
    return MappingProxyType({name: _TableEstimator(path, name, tuple(rows)) for name, rows in classes.items()})


def _check_columns(names: Iterable[str], path: Path) -> None:
    given = tuple(names)
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise InputError(
            "the energy table lacks columns", got=", ".join(missing), path=path, line=1, fix=f"needed: {_REQUIRED}"
        )
    for name in given:
        if name not in (*_REQUIRED, *_OPTIONAL):
            raise InputError(
                "a column must be known",
                got=name,
                path=path,
                line=1,
                fix=did_you_mean(name, (*_REQUIRED, *_OPTIONAL)),
            )


def _row(row: Mapping[str, str | None], path: Path, line: int) -> _Row:
    if None in row or None in row.values():
        raise InputError("every row needs as many cells as there are columns", path=path, line=line)
    action = _cell(row, "action", path, line)
    number = _number(row, "energy", path, line)
    unit = _cell(row, "energy_unit", path, line)
    power = action == "leak" and unit in _POWER_W
    if not power and unit not in _ENERGY_pJ:
        known = (*_ENERGY_pJ, *_POWER_W) if action == "leak" else tuple(_ENERGY_pJ)
        raise InputError(
            f"the unit of {action} must be one of {', '.join(known)}", got=unit, path=path, line=line, key="energy_unit"
        )
    area = None
    if (row.get("area") or "").strip():
        area_unit = _cell(row, "area_unit", path, line)
        if area_unit not in _AREA_um2:
            raise InputError(
                f"the unit of an area must be one of {', '.join(_AREA_um2)}",
                got=area_unit,
                path=path,
                line=line,
                key="area_unit",
            )
        area = _number(row, "area", path, line) * _AREA_um2[area_unit]
    return _Row(
        attributes=_attributes(row["attributes"] or "", path, line),
        action=action,
        energy_pJ=None if power else number * _ENERGY_pJ[unit],
        watts=number * _POWER_W[unit] if power else None,
        area_um2=area,
        provenance=_provenance(row, path, line, "leakage power x global_cycle_seconds" if power else "none"),
        line=line,
    )


def _provenance(row: Mapping[str, str | None], path: Path, line: int, scaling: str) -> Provenance:
    source = (row.get("source") or "").strip()
    confidence = (row.get("confidence") or "").strip() or "user"
    if confidence not in get_args(Confidence):
        raise InputError(
            f"confidence must be one of {', '.join(get_args(Confidence))}", got=confidence, path=path, line=line
        )
    place = f"{path.name}, line {line}"
    return Provenance(f"{source} ({place})" if source else place, scaling, cast(Confidence, confidence))


def _cell(row: Mapping[str, str | None], column: str, path: Path, line: int) -> str:
    text = (row.get(column) or "").strip()
    if not text:
        raise InputError(f"{column} must not be empty", path=path, line=line, key=column)
    return text


def _number(row: Mapping[str, str | None], column: str, path: Path, line: int) -> float:
    text = _cell(row, column, path, line)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{column} must be a finite number of at least 0", got=text, path=path, line=line, key=column)
    return value


def _attributes(text: str, path: Path, line: int) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not (name and sign and value) or name in found:
            raise InputError(
                "attributes are written as width=64;depth=512", got=part, path=path, line=line, key="attributes"
            )
        found[name] = value
    return MappingProxyType(found)


def _describes(row: _Row, component: Component) -> bool:
    return all(_same(key, value, component.attributes.get(key)) for key, value in row.attributes.items())


def _same(key: str, written: str, given: object) -> bool:
    """Equal as numbers where both are numbers (a technology with or without "nm"), else as text."""
    if given is None or isinstance(given, bool):
        return given is not None and written.lower() == str(given).lower()
    texts = [written, str(given)]
    if key == "technology":
        texts = [text.removesuffix("nm") for text in texts]
    try:
        return math.isclose(float(texts[0]), float(texts[1]), rel_tol=1e-9)
    except ValueError:
        return texts[0] == texts[1]


def _told(component: Component, rows: Sequence[_Row]) -> str:
    keys = dict.fromkeys(key for row in rows for key in row.attributes)
    return "; ".join(f"{key}={component.attributes.get(key, 'not given')}" for key in keys)


def _nearest(component: Component, rows: Sequence[_Row]) -> str:
    """The row of which most attributes agree."""

    def agreeing(row: _Row) -> int:
        return sum(_same(key, value, component.attributes.get(key)) for key, value in row.attributes.items())

    row = max(rows, key=agreeing)
    return f"{'; '.join(f'{key}={value}' for key, value in row.attributes.items())} (line {row.line})"
