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
    compat: bool

    @classmethod
    def of(cls, dataspace: Dataspace, problem: Problem, width: int, *, compat: bool) -> BandedModel:
        """The model of a dataspace; InputError unless it is a square matrix."""
        extents = [1 + sum(abs(t.coefficient) * (problem.bounds[t.dimension] - 1) for t in r) for r in dataspace.ranks]
        if len(extents) != 2 or extents[0] != extents[1]:
            raise InputError(
                "a banded density needs a square matrix",
                got=f"extents {extents}",
                key=f"problem.instance.densities.{dataspace.name}",
                fix="use fixed_structured or hypergeometric",
            )
        return cls(extents[0], width, compat)

    @property
    def density(self) -> float:
        """Share of nonzeros in the whole matrix."""
        nonzeros = self.size + sum(2 * (self.size - u) for u in range(1, min(self.width, self.size - 1) + 1))
        return nonzeros / (self.size * self.size)

    def occupancies(self, tile: Sequence[int]) -> Occupancies:
        """Distribution over the aligned tile positions."""
        from codesign.accelerator.model.density_models import Occupancies

        look = _sampled_positions if self.compat else _all_positions
        rows, columns = (min(extent, self.size) for extent in tile)
        bins = look(self.size, self.width, rows, columns)
        counts = tuple(sorted(count for count, positions in bins if positions))
        positions = dict(bins)
        total = (self.size // rows) * (self.size // columns)
        # In compat mode the shares may add up to more than 1, as they do in the real program.
        return Occupancies(counts, tuple(positions[count] / total for count in counts))

    def least(self, tile: Sequence[int]) -> int:
        """Nonzeros of the emptiest tile; the real program always has a bin of empty ones."""
        return 0 if self.compat else self.occupancies(tile).counts[0]

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
def _all_positions(size: int, width: int, rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """(nonzeros, number of aligned tiles that hold as many): every row of tiles is looked at."""
    _check_cost(size * (2 * width / columns + 2), width, rows, columns)
    row_groups, column_groups = size // rows, size // columns
    bins: dict[int, int] = {}
    for group in range(row_groups):
        top = group * rows
        first = max(0, top - width) // columns
        last = min(column_groups - 1, (top + rows - 1 + width) // columns)
        bins[0] = bins.get(0, 0) + column_groups - (last - first + 1)
        for index in range(first, last + 1):
            nonzeros = _nonzeros(width, top, rows, index * columns, columns)
            bins[nonzeros] = bins.get(nonzeros, 0) + 1
    return tuple(sorted(bins.items()))


@lru_cache(maxsize=256)
def _sampled_positions(size: int, width: int, rows: int, columns: int) -> tuple[tuple[int, int], ...]:
    """The same as the real program counts it.

    Rows of tiles that the band has not left the left edge of count twice (for those at the bottom too), all between
    count as the first of them: too many where the two kinds overlap, and inexact where tiles are not square.
    """
    _check_cost((width + rows) * (2 * width / columns + 2), width, rows, columns)
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
            nonzeros = _nonzeros(width, top, rows, left, columns)
            bins[nonzeros] = bins.get(nonzeros, 0) + weight
    return tuple(sorted(bins.items()))


def _nonzeros(width: int, top: int, rows: int, left: int, columns: int) -> int:
    return sum(
        max(0, min(left + columns, row + width + 1) - max(left, row - width, 0)) for row in range(top, top + rows)
    )


def _check_cost(visits: float, width: int, rows: int, columns: int) -> None:
    if visits > _MOST_VISITS:
        raise InputError(
            "not modelled: a band so wide, looked at through tiles so small",
            got=f"band_width {width}, tiles of {rows} x {columns}",
            fix="use a hypergeometric density for this tensor",
        )
