"""Reads timeloop-model's ``stats.txt``: every count exactly, energies to the two decimals that it prints.

The text has one block a level (``=== name ===`` with SPECS, STATS and one block a dataspace), one block a network, and
a summary. Dense and sparse runs use different labels for the same things; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["StatsError", "TextDataspace", "TextLevel", "TextStats", "read_stats_text"]

_LEVEL = re.compile(r"^=== (?P<name>.+) ===$")
_LINE = re.compile(r"^\s*(?P<label>\S.*?)\s*:\s(?P<value>.*)$")
_DATASPACE = re.compile(r"^ {4}(?P<name>\S.*):$")
_NETWORK = re.compile(r"^(?P<name>\S.* <==> .*)$")
_NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_COUNT = re.compile(r"\d+(?![\d.eE])")
_KINDS = ("reads", "fills", "updates")


class StatsError(ValueError):
    """The file is not what the program writes; the message says what is missing or odd."""


@dataclass(frozen=True, slots=True)
class TextDataspace:
    """A kept dataspace at a level: counts per instance, energies over all instances in pJ."""

    counts: Mapping[str, int]
    temporal_reductions: int
    utilized_capacity: int
    utilized_instances: float
    energy_pJ: float
    reduction_pJ: float
    address_pJ: float


@dataclass(frozen=True, slots=True)
class TextLevel:
    """A storage level."""

    cycles: int
    leakage_pJ: float
    slowdown: float
    instances: int
    dataspaces: Mapping[str, TextDataspace]


@dataclass(frozen=True, slots=True)
class TextStats:
    """The whole file. ``networks_pJ`` is by the network's name ("outer <==> inner")."""

    cycles: int
    compute_cycles: int
    algorithmic_computes: int
    actual_computes: int
    gated_computes: int
    skipped_computes: int
    compute_pJ: float
    compute_instances: int
    levels: Mapping[str, TextLevel]
    networks_pJ: Mapping[str, float]


def read_stats_text(text: str, compute: str) -> TextStats:
    """Read the file.

    Args:
        text: its contents.
        compute: name of the compute level.

    Raises:
        StatsError: a part or a label is missing, or a number is none.
    """
    body, _, summary = text.partition("\nOperational Intensity Stats")
    buffers, _, networks = body.partition("\nNetworks\n")
    blocks = dict(_blocks(buffers, _LEVEL))
    if compute not in blocks:
        raise StatsError(f"it has no block of the compute level {compute} (blocks: {', '.join(blocks) or 'none'})")
    unit = _Block(compute, blocks.pop(compute))
    algorithmic = unit.count("Algorithmic Computes (total)", "Computes (total)")
    sparse = unit.has("Actual Computes (total)")
    return TextStats(
        cycles=_Block("Summary Stats", summary.splitlines()).count("Cycles"),
        compute_cycles=unit.count("Cycles"),
        algorithmic_computes=algorithmic,
        actual_computes=unit.count("Actual Computes (total)") if sparse else algorithmic,
        gated_computes=unit.count("Gated Computes (total)") if sparse else 0,
        skipped_computes=unit.count("Skipped Computes (total)") if sparse else 0,
        compute_pJ=unit.number("Energy (total)"),
        compute_instances=unit.count("Instances"),
        levels={name: _level(name, lines) for name, lines in blocks.items()},
        networks_pJ={name: _network_pJ(name, lines) for name, lines in _blocks(networks, _NETWORK)},
    )


class _Block:
    """Labelled lines of one block; of lines with the same label the first counts."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self._name = name
        self._values: dict[str, str] = {}
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                self._values.setdefault(match["label"], match["value"])

    def has(self, label: str) -> bool:
        """True if there is a line of that label."""
        return label in self._values

    def number(self, *labels: str) -> float:
        """The number behind the first label that is there; StatsError if there is none or it is not finite."""
        text = self._text(labels)
        match = _NUMBER.match(text)
        if match is None:
            raise StatsError(f"{self._name}: `{labels[0]}` is {text!r}, not a finite number")
        return float(match[0])

    def count(self, *labels: str) -> int:
        """As ``number``; an exact integer."""
        text = self._text(labels)
        match = _COUNT.match(text)
        if match is None:
            raise StatsError(f"{self._name}: `{labels[0]}` is {text!r}, not a count")
        return int(match[0])

    def _text(self, labels: Sequence[str]) -> str:
        for label in labels:
            if label in self._values:
                return self._values[label]
        raise StatsError(f"{self._name}: it has no line `{labels[0]}`")


def _blocks(text: str, heading: re.Pattern[str]) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of each block that begins with a heading."""
    name, lines = None, list[str]()
    for line in text.splitlines():
        match = heading.match(line)
        if match is None:
            lines.append(line)
            continue
        if name is not None:
            yield name, lines
        name, lines = match["name"], []
    if name is not None:
        yield name, lines


def _level(name: str, lines: Sequence[str]) -> TextLevel:
    text = "\n".join(lines)
    specs, _, stats = text.partition("\n    STATS\n")
    first = _Block(name, [*specs.splitlines(), *stats.splitlines()])
    return TextLevel(
        cycles=first.count("Cycles"),
        leakage_pJ=first.number("Leakage energy (total)"),
        slowdown=first.number("Bandwidth throttling"),
        instances=first.count("Instances"),
        dataspaces={ds: _dataspace(_Block(f"{name}: {ds}", part)) for ds, part in _blocks(stats, _DATASPACE)},
    )


def _dataspace(block: _Block) -> TextDataspace:
    counts = {}
    for kind in _KINDS:
        plain = f"Scalar {kind} (per-instance)"
        for fate in ("Algorithmic", "Actual", "Gated", "Skipped"):
            label = f"{fate} scalar {kind} (per-instance)"
            # A dense run does all its accesses, and prints them once.
            dense = block.has(plain)
            if dense:
                counts[f"{fate.lower()}_{kind}"] = block.count(plain) if fate in ("Algorithmic", "Actual") else 0
            else:
                counts[f"{fate.lower()}_{kind}"] = block.count(label)
    return TextDataspace(
        counts=counts,
        temporal_reductions=block.count("Temporal reductions (per-instance)"),
        utilized_capacity=block.count("Max utilized data storage capacity", "Utilized capacity"),
        utilized_instances=block.number("Utilized instances (average)", "Utilized instances (max)"),
        energy_pJ=block.number("Energy (total)"),
        reduction_pJ=block.number("Temporal Reduction Energy (total)"),
        address_pJ=block.number("Address Generation Energy (total)"),
    )


def _network_pJ(name: str, lines: Sequence[str]) -> float:
    """Hops, links and spatial reductions of all dataspaces."""
    total = 0.0
    for dataspace, part in _blocks("\n".join(lines), _DATASPACE):
        block = _Block(f"{name}: {dataspace}", part)
        total += block.number("Energy (total)")
        # Only the inferred networks have these.
        for label in ("Link transfer energy (total)", "Spatial Reduction Energy (total)"):
            total += block.number(label) if block.has(label) else 0.0
    return total
