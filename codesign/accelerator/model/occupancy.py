"""What the tiles of a sparse tensor hold on average and at most, with and without the metadata of their layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from operator import mul

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.density_models import DensityModel, Occupancies
from codesign.accelerator.model.formats import Layout
from codesign.accelerator.model.metadata import Occupied, Units, tile_metadata
from codesign.accelerator.spec.problem import Dataspace
from codesign.errors import InputError

__all__ = ["TileSparsity", "tile_sparsity", "vector_ratio"]


@dataclass(frozen=True, slots=True)
class TileSparsity:
    """One dataspace at one level.

    Args:
        density: expected share of nonzeros, given that the tile is not empty where the parent knows of empty ones.
        units: expected metadata of every rank, lowest first.
        average_replication: instances that hold a tile at all.
        capacity_words, metadata_bits: what the largest tile takes.
    """

    layout: Layout
    density: float
    units: tuple[Units, ...]
    average_replication: float
    capacity_words: int
    metadata_bits: int
    vector_ratio: float = 1.0


# Tiles of fewer blocks than this, at densities of 0.0-0.2, 0.2-0.3, ... 1.0, are spread over noticeably more vector
# accesses than their expected number of words needs (the real program's table, one row a block size).
_FEW_BLOCKS = {
    2: (251, 125, 84, 63, 51, 42, 36, 32, 28, 1),
    4: (375, 188, 125, 94, 75, 63, 54, 47, 42, 1),
    8: (438, 219, 146, 110, 88, 73, 63, 55, 49, 1),
    16: (469, 235, 157, 118, 94, 79, 67, 59, 52, 1),
    32: (485, 243, 162, 122, 97, 81, 70, 61, 52, 1),
}


def vector_ratio(
    layout: Layout, words: int, density: float, block: int, occupancies: Occupancies, *, compat: bool
) -> float:
    """Vector accesses of a compressed tile over those that its expected words would need."""
    if not layout.compressed or block == 1 or not 0 < density < 1:
        return 1.0
    if block not in _FEW_BLOCKS and compat:
        raise InputError(
            "the real program has no compressed tensors at levels whose block size is none of 1, 2, 4, 8, 16, 32",
            got=block,
            fix="choose width and datawidth so that their ratio is one of these, or use clean semantics",
        )
    row = _FEW_BLOCKS.get(block)
    if row is not None and row[max(0, floor(density / 0.1) - 1)] <= words // block:
        return 1.0
    vectors = sum(ceil(k / block) * p for k, p in zip(*occupancies, strict=True) if k)
    return vectors / (words * density / block)


def tile_sparsity(
    tile: Accesses,
    extents: Sequence[int],
    dataspace: Dataspace,
    model: DensityModel,
    layout: Layout,
    parent: Layout | None,
    block: int,
    compat: bool,
) -> TileSparsity:
    """Expectations over the tile's distribution of nonzeros.

    Args:
        block: words of one vector access.
        extents: of the tile, iterations a dimension.
        parent: layout at the nearest outer level that holds the dataspace.
        compat: with the real program's mistakes (see the comments).
    """
    shape = dataspace.tile(tuple(0 for _ in extents), [extent - 1 for extent in extents])
    ranks = tuple(high - low for low, high in shape)
    empties_known = parent is not None and parent.has_metadata
    if not layout.has_metadata:
        share = 1 - _left_out(model, ranks, compat) if empties_known else 1.0
        plain = (Units(),) * len(layout.ranks)
        return TileSparsity(layout, model.density, plain, tile.replication * share, tile.size, 0)
    words = prod(ranks)
    occupancies = model.occupancies(ranks)
    counts, probabilities, share = occupancies.counts, occupancies.probabilities, 1.0
    if empties_known and counts:
        empty = _left_out(model, ranks, compat)
        share = 1 - empty
        if empty:  # the first entry
            probabilities = [0.0] + [p / share for p in probabilities[1:]] if share else [0.0] * len(counts)
    expected = _in_order(map(mul, counts, probabilities))
    if not compat:
        expected = min(expected, words)  # rounding of the conditional probabilities
    # The real program charges any layout with metadata its nonzeros only, even where no rank leaves zeros out.
    packed = compat or layout.compressed
    return TileSparsity(
        layout=layout,
        density=expected / words,
        units=_expected_units(layout, dataspace, model, words, counts, probabilities),
        average_replication=tile.replication * share,
        capacity_words=model.most(ranks) if packed else tile.size,
        metadata_bits=_bits(layout, tile_metadata(layout, dataspace, model, words, [model.most(ranks)])),
        vector_ratio=vector_ratio(layout, words, expected / words, block, occupancies, compat=compat),
    )


def _left_out(model: DensityModel, tile: Sequence[int], compat: bool) -> float:
    """Probability that a tile is empty and therefore not sent by a parent that knows where nonzeros are.

    The real program takes the first possible occupancy for the empty one, whatever it is, unless the smallest one that
    it computes is positive.
    """
    if not compat:
        return model.empty(tile)
    probabilities = model.occupancies(tile).probabilities
    return probabilities[0] if model.least(tile) == 0 and probabilities else 0.0


def _in_order(values: Iterable[float]) -> float:
    """Plain sum from the first to the last, as the real program adds (``sum`` compensates from Python 3.12 on)."""
    total = 0.0
    for value in values:
        total += value
    return total


def _bits(layout: Layout, occupied: Sequence[Occupied]) -> int:
    return ceil(
        _in_order(
            entry.metadata[0] * rank.metadata_bits + entry.payload[0] * rank.payload_bits
            for entry, rank in zip(occupied, layout.ranks, strict=True)
        )
    )


def _expected_units(
    layout: Layout,
    dataspace: Dataspace,
    model: DensityModel,
    words: int,
    counts: Sequence[int],
    probabilities: Sequence[float],
) -> tuple[Units, ...]:
    """Expected units of every rank."""
    if not counts:
        return (Units(),) * len(layout.ranks)
    ranks = tile_metadata(layout, dataspace, model, words, counts)
    return tuple(
        Units(_in_order(map(mul, rank.metadata, probabilities)), _in_order(map(mul, rank.payload, probabilities)))
        for rank in ranks
    )
