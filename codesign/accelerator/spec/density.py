"""What is known of a tensor's nonzeros before any tile is looked at (Sparseloop's density models)."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.accelerator.spec.actual_data import ActualData

__all__ = ["DENSE", "ActualData", "Banded", "Density", "FixedStructured", "Hypergeometric", "StructuredNM", "Vectors"]


def _check_share(kind: str, density: float) -> None:
    if not isinstance(density, int | float) or isinstance(density, bool):
        raise TypeError(f"{kind}: density must be a number (got {density!r})")
    if not 0.0 <= density <= 1.0:
        raise ValueError(f"{kind}: density must be in [0, 1] (got {density!r})")


@dataclass(frozen=True, slots=True)
class FixedStructured:
    """Every tile holds the same share of nonzeros (``fixed_structured``, alias ``fixed``)."""

    density: float = 1.0

    def __post_init__(self) -> None:
        _check_share("FixedStructured", self.density)


@dataclass(frozen=True, slots=True)
class Hypergeometric:
    """Nonzeros lie uniformly at random in the whole tensor; a tile's occupancy is a draw without replacement."""

    density: float

    def __post_init__(self) -> None:
        _check_share("Hypergeometric", self.density)


@dataclass(frozen=True, slots=True)
class Banded:
    """A square matrix whose nonzeros are the ``2 * band_width + 1`` central diagonals."""

    band_width: int

    def __post_init__(self) -> None:
        if self.band_width < 0:
            raise ValueError(f"Banded: band_width must not be negative (got {self.band_width!r})")


@dataclass(frozen=True, slots=True)
class StructuredNM:
    """N:M structure: of every ``m`` consecutive words along a rank exactly ``n`` are ones, at random places.

    Groups are independent of each other. ``rank`` is the rank of the dataspace (for Outputs that of the channels).
    """

    n: int
    m: int
    rank: int

    def __post_init__(self) -> None:
        if not 0 <= self.n <= self.m or self.m < 1:
            raise ValueError(f"StructuredNM: 0 <= n <= m and m >= 1 are needed (got {self.n}:{self.m})")
        if self.rank < 0:
            raise ValueError(f"StructuredNM: rank must not be negative (got {self.rank!r})")

    @property
    def density(self) -> float:
        """Share of ones."""
        return self.n / self.m


@dataclass(frozen=True, slots=True)
class Vectors:
    """Groups of ``length`` consecutive words along a rank are ones or zeros together, at random places."""

    density: float
    length: int
    rank: int

    def __post_init__(self) -> None:
        _check_share("Vectors", self.density)
        if self.length < 1 or self.rank < 0:
            raise ValueError(
                f"Vectors: length must be at least 1 and rank not negative (got {self.length}, {self.rank})"
            )


Density = FixedStructured | Hypergeometric | Banded | ActualData | StructuredNM | Vectors

DENSE = FixedStructured(1.0)
