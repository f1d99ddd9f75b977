"""How many nonzeros a tile holds: the distributions behind the densities of ``spec.density``.

A tile is given by its extents along the ranks of the tensor. "Given" means: the tile lies inside a larger tile of
``words`` words of which exactly ``nonzeros`` are not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import NamedTuple, Protocol

from codesign.accelerator.model.banded import BandedModel
from codesign.accelerator.model.hypergeometric import (
    empty_probabilities,
    empty_probability,
    occupancy_probabilities,
)
from codesign.accelerator.spec.density import Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError

__all__ = ["DensityModel", "Occupancies", "density_model", "density_models"]


class Occupancies(NamedTuple):
    """Numbers of nonzeros in ascending order with their probabilities (all positive)."""

    counts: Sequence[int]
    probabilities: Sequence[float]


class DensityModel(Protocol):
    """The distribution of one tensor's nonzeros."""

    @property
    def density(self) -> float:
        """Share of nonzeros of a single word."""
        ...

    def occupancies(self, tile: Sequence[int]) -> Occupancies:
        """Distribution of a tile's nonzeros."""
        ...

    def least(self, tile: Sequence[int]) -> int:
        """Smallest possible number of nonzeros."""
        ...

    def most(self, tile: Sequence[int]) -> int:
        """Largest possible number of nonzeros."""
        ...

    def empty(self, tile: Sequence[int]) -> float:
        """Probability that the tile holds no nonzero."""
        ...

    def empty_given(self, tile: Sequence[int], words: int, nonzeros: Sequence[int]) -> list[float]:
        """The same inside a tile of known occupancy, for each of several (successive) occupancies."""
        ...


@dataclass(frozen=True, slots=True)
class _FixedModel:
    """Every tile has the same share, up to rounding: the two integers around it occur."""

    density: float

    def occupancies(self, tile: Sequence[int]) -> Occupancies:
        expected = prod(tile) * self.density
        low, part = floor(expected), expected - floor(expected)
        if part == 0:
            return Occupancies((low,), (1.0,))
        return Occupancies((low, low + 1), (1 - part, part))

    def least(self, tile: Sequence[int]) -> int:
        words = prod(tile)
        return floor(floor(words * self.density) / words * words)  # in doubles, as the real program

    def most(self, tile: Sequence[int]) -> int:
        return ceil(prod(tile) * self.density)

    def empty(self, tile: Sequence[int]) -> float:
        return max(0.0, 1 - prod(tile) * self.density)

    def empty_given(self, tile: Sequence[int], words: int, nonzeros: Sequence[int]) -> list[float]:
        return [max(0.0, 1 - prod(tile) * count / words) for count in nonzeros]


@dataclass(frozen=True, slots=True)
class _HypergeometricModel:
    """``nonzeros`` of ``words`` lie anywhere, all arrangements being equally likely.

    In compat mode the smallest occupancy of a tile that cannot be empty (but is not the whole tensor) is what the real
    program takes for it: 0, because an unsigned difference wraps around; and for tiles of certain sizes n, those with
    ``1 / n * n < 1`` in doubles, so much that no occupancy is left at all.
    """

    words: int
    nonzeros: int
    compat: bool

    @property
    def density(self) -> float:
        return self.nonzeros / self.words

    def occupancies(self, tile: Sequence[int]) -> Occupancies:
        words = prod(tile)
        if self.compat and self._wraps(words) and 1 / words * words < 1:
            return Occupancies((), ())
        first, probabilities = occupancy_probabilities(self.words, self.nonzeros, words)
        return Occupancies(tuple(range(first, first + len(probabilities))), probabilities)

    def least(self, tile: Sequence[int]) -> int:
        words = prod(tile)
        if self.compat and self._wraps(words):
            return 0
        return max(0, words - (self.words - self.nonzeros))

    def _wraps(self, words: int) -> bool:
        return self.words - self.nonzeros < words < self.words

    def most(self, tile: Sequence[int]) -> int:
        return min(prod(tile), self.nonzeros)

    def empty(self, tile: Sequence[int]) -> float:
        return empty_probability(self.words, self.nonzeros, prod(tile))

    def empty_given(self, tile: Sequence[int], words: int, nonzeros: Sequence[int]) -> list[float]:
        return empty_probabilities(words, nonzeros[0], len(nonzeros), prod(tile))


def density_models(problem: Problem, *, compat: bool) -> tuple[DensityModel, ...]:
    """One model a dataspace.

    Args:
        compat: with the real program's mistakes (see ``_HypergeometricModel``).

    Raises:
        InputError: a banded density on a tensor that is no square matrix.
    """
    return tuple(density_model(problem, index, compat=compat) for index in range(len(problem.dataspaces)))


def density_model(problem: Problem, dataspace_id: int, *, compat: bool) -> DensityModel:
    """The model of one dataspace; arguments and errors as of ``density_models``."""
    dataspace, density = problem.dataspaces[dataspace_id], problem.densities[dataspace_id]
    if isinstance(density, FixedStructured):
        return _FixedModel(density.density)
    if isinstance(density, Banded):
        return BandedModel.of(dataspace, problem, density.band_width, compat=compat)
    if isinstance(density, Hypergeometric):
        words = problem.tensor_size(dataspace)
        return _HypergeometricModel(words, ceil(density.density * words), compat)
    raise InputError(
        f"not modelled here: the density of {dataspace.name}",
        got=repr(density),
        key=f"problem.instance.densities.{dataspace.name}",
        fix="actual data needs clean semantics; N:M and vector structure are for the mask over Outputs",
    )
