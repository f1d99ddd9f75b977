"""CACTI 7 points of on-chip SRAM, interpolated in log space.

Source: R. Balasubramonian, A. B. Kahng, N. Muralimanohar, A. Shafiee, V. Srinivas, "CACTI 7: New tools for
interconnect exploration in innovative off-chip memories", ACM TACO 14(2), 2017, doi:10.1145/3085572. The points were
made by running it through Accelergy's CACTI plug-in (itrs-lstp cells, 300 K, one read-write port); see data/README.md.

Original rows (technology nm, width bits, depth, banks: read pJ, write pJ, leak W, area um2):
    45, 64, 4096, 2: 14.3315, 13.4185, 9.43194e-07, 111222
    45, 32, 1024, 2: 2.17523, 3.70925, 1.28694e-07, 14066.8

How a size between the points is found: in each characterised technology the logarithm of each quantity is bilinear in
log(width) and log(depth); between two technologies the quantities themselves are linear, as in Accelergy. CACTI picks
the organisation of the array anew for every size, so its curves have steps; docs/energy.md gives the measured error.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median

__all__ = ["SOURCE", "CactiTable", "Quantities", "cacti_table"]

SOURCE = (
    "CACTI 7 (Balasubramonian et al., ACM TACO 14(2), 2017, doi:10.1145/3085572), itrs-lstp cells, "
    "run through Accelergy's CACTI plug-in"
)

Key = tuple[int, int, int, int]
"""Technology in nm, width in bits, depth in words, banks."""

Quantities = tuple[float, float, float, float]
"""Read energy in pJ, write energy in pJ, leakage of all banks in W, area in um2."""

_COLUMNS = ("read_energy_pJ", "write_energy_pJ", "leak_power_W", "area_um2")


@dataclass(frozen=True)
class CactiTable:
    """The characterised points; ``logs`` holds natural logarithms of the quantities."""

    logs: Mapping[Key, Quantities]

    @property
    def technologies_nm(self) -> tuple[int, ...]:
        """Characterised nodes, smallest first."""
        return self._axis(0)

    @property
    def widths(self) -> tuple[int, ...]:
        """Characterised widths in bits, smallest first."""
        return self._axis(1)

    @property
    def banks(self) -> tuple[int, ...]:
        """Characterised numbers of banks."""
        return self._axis(3)

    def depths(self, banks: int) -> tuple[int, ...]:
        """Characterised depths with that many banks, smallest first."""
        return tuple(sorted({key[2] for key in self.logs if key[3] == banks}))

    def at(self, technology_nm: int, width: float, depth: float, banks: int) -> Quantities:
        """Quantities at a characterised technology and a width and depth inside the characterised range."""
        corners = [0.0, 0.0, 0.0, 0.0]
        for (w, share_w), (d, share_d) in product(_around(self.widths, width), _around(self.depths(banks), depth)):
            values = self._point((technology_nm, w, d, banks))
            corners = [total + share_w * share_d * value for total, value in zip(corners, values, strict=True)]
        return _quantities(math.exp(value) for value in corners)

    def from_siblings(self, key: Key) -> Quantities:
        """Logarithms at a grid point told from other points only: the same size in other technologies and with other
        numbers of banks, each shifted by the median difference that the eight neighbouring sizes show.

        CACTI mostly picks the same organisation for the same size, so this tells a missing point better than its
        neighbours in size would. Raises ValueError if no other point has that size.
        """
        technology, width, depth, banks = key
        told = [
            estimate
            for other in self._same_size(key)
            if (estimate := self._shifted(key, other)) is not None and other != key
        ]
        if not told:
            raise ValueError(f"CactiTable: nothing tells {technology} nm, {width} x {depth}, {banks} banks")
        return _quantities(median(values) for values in zip(*told, strict=True))

    def _point(self, key: Key) -> Quantities:
        return self.logs[key] if key in self.logs else self.from_siblings(key)

    def _axis(self, index: int) -> tuple[int, ...]:
        return tuple(sorted({key[index] for key in self.logs}))

    def _same_size(self, key: Key) -> Iterator[Key]:
        technology, width, depth, banks = key
        for other in [(t, width, depth, banks) for t in self.technologies_nm if t != technology]:
            if other in self.logs:
                yield other
        for other in [(technology, width, depth, b) for b in self.banks if b != banks]:
            if other in self.logs:
                yield other

    def _shifted(self, key: Key, other: Key) -> Quantities | None:
        """``other``'s logarithms plus the median step from other's technology and banks to key's nearby."""
        steps = []
        for (width, depth), frame in product(_neighbours(key), self._frames(key, other)):
            here = (frame[0][0], width, depth, frame[0][1])
            there = (frame[1][0], width, depth, frame[1][1])
            if here != key and here in self.logs and there in self.logs:
                steps.append([a - b for a, b in zip(self.logs[here], self.logs[there], strict=True)])
        if not steps:
            return None
        shift = [median(values) for values in zip(*steps, strict=True)]
        return _quantities(value + step for value, step in zip(self.logs[other], shift, strict=True))

    def _frames(self, key: Key, other: Key) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """((technology, banks) here, the same there) along which the step from ``other`` to ``key`` can be seen."""
        if key[0] != other[0]:
            return [((key[0], banks), (other[0], banks)) for banks in self.banks]
        return [((technology, key[3]), (technology, other[3])) for technology in self.technologies_nm]


@cache
def cacti_table() -> CactiTable:
    """The points that ship with the package."""
    with (Path(__file__).parent / "data" / "cacti_sram.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return CactiTable(
        {
            (int(row["technology_nm"]), int(row["width_bits"]), int(row["depth"]), int(row["n_banks"])): _quantities(
                math.log(float(row[column])) for column in _COLUMNS
            )
            for row in rows
        }
    )


def _around(axis: tuple[int, ...], value: float) -> tuple[tuple[int, float], ...]:
    """(characterised value, weight) of the one or two around ``value``; linear in the logarithm."""
    if value in axis:
        return ((int(value), 1.0),)
    if not axis[0] < value < axis[-1]:
        raise ValueError(f"CactiTable: {value!r} lies outside {axis[0]}..{axis[-1]}")
    upper = bisect_right(axis, value)
    low, high = axis[upper - 1], axis[upper]
    share = math.log(value / low) / math.log(high / low)
    return ((low, 1 - share), (high, share))


def _neighbours(key: Key) -> list[tuple[int, int]]:
    """The size itself and the eight around it (half, same, double in width and depth)."""
    return [
        (width, depth) for width in (key[1] // 2, key[1], key[1] * 2) for depth in (key[2] // 2, key[2], key[2] * 2)
    ]


def _quantities(values: Iterator[float]) -> Quantities:
    read, write, leak, area = values
    return (read, write, leak, area)
