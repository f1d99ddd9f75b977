"""What the tiles of a sparse tensor hold on average and at most, with and without the metadata of their layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.density_models import DensityModel, Occupancies
from codesign.accelerator.model.formats import Layout, Units, tile_metadata
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["TileSparsity", "tile_sparsity"]


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


def tile_sparsity(
    tile: Accesses,
    extents: Sequence[int],
    dataspace: Dataspace,
    model: DensityModel,
    layout: Layout,
    parent: Layout | None,
    compat: bool,
) -> TileSparsity:
    """Expectations over the tile's distribution of nonzeros.

    Args:
        extents: of the tile, iterations a dimension.
        parent: layout at the nearest outer level that holds the dataspace.
        compat: with the real program's mistakes for tiles that cannot be empty (see the comments).
    """
    shape = dataspace.tile(tuple(0 for _ in extents), [extent - 1 for extent in extents])
    ranks = tuple(high - low for low, high in shape)
    words = prod(ranks)
    occupancies = model.occupancies(ranks)
    least = model.least(ranks)
    if compat and 0 < least < words:
        # The real program's smallest occupancy is 0 here (unsigned difference), or huge for some tile sizes.
        least = 0
        if 1 / words * words < 1:
            occupancies = Occupancies((), ())
    probabilities, share = list(occupancies.probabilities), 1.0
    counts = list(occupancies.counts)
    if parent is not None and parent.has_metadata and least == 0 and counts and (compat or counts[0] == 0):
        # The parent does not send empty tiles: expectations are over the others. (In compat mode the first entry
        # is taken for the empty tile whatever it is.)
        share = 1 - probabilities[0]
        probabilities = [0.0] + [p / share for p in probabilities[1:]] if share else [0.0] * len(counts)
    expected = sum(k * p for k, p in zip(counts, probabilities, strict=True))
    units, largest = _expected_units(layout, dataspace, model, words, counts, probabilities)
    bits = ceil(
        sum(
            entry.metadata * rank.metadata_bits + entry.payload * rank.payload_bits
            for entry, rank in zip(largest, layout.ranks, strict=True)
        )
    )
    # The real program charges any layout with metadata its nonzeros only, even where no rank leaves zeros out.
    packed = layout.has_metadata and (compat or layout.compressed)
    return TileSparsity(
        layout=layout,
        density=expected / words,
        units=units,
        average_replication=tile.replication * share,
        capacity_words=model.most(ranks) if packed else tile.size,
        metadata_bits=bits,
    )


def _expected_units(
    layout: Layout,
    dataspace: Dataspace,
    model: DensityModel,
    words: int,
    counts: list[int],
    probabilities: list[float],
) -> tuple[tuple[Units, ...], Sequence[Units]]:
    """Expected units of every rank, and those of the largest occupancy."""
    if not layout.has_metadata or not counts:
        nothing = (Units(),) * len(layout.ranks)
        return nothing, nothing
    rows = tile_metadata(layout, dataspace, model, words, counts)
    metadata, payload = [0.0] * len(layout.ranks), [0.0] * len(layout.ranks)
    for row, p in zip(rows, probabilities, strict=True):
        for number, entry in enumerate(row):
            metadata[number] += entry.metadata * p
            payload[number] += entry.payload * p
    return tuple(Units(m, q) for m, q in zip(metadata, payload, strict=True)), rows[-1]
