"""How full the tiles of a real mask are: exact distributions over the tiles that a mapping makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Protocol

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.density_models import Occupancies
from codesign.accelerator.model.formats import Layout
from codesign.accelerator.model.metadata import Units
from codesign.accelerator.model.occupancy import TileSparsity, vector_ratio
from codesign.accelerator.model.packed_mask import SAMPLES, placed_bits
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.problem import Dataspace, Problem

__all__ = ["KnownTiles", "actual_sparsity", "actual_tiles", "known_sparsity", "tile_counts"]


def actual_tiles(data: ActualData, problem: Problem, dataspace: Dataspace, box: Sequence[int]) -> Occupancies:
    """Numbers of ones of the tiles of ``box`` iterations a dimension, over all samples and all tiles of the nest.

    Tiles of a sliding window count once for each position in the loop nest at which they are used.
    """
    used = tuple(e if d in dataspace.dimensions else 1 for d, e in enumerate(box))
    return _occupancies(data, dataspace, problem.bounds, used)


@lru_cache(maxsize=512)
def _occupancies(data: ActualData, dataspace: Dataspace, bounds: tuple[int, ...], box: tuple[int, ...]) -> Occupancies:
    extents = tuple(1 + sum(abs(t.coefficient) * (bounds[t.dimension] - 1) for t in rank) for rank in dataspace.ranks)
    histogram = np.zeros(dataspace.tile_size(box) + 1, np.int64)
    for start in range(0, data.samples, SAMPLES):
        bits = placed_bits(data, extents, start, start + SAMPLES)
        counts = tile_counts(bits, dataspace, bounds, box)
        histogram += np.bincount(counts.ravel(), minlength=len(histogram))
    found = np.flatnonzero(histogram)
    total = int(histogram.sum())
    return Occupancies(tuple(int(k) for k in found), tuple(int(histogram[k]) / total for k in found))


def tile_counts(
    bits: npt.NDArray[np.bool_], dataspace: Dataspace, bounds: Sequence[int], box: Sequence[int]
) -> npt.NDArray[np.int32]:
    """Ones in every tile: (samples, tiles along rank 0, tiles along rank 1, ...)."""
    counts: npt.NDArray[np.int32] = bits.view(np.uint8)
    runs = [_positions(dataspace, rank, bounds, box) for rank in range(len(dataspace.ranks))]
    for rank in sorted(range(len(runs)), key=lambda rank: len(runs[rank][1]) / counts.shape[1 + rank]):
        width, starts = runs[rank]
        axis, extent = 1 + rank, counts.shape[1 + rank]
        if len(starts) * width == extent and np.array_equal(starts, np.arange(0, extent, width)):
            split = counts.reshape(*counts.shape[:axis], len(starts), width, *counts.shape[axis + 1 :])
            counts = split.sum(axis=axis + 1, dtype=np.int32)
        else:
            running = np.cumsum(counts, axis=axis, dtype=np.int32)
            running = np.concatenate([np.zeros_like(running.take([0], axis)), running], axis)
            counts = running.take(starts + width, axis) - running.take(starts, axis)
    return counts.astype(np.int32, copy=False)


def _positions(
    dataspace: Dataspace, rank: int, bounds: Sequence[int], box: Sequence[int]
) -> tuple[int, npt.NDArray[np.int64]]:
    """Width of a tile along a rank, and where the tiles begin."""
    width, starts = 1, np.zeros(1, np.int64)
    for term in dataspace.ranks[rank]:
        step, extent = abs(term.coefficient), box[term.dimension]
        width += step * (extent - 1)
        places = np.arange(0, bounds[term.dimension] - extent + 1, extent)
        if term.coefficient < 0:
            places = bounds[term.dimension] - extent - places
        starts = (starts[:, None] + step * places).ravel()
    return width, starts


def actual_sparsity(
    data: ActualData,
    problem: Problem,
    dataspace: Dataspace,
    tile: Accesses,
    box: Sequence[int],
    layout: Layout,
    parent: Layout | None,
    block: int,
) -> TileSparsity:
    """Like ``tile_sparsity``, from the mask. The metadata of the fullest tile is an upper bound."""
    overall = data.ones / (data.samples * problem.tensor_size(dataspace))
    known = _Mask(data, problem, dataspace, overall)
    return known_sparsity(known, dataspace, tile, box, layout, parent, block)


class KnownTiles(Protocol):
    """What is known of a tensor's tiles, by their iterations a dimension."""

    @property
    def share(self) -> float:
        """Share of ones in the tensor."""
        ...

    def empty(self, box: Sequence[int]) -> float:
        """Share of tiles that hold no one."""
        ...

    def most(self, box: Sequence[int]) -> int:
        """Ones of the fullest tile."""
        ...

    def occupancies(self, box: Sequence[int]) -> Occupancies:
        """Distribution over all tiles."""
        ...


@dataclass(frozen=True, slots=True)
class _Mask:
    data: ActualData
    problem: Problem
    dataspace: Dataspace
    share: float

    def occupancies(self, box: Sequence[int]) -> Occupancies:
        return actual_tiles(self.data, self.problem, self.dataspace, box)

    def empty(self, box: Sequence[int]) -> float:
        tiles = self.occupancies(box)
        return tiles.probabilities[0] if tiles.counts[0] == 0 else 0.0

    def most(self, box: Sequence[int]) -> int:
        return max(self.occupancies(box).counts)


def known_sparsity(
    known: KnownTiles,
    dataspace: Dataspace,
    tile: Accesses,
    box: Sequence[int],
    layout: Layout,
    parent: Layout | None,
    block: int,
) -> TileSparsity:
    """``tile_sparsity`` of a tensor of which more is known than its density; arguments as there."""
    plain = (Units(),) * len(layout.ranks)
    if not (layout.has_metadata or (parent is not None and parent.has_metadata)):
        return TileSparsity(layout, known.share, plain, float(tile.replication), tile.size, 0)
    words = dataspace.tile_size(box)
    empty = known.empty(box)
    share = 1 - empty if parent is not None and parent.has_metadata else 1.0
    occupancies = known.occupancies(box)
    mean = sum(k * p for k, p in zip(*occupancies, strict=True))
    density = min(1.0, mean / words / share) if share else 0.0
    if not layout.has_metadata:
        return TileSparsity(layout, mean / words, plain, tile.replication * share, tile.size, 0)
    most = known.most(box)
    units, bits = _metadata(known, layout, empty, share, most)
    given = Occupancies(occupancies.counts, [p / share for p in occupancies.probabilities]) if share else occupancies
    return TileSparsity(
        layout=layout,
        density=density,
        units=units,
        average_replication=tile.replication * share,
        capacity_words=most if layout.compressed else tile.size,
        metadata_bits=bits,
        vector_ratio=vector_ratio(layout, words, density, block, given, compat=False),
    )


def _metadata(
    known: KnownTiles, layout: Layout, empty: float, share: float, most: int
) -> tuple[tuple[Units, ...], int]:
    """Mean metadata of a tile that is sent, rank by rank (see ``metadata``), and bits of the fullest one at most."""
    top = len(layout.ranks) - 1
    counted_always = top if layout.outer_to_inner else 0
    units, largest = [Units()] * len(layout.ranks), [Units()] * len(layout.ranks)
    fibers, lowest = 1, None
    for number in range(top, -1, -1):
        rank = layout.ranks[number]
        if rank.fiber == 1 and number != counted_always:
            continue
        inside = layout.ranks[number - 1].upper if number else layout.base
        inner_empty = known.empty(inside)
        scale = 1 / share if share else 0.0
        places = fibers * rank.fiber
        units[number] = _units(
            rank.format, fibers * (1 - empty) * scale, places * (1 - inner_empty) * scale, fibers, rank.fiber
        )
        largest[number] = _units(rank.format, min(fibers, most), min(places, most), fibers, rank.fiber)
        fibers, empty, lowest = places, inner_empty, number
    for found in (units, largest):
        if lowest is not None:
            found[lowest] = Units(found[lowest].metadata, 0.0)  # its payload is the data itself
    pairs = zip(largest, layout.ranks, strict=True)
    return tuple(units), ceil(sum(u.metadata * r.metadata_bits + u.payload * r.payload_bits for u, r in pairs))


def _units(kind: str, present: float, filled: float, fibers: int, fiber: int) -> Units:
    """Words of one rank that has ``present`` fibers and in them ``filled`` coordinates with something inside."""
    if kind == "UOP":
        return Units(0.0, present * (fiber + 1))
    if kind == "UB":
        return Units(float(fibers * fiber), float(fibers * fiber))
    if kind == "B":
        return Units(present * fiber, filled)
    return Units(filled, filled)
