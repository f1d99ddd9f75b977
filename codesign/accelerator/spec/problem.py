"""The workload as Timeloop sees it: a perfectly nested loop over dimensions and the dataspaces that it touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from codesign.accelerator.spec.density import DENSE, Density

__all__ = ["Box", "Dataspace", "Problem", "Term"]

Box = tuple[tuple[int, int], ...]
"""An axis-aligned box: one half-open interval (low, high) a rank."""


@dataclass(frozen=True, slots=True)
class Term:
    """One addend of a rank's coordinate: ``coefficient * index(dimension)``."""

    dimension: int
    coefficient: int = 1


@dataclass(frozen=True, slots=True)
class Dataspace:
    """A tensor: its name and, for each rank, the sum of terms that gives the coordinate (Timeloop's projection)."""

    name: str
    ranks: tuple[tuple[Term, ...], ...]
    read_write: bool = False

    def __post_init__(self) -> None:
        if not self.ranks or any(not rank for rank in self.ranks):
            raise ValueError(f"Dataspace {self.name}: every rank needs at least one term (got {self.ranks!r})")

    @property
    def dimensions(self) -> frozenset[int]:
        """Indices of the problem dimensions that this tensor depends on."""
        return frozenset(term.dimension for rank in self.ranks for term in rank)

    def tile(self, low: Sequence[int], high: Sequence[int]) -> Box:
        """Bounding box of the points that the iterations ``low..high`` (inclusive, one value a dimension) touch."""
        box = []
        for rank in self.ranks:
            first = last = 0
            for term in rank:
                a, b = term.coefficient * low[term.dimension], term.coefficient * high[term.dimension]
                first, last = (first + a, last + b) if term.coefficient >= 0 else (first + b, last + a)
            box.append((first, last + 1))
        return tuple(box)

    def tile_size(self, extents: Sequence[int]) -> int:
        """Words in the bounding box of ``extents[d]`` consecutive iterations of every dimension d."""
        return prod(
            1 + sum(abs(term.coefficient) * (extents[term.dimension] - 1) for term in rank) for rank in self.ranks
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """A layer: dimensions with their bounds (the order is the dimension id), dataspaces, densities.

    Args:
        name: name of the shape or of the layer.
        dimensions: one-character names, as the real program requires.
        bounds: iterations of each dimension, aligned with ``dimensions``.
        dataspaces: the tensors; the dataspace id is the position.
        densities: aligned with ``dataspaces``; dense where empty.
    """

    name: str
    dimensions: tuple[str, ...]
    bounds: tuple[int, ...]
    dataspaces: tuple[Dataspace, ...]
    densities: tuple[Density, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.densities:
            object.__setattr__(self, "densities", (DENSE,) * len(self.dataspaces))
        if len(self.bounds) != len(self.dimensions) or len(self.densities) != len(self.dataspaces):
            raise ValueError(f"Problem {self.name}: one bound a dimension and one density a dataspace are needed")
        for names, kind in ((self.dimensions, "dimension"), ([d.name for d in self.dataspaces], "dataspace")):
            if len(set(names)) != len(names):
                raise ValueError(f"Problem {self.name}: {kind} names must differ (got {list(names)!r})")
        for dimension, bound in zip(self.dimensions, self.bounds, strict=True):
            if len(dimension) != 1:
                raise ValueError(f"Problem {self.name}: a dimension's name is one character (got {dimension!r})")
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise TypeError(f"Problem {self.name}: bound of {dimension} must be an integer (got {bound!r})")
            if bound < 1:
                raise ValueError(f"Problem {self.name}: bound of {dimension} must be at least 1 (got {bound!r})")
        for dataspace in self.dataspaces:
            if max(dataspace.dimensions) >= len(self.dimensions):
                raise ValueError(f"Problem {self.name}: {dataspace.name} uses a dimension that does not exist")

    @property
    def macs(self) -> int:
        """Multiply-accumulates: the product of all bounds."""
        return prod(self.bounds)

    def dataspace(self, name: str) -> Dataspace:
        """The dataspace of that name; KeyError if there is none."""
        for dataspace in self.dataspaces:
            if dataspace.name == name:
                return dataspace
        raise KeyError(name)

    def tensor_size(self, dataspace: Dataspace) -> int:
        """Words of the whole tensor (its bounding box)."""
        return dataspace.tile_size(self.bounds)
