"""Tiles of a banded square matrix: occupancies by looking at the aligned tile positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.accelerator.model.density_models import Occupancies

__all__ = ["BandedModel"]

_MOST_VISITS = 20_000_000


@dataclass(frozen=True, slots=True)
class BandedModel:
    """A square matrix of ``size`` rows whose nonzeros lie at most ``width`` beside the diagonal."""

    size: int
    width: int

    @classmethod
    def of(cls, dataspace: Dataspace, problem: Problem, width: int) -> BandedModel:
        """The model of a dataspace; InputError unless it is a square matrix."""
        extents = [1 + sum(abs(t.coefficient) * (problem.bounds[t.dimension] - 1) for t in r) for r in dataspace.ranks]
        if len(extents) != 2 or extents[0] != extents[1]:
            raise InputError(
                "a banded density needs a square matrix",
                got=f"extents {extents}",
                key=f"problem.instance.densities.{dataspace.name}",
                fix="use fixed_structured or hypergeometric",
            )
        return cls(extents[0], width)

    @property
    def density(self) -> float:
        """Share of nonzeros in the whole matrix."""
        nonzeros = self.size + sum(2 * (self.size - u) for u in range(1, min(self.width, self.size - 1) + 1))
        return nonzeros / (self.size * self.size)

    def occupancies(self, tile: Sequence[int]) -> Occupancies:
        """Distribution over the aligned tile positions."""
        from codesign.accelerator.model.density_models import Occupancies

        bins = _positions(self.size, self.width, tile[0], tile[1])
        counts = tuple(sorted(count for count, positions in bins if positions))
        positions = dict(bins)
        total = (self.size // tile[0]) * (self.size // tile[1])
        return Occupancies(counts, tuple(positions[count] / total for count in counts))

    def least(self, tile: Sequence[int]) -> int:  # noqa: ARG002 - part of the protocol
        """The real program's bin of empty tiles always exists, so its smallest occupancy is 0."""
        return 0

    def most(self, tile: Sequence[int]) -> int:
        """Nonzeros of the fullest aligned tile."""
        return max(self.occupancies(tile).counts)

    def empty(self, tile: Sequence[int]) -> float:
        """Share of empty tiles."""
        occupancies = self.occupancies(tile)
        return occupancies.probabilities[0] if occupancies.counts[0] == 0 else 0.0

    def empty_given(self, tile: Sequence[int], words: int, nonzeros: Sequence[int]) -> list[float]:
        """Not modelled: a compressed banded tensor."""
        raise InputError(
            "not modelled: compression metadata of a banded tensor",
            got=f"tile {tuple(tile)} in {words} words, {len(nonzeros)} occupancies",
            fix="use a hypergeometric density for this tensor",
        )


@lru_cache(maxsize=256)
def _positions(size: int, width: int, rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """(nonzeros, number of aligned tiles that hold as many).

    Tiles of the first rows differ until the band has left the left edge (``warm`` row groups); by symmetry the last
    ones are like them; all between are counted like one of them.
    """
    if (width / rows + 1) * (2 * width / columns + 2) * rows > _MOST_VISITS:
        raise InputError(
            "not modelled: a band so wide, looked at through tiles so small",
            got=f"band_width {width}, tiles of {rows} x {columns}",
            fix="use a hypergeometric density for this tensor",
        )
    row_groups, column_groups = size // rows, size // columns
    warm = ceil(width / rows)
    steady = max(row_groups - 2 * warm, 0)
    bins: dict[int, int] = {}
    for group in range(min(warm, row_groups - 1) + 1):
        weight = steady if group == warm else (2 if warm != row_groups else 1)
        top = group * rows
        for index in range(column_groups):
            left = index * columns
            if left > top + rows - 1 + width:
                bins[0] = bins.get(0, 0) + (column_groups - index) * weight
                break
            nonzeros = sum(
                max(0, min(left + columns, row + width + 1) - max(left, row - width, 0))
                for row in range(top, top + rows)
            )
            bins[nonzeros] = bins.get(nonzeros, 0) + weight
    return tuple(sorted(bins.items()))
