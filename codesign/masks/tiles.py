"""How full the tiles of a mask are: the exact histogram that an accelerator working on tiles sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from codesign.masks.reading import MaskTensor

__all__ = ["TileOccupancy", "count_tiles", "tile_occupancy"]


@dataclass(frozen=True)
class TileOccupancy:
    """Tiles by their number of ones.

    Args:
        tile: shape of a tile.
        step: distance from tile to tile; equal to ``tile`` where tiles partition the tensor.
        histogram: int64, ``histogram[k]`` tiles have exactly k ones; of length elements of a tile + 1.
    """

    tile: tuple[int, ...]
    step: tuple[int, ...]
    histogram: npt.NDArray[np.int64]

    @property
    def tiles(self) -> int:
        """Number of tiles, of all samples."""
        return int(self.histogram.sum())

    @property
    def empty_share(self) -> float:
        """Share of tiles without a one: what a design that skips whole tiles can skip."""
        return float(self.histogram[0] / self.tiles)

    @property
    def mean_density(self) -> float:
        """Mean share of ones in a tile, of the full tile's size."""
        return float(self.histogram @ np.arange(len(self.histogram)) / (self.tiles * prod(self.tile)))


def tile_occupancy(
    mask: MaskTensor, tile: Sequence[int], *, step: Sequence[int] | None = None, origin: Sequence[int] | None = None
) -> TileOccupancy:
    """The histogram over all samples and tiles.

    Tiles begin at ``origin + k * step`` in every axis and are taken as long as they begin within the tensor; a tile
    that sticks out of it has zeros there.

    Args:
        mask: a tensor of any rank.
        tile: sizes, one an axis of a sample.
        step: distance between tiles; ``tile`` if None. Smaller steps give overlapping tiles, as convolutions have.
        origin: first tile's corner, 0 if None; negative for zero padding.

    Raises:
        ValueError: sizes that do not fit the tensor's rank, or are not positive.
    """
    shape = mask.entry.sample_shape
    sizes, steps = tuple(tile), tuple(tile if step is None else step)
    corner = tuple([0] * len(shape) if origin is None else origin)
    if not len(sizes) == len(steps) == len(corner) == len(shape):
        raise ValueError(f"tile_occupancy: tile, step and origin need {len(shape)} sizes for shape {shape}")
    if min(*sizes, *steps) < 1:
        raise ValueError(f"tile_occupancy: sizes of tile and step must be at least 1 (got {sizes}, {steps})")
    histogram = np.zeros(prod(sizes) + 1, dtype=np.int64)
    for chunk in mask.chunks():
        counts = count_tiles(chunk, sizes, steps, corner)
        histogram += np.bincount(counts.ravel(), minlength=len(histogram))
    return TileOccupancy(sizes, steps, histogram)


def count_tiles(
    mask: npt.NDArray[np.bool_], tile: Sequence[int], step: Sequence[int], origin: Iterable[int]
) -> npt.NDArray[np.int64]:
    """Ones of every tile: (samples, tiles along axis 0, tiles along axis 1, ...), by differences of running sums."""
    counts = mask.astype(np.int64)
    for axis, (size, stride, first) in enumerate(zip(tile, step, origin, strict=True), start=1):
        extent = counts.shape[axis]
        starts = np.arange(first, extent, stride)
        running = np.concatenate([np.zeros_like(counts.take([0], axis)), counts.cumsum(axis)], axis)
        ends = np.clip(starts + size, 0, extent)
        counts = running.take(ends, axis) - running.take(np.clip(starts, 0, extent), axis)
    return counts
