"""Reads what ``map+stats.xml`` holds in full precision: energies, average instances, slowdowns.

The file is a Boost archive. Counts are read from ``stats.txt``, which has them exactly; leakage and networks' totals
are not in the archive at all. Boost numbers classes in order of appearance, so levels are told by their fields: a
storage has ``stats_``, the compute has ``energy_``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from codesign.accelerator.engines.timeloop.stats_text import StatsError

__all__ = ["XmlDataspace", "XmlLevel", "XmlStats", "read_stats_xml"]

_FIELDS = (
    "keep",
    "reads",
    "fills",
    "updates",
    "utilized_instances",
    "utilized_clusters",
    "energy",
    "temporal_reduction_energy",
    "addr_gen_energy",
)


@dataclass(frozen=True, slots=True)
class XmlDataspace:
    """A dataspace that a level keeps; energies per utilised instance, ``address_pJ`` per cluster."""

    reads: int
    fills: int
    updates: int
    utilized_instances: float
    utilized_clusters: int
    energy_pJ: float
    reduction_pJ: float
    address_pJ: float


@dataclass(frozen=True, slots=True)
class XmlLevel:
    """A storage level; ``dataspaces`` in the order of the problem, None for one that is not kept."""

    cycles: int
    slowdown: float
    dataspaces: tuple[XmlDataspace | None, ...]


@dataclass(frozen=True, slots=True)
class XmlStats:
    """The archive's levels, and the energy of the computes in pJ."""

    compute_pJ: float
    levels: Mapping[str, XmlLevel]


def read_stats_xml(text: str, dataspaces: int) -> XmlStats:
    """Read the archive.

    Args:
        text: its contents.
        dataspaces: how many the problem has.

    Raises:
        StatsError: it is not XML, a field is missing, or a number is not finite.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise StatsError(f"it is not XML: {error}") from error
    compute_pJ, levels = None, {}
    for item in root.findall("./engine/topology_/levels_/item"):
        level = _child(item, "px")
        if level.find("stats_") is not None:
            name = _text(_child(_child(_child(level, "specs_"), "LevelSpecs"), "level_name"))
            levels[name] = _level(name, _child(level, "stats_"), dataspaces)
        else:
            compute_pJ = _number(_child(level, "energy_"), "the compute's energy_")
    if compute_pJ is None or not levels:
        raise StatsError("it has no compute level or no storage level")
    return XmlStats(compute_pJ, levels)


def _level(name: str, stats: ElementTree.Element, dataspaces: int) -> XmlLevel:
    def column(field: str) -> list[str]:
        items = _child(_child(stats, field), "PerDataSpace").findall("item")
        if len(items) < dataspaces:
            raise StatsError(f"{name}: {field} has {len(items)} entries, the problem has {dataspaces} dataspaces")
        return [_text(item) for item in items]

    columns = {field: column(field) for field in _FIELDS}
    return XmlLevel(
        cycles=_integer(_text(_child(stats, "cycles")), f"{name}: cycles"),
        slowdown=_number(_child(stats, "slowdown"), f"{name}: slowdown"),
        dataspaces=tuple(
            _dataspace(f"{name}: dataspace {index}", {field: columns[field][index] for field in _FIELDS})
            for index in range(dataspaces)
        ),
    )


def _dataspace(place: str, row: Mapping[str, str]) -> XmlDataspace | None:
    if row["keep"] in ("0", "false"):
        return None
    return XmlDataspace(
        reads=_integer(row["reads"], f"{place}: reads"),
        fills=_integer(row["fills"], f"{place}: fills"),
        updates=_integer(row["updates"], f"{place}: updates"),
        utilized_instances=_finite(row["utilized_instances"], f"{place}: utilized_instances"),
        utilized_clusters=_integer(row["utilized_clusters"], f"{place}: utilized_clusters"),
        energy_pJ=_finite(row["energy"], f"{place}: energy"),
        reduction_pJ=_finite(row["temporal_reduction_energy"], f"{place}: temporal_reduction_energy"),
        address_pJ=_finite(row["addr_gen_energy"], f"{place}: addr_gen_energy"),
    )


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(tag)
    if found is None:
        raise StatsError(f"<{element.tag}> has no <{tag}>")
    return found


def _text(element: ElementTree.Element) -> str:
    return (element.text or "").strip()


def _number(element: ElementTree.Element, what: str) -> float:
    return _finite(_text(element), what)


def _finite(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise StatsError(f"{what} is {text!r}, not a number") from None
    if not math.isfinite(value):
        raise StatsError(f"{what} is {text}, not a finite number")
    return value


def _integer(text: str, what: str) -> int:
    if not text.isdigit():
        raise StatsError(f"{what} is {text!r}, not a count")
    return int(text)
