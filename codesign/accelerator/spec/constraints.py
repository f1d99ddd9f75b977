"""What an architecture's constraints leave free, for one problem: the input of a mapper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Constraints", "FactorLimit", "LevelConstraints", "LoopConstraints"]


@dataclass(frozen=True, slots=True)
class FactorLimit:
    """``factor(dimension) relation value``, e.g. R = 3 or C <= 4."""

    dimension: int
    relation: Literal["=", "<=", ">="]
    value: int


@dataclass(frozen=True, slots=True)
class LoopConstraints:
    """Constraints of one loop block (temporal or spatial). Permutation parts run from the innermost loop outwards.

    ``inner`` are the dimensions fixed innermost, ``outer`` those fixed outermost; the rest may lie between them in
    any order. ``split`` (spatial only) is the number of innermost loops that lie on mesh X.
    """

    factors: tuple[FactorLimit, ...] = ()
    inner: tuple[int, ...] = ()
    outer: tuple[int, ...] = ()
    split: int | None = None


@dataclass(frozen=True, slots=True)
class LevelConstraints:
    """Constraints of one storage level; ``keep[d]`` is True (keep), False (bypass) or None (free) per dataspace id."""

    keep: tuple[bool | None, ...]
    temporal: LoopConstraints = field(default_factory=LoopConstraints)
    spatial: LoopConstraints = field(default_factory=LoopConstraints)
    no_temporal_reuse: frozenset[int] = frozenset()
    no_multicast: frozenset[int] = frozenset()
    no_link_transfer: frozenset[int] = frozenset()
    no_coalesce: frozenset[int] = frozenset()
    rmw_first_update: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Constraints:
    """One entry per storage level of the architecture, innermost first.

    ``min_parallelism`` is the smallest share of all fan-outs together that the spatial loops must use (0: none).
    """

    levels: tuple[LevelConstraints, ...]
    min_parallelism: float = 0.0
