"""How full the tiles of a structured tensor are: N:M groups, and vectors of ones or zeros.

A tile covers a run of channels (the rank that the structure lies along) at some positions. Tiles lie at multiples of
their own width, so that groups may be cut; all places are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, comb, prod

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.density_models import Occupancies
from codesign.accelerator.model.hypergeometric import empty_probability, occupancy_probabilities
from codesign.accelerator.spec.density import StructuredNM, Vectors
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError

__all__ = ["StructuredTiles"]


@dataclass(frozen=True, slots=True)
class StructuredTiles:
    """Tiles of one dataspace of a problem with such a density.

    Raises:
        InputError: the structure lies along a rank that is no single dimension, or its groups do not divide it.
    """

    density: StructuredNM | Vectors
    dataspace: Dataspace
    channels: int
    words: int

    @classmethod
    def of(cls, density: StructuredNM | Vectors, problem: Problem, dataspace: Dataspace) -> StructuredTiles:
        rank = dataspace.ranks[density.rank]
        if len(rank) != 1 or rank[0].coefficient != 1:
            raise InputError(
                f"the structure of {dataspace.name} must lie along a rank that is one dimension",
                got=f"rank {density.rank}",
                key=f"problem.instance.densities.{dataspace.name}",
            )
        return cls(density, dataspace, problem.bounds[rank[0].dimension], problem.tensor_size(dataspace))

    @property
    def _group(self) -> int:
        return self.density.m if isinstance(self.density, StructuredNM) else self.density.length

    @property
    def _ones(self) -> int:
        """Vectors of ones in the tensor."""
        assert isinstance(self.density, Vectors)
        return ceil(self.density.density * (self.words // self.density.length))

    @property
    def share(self) -> float:
        """Share of ones in the tensor."""
        if isinstance(self.density, StructuredNM):
            return self.density.density
        return self._ones * self.density.length / self.words

    def _places(self, box: Sequence[int]) -> tuple[int, list[tuple[int, ...]]]:
        """Positions of a tile, and for every place along the channels how many of each touched group it covers."""
        width = box[self.dataspace.ranks[self.density.rank][0].dimension]
        positions = self.dataspace.tile_size(box) // width
        places = []
        for start in range(0, self.channels, width):
            touched = np.bincount(np.arange(start, start + width) // self._group)
            places.append(tuple(int(count) for count in touched[touched > 0]))
        return positions, places

    def empty(self, box: Sequence[int]) -> float:
        """Probability that a tile holds no one."""
        positions, places = self._places(box)
        return sum(self._empty_at(positions, covered) for covered in places) / len(places)

    def _empty_at(self, positions: int, covered: tuple[int, ...]) -> float:
        if isinstance(self.density, Vectors):
            return empty_probability(self.words // self._group, self._ones, positions * len(covered))
        n, m = self.density.n, self.density.m
        return prod(comb(m - count, n) / comb(m, n) for count in covered) ** positions

    def most(self, box: Sequence[int]) -> int:
        """Ones of the fullest tile that there can be."""
        positions, places = self._places(box)
        if isinstance(self.density, StructuredNM):
            return positions * max(sum(min(count, self.density.n) for count in covered) for covered in places)
        return max(self._fullest(positions, covered) for covered in places)

    def _fullest(self, positions: int, covered: tuple[int, ...]) -> int:
        """The vectors of ones that there are lie where most of them is covered."""
        whole = sorted(covered * positions, reverse=True)
        return sum(whole[: self._ones])

    def occupancies(self, box: Sequence[int]) -> Occupancies:
        """Distribution over all tiles.

        Raises:
            InputError: a tile cuts vectors into pieces of different lengths.
        """
        positions, places = self._places(box)
        total = np.zeros(self.dataspace.tile_size(box) + 1)
        for covered in places:
            at = (
                self._nm_at(positions, covered)
                if isinstance(self.density, StructuredNM)
                else self._vectors_at(positions, covered)
            )
            total[: len(at)] += at / len(places)
        found = np.flatnonzero(total)
        return Occupancies(tuple(int(k) for k in found), tuple(float(total[k]) for k in found))

    def _nm_at(self, positions: int, covered: tuple[int, ...]) -> npt.NDArray[np.float64]:
        assert isinstance(self.density, StructuredNM)
        n, m = self.density.n, self.density.m
        parts = (
            np.array([comb(count, k) * comb(m - count, n - k) / comb(m, n) for k in range(min(count, n) + 1)])
            for count in covered
        )
        return _power(reduce(np.convolve, parts), positions)

    def _vectors_at(self, positions: int, covered: tuple[int, ...]) -> npt.NDArray[np.float64]:
        if len(set(covered)) > 1:
            raise InputError(
                f"not modelled: vectors of {self.dataspace.name} that a tile cuts into pieces of different lengths",
                got=f"vectors of {self._group}, pieces of {sorted(set(covered))}",
                key="mapping",
                fix="choose tiles whose channels divide the vectors, or are a multiple of them",
            )
        first, chances = occupancy_probabilities(self.words // self._group, self._ones, positions * len(covered))
        found = np.zeros(covered[0] * positions * len(covered) + 1)
        for number, chance in enumerate(chances):
            found[covered[0] * (first + number)] = chance
        return found


def _power(chances: npt.NDArray[np.float64], times: int) -> npt.NDArray[np.float64]:
    """The distribution of a sum of independent draws."""
    found = np.ones(1)
    while times:
        if times & 1:
            found = np.convolve(found, chances)
        times >>= 1
        chances = np.convolve(chances, chances) if times else chances
    return found
