"""Many mappings of one problem on one architecture as arrays: the places where factors go, and conversion both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Loop, Mapping

__all__ = ["Batch", "BoolArray", "FloatArray", "IntArray", "Nest", "Slot", "batch_of"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one factor of every dimension: mesh axis X or Y, or the temporal block (T), of a storage level."""

    level: int
    axis: Literal["X", "Y", "T"]


@dataclass(frozen=True, slots=True)
class Nest:
    """The slots of an architecture from the innermost outwards, and the dimensions that are mapped onto them.

    ``dimensions`` are the problem's dimension ids; those left out have bound 1. A spatial dummy has no temporal slot,
    and an axis without fan-out has no spatial one.
    """

    slots: tuple[Slot, ...]
    dimensions: tuple[int, ...]

    @classmethod
    def of(cls, architecture: Architecture, dimensions: Sequence[int]) -> Nest:
        """The slots that the architecture has."""
        slots = []
        for index, level in enumerate(architecture.storage):
            fanout_x, fanout_y = architecture.fanout(index)
            slots += [Slot(index, "X")] * (fanout_x > 1) + [Slot(index, "Y")] * (fanout_y > 1)
            slots += [] if level.spatial_dummy else [Slot(index, "T")]
        return cls(tuple(slots), tuple(dimensions))

    @property
    def temporal(self) -> tuple[int, ...]:
        """Indices of the temporal slots, inner to outer."""
        return tuple(index for index, slot in enumerate(self.slots) if slot.axis == "T")

    def of_level(self, level: int, *, spatial: bool) -> tuple[int, ...]:
        """Indices of a level's spatial or temporal slots."""
        return tuple(
            index for index, slot in enumerate(self.slots) if slot.level == level and (slot.axis != "T") == spatial
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Mappings with perfect factors, B of them.

    Args:
        factors: (B, slots, dimensions) loop bounds.
        order: (B, temporal slots, dimensions) positions in ``Nest.dimensions``, innermost loop first.
        keep: (B, storage levels, dataspaces).
    """

    factors: IntArray
    order: IntArray
    keep: BoolArray

    def __len__(self) -> int:
        return len(self.factors)

    def take(self, index: IntArray | BoolArray | slice) -> Batch:
        """Those mappings, in that order."""
        return Batch(self.factors[index], self.order[index], self.keep[index])

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """All mappings of several batches."""
        return Batch(
            np.concatenate([batch.factors for batch in batches]),
            np.concatenate([batch.order for batch in batches]),
            np.concatenate([batch.keep for batch in batches]),
        )


def batch_of(nest: Nest, mappings: Sequence[Mapping]) -> Batch:
    """Mappings as a batch.

    Raises:
        ValueError: a mapping has an imperfect loop, or a loop of bound above 1 where the nest has no place for it.
    """
    position = {dimension: index for index, dimension in enumerate(nest.dimensions)}
    temporal = {nest.slots[index].level: rank for rank, index in enumerate(nest.temporal)}
    slot_index = {(slot.level, slot.axis): index for index, slot in enumerate(nest.slots)}
    factors = np.ones((len(mappings), len(nest.slots), len(nest.dimensions)), np.int64)
    order = np.zeros((len(mappings), len(temporal), len(nest.dimensions)), np.int64)
    for row, mapping in enumerate(mappings):
        for level, own in enumerate(mapping.levels):
            blocks: tuple[tuple[Literal["X", "Y", "T"], tuple[Loop, ...]], ...]
            blocks = (("X", own.spatial_x), ("Y", own.spatial_y), ("T", own.temporal))
            for axis, loops in blocks:
                for loop in (loop for loop in loops if loop.bound > 1):
                    if not loop.perfect or loop.dimension not in position or (level, axis) not in slot_index:
                        raise ValueError(f"batch_of: no place for {loop!r} on axis {axis} of level {level}")
                    factors[row, slot_index[level, axis], position[loop.dimension]] = loop.bound
            if level in temporal:
                order[row, temporal[level]] = [position[x.dimension] for x in own.temporal if x.dimension in position]
    keep = np.array([[level.keep for level in mapping.levels] for mapping in mappings], bool)
    return Batch(factors, order, keep)
