"""How much metadata a tile of known occupancy needs, rank by rank (see ``formats`` for the ranks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from codesign.accelerator.model.density_models import DensityModel
from codesign.accelerator.model.formats import Layout
from codesign.accelerator.spec.problem import Dataspace
from codesign.accelerator.spec.sparse import Format

__all__ = ["Occupied", "Units", "tile_metadata"]


@dataclass(frozen=True, slots=True)
class Units:
    """Metadata and payload words of one rank."""

    metadata: float = 0.0
    payload: float = 0.0


class Occupied(NamedTuple):
    """Metadata and payload words of one rank, for each of several numbers of nonzeros."""

    metadata: Sequence[float]
    payload: Sequence[float]


def tile_metadata(
    layout: Layout, dataspace: Dataspace, model: DensityModel, words: int, nonzeros: Sequence[int]
) -> list[Occupied]:
    """Metadata of a tile of ``words`` words, for each of several successive numbers of nonzeros.

    Returns:
        one entry a rank, lowest first.
    """
    top = len(layout.ranks) - 1
    counted_always = top if layout.outer_to_inner else 0
    nothing = Occupied([0.0] * len(nonzeros), [0.0] * len(nonzeros))
    found = [nothing] * len(layout.ranks)
    fibers, lowest = 1, None
    current = [1.0 if count == 0 else 0.0 for count in nonzeros]  # probability that the current box is empty
    for number in range(top, -1, -1):
        rank = layout.ranks[number]
        if rank.fiber == 1 and number != counted_always:
            continue  # no loop is left for this rank: the box stays what it is
        box = layout.ranks[number - 1].upper if number else layout.base
        inner = model.empty_given(_ranks_extents(dataspace, box), words, nonzeros)
        found[number] = _occupied(rank.format, fibers, rank.fiber, current, inner)
        fibers, current, lowest = fibers * rank.fiber, inner, number
    if lowest is not None:
        found[lowest] = Occupied(found[lowest].metadata, nothing.payload)  # its payload is the data itself
    return found


def _ranks_extents(dataspace: Dataspace, extents: Sequence[int]) -> tuple[int, ...]:
    return tuple(1 + sum(abs(t.coefficient) * (extents[t.dimension] - 1) for t in rank) for rank in dataspace.ranks)


def _occupied(kind: Format, fibers: int, fiber: int, empty: Sequence[float], inner: Sequence[float]) -> Occupied:
    """Words of one rank: ``fibers`` of ``fiber`` coordinates each, given how probably the boxes are empty."""
    present = [fibers * (1 - p) for p in empty]
    if kind == "UOP":
        return Occupied([0.0] * len(present), [share * (fiber + 1) for share in present])
    if kind == "UB":
        full = [float(fibers * fiber)] * len(present)
        return Occupied(full, full)
    if kind == "RLE":
        runs = [fiber * (1 - p) * share for p, share in zip(inner, present, strict=True)]
        return Occupied(runs, runs)
    filled = [ceil(fiber * (1 - p)) * share for p, share in zip(inner, present, strict=True)]
    if kind == "CP":
        return Occupied(filled, filled)
    return Occupied([share * fiber for share in present], filled)
