"""What is known of a tensor's nonzeros before any tile is looked at (Sparseloop's density models)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DENSE", "Banded", "Density", "FixedStructured", "Hypergeometric"]


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


Density = FixedStructured | Hypergeometric | Banded

DENSE = FixedStructured(1.0)
