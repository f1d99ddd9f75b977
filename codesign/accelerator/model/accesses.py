"""From the traffic between levels to reads, fills and updates at each of them (per instance, dense)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import floor

from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.traffic import Delivery, Traffic
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["Accesses", "count_accesses", "rounded"]


@dataclass(slots=True)
class Accesses:
    """One dataspace at one level, per instance of the level.

    Args:
        size: words of the tile that is held; 0 where the level does not keep the dataspace.
        partition: distinct words that this instance ever holds, as the real program derives it.
        replication: instances in use.
        reads, fills, updates: an update is a value that arrives from below, a read of a read-write dataspace is an
            old partial sum fetched to be accumulated or sent down, a fill comes from the parent.
        temporal_reductions: accumulations in place.
        deliveries, links: what leaves towards the next inner level (for its network).
        parent, child: nearest outer and inner level that keep the dataspace; None at the ends.
    """

    size: int
    partition: int
    replication: int
    fanout: int
    deliveries: list[Delivery] = field(default_factory=list)
    links: int = 0
    content: float = 0.0
    parent_share: float = 0.0
    peer: float = 0.0
    reads: int = 0
    fills: int = 0
    updates: int = 0
    temporal_reductions: int = 0
    parent: int | None = None
    child: int | None = None

    def clear(self) -> None:
        """Nothing is held here."""
        self.size = self.partition = 0
        self.content = self.parent_share = 0.0


def rounded(value: float) -> int:
    """Half away from zero; counts are never negative."""
    whole = floor(value)
    return whole + (value - whole >= 0.5)


def count_accesses(
    nest: Nest, dataspace: Dataspace, dataspace_id: int, traffic: tuple[Traffic, ...], mapping: tuple[LevelMapping, ...]
) -> list[Accesses]:
    """Accesses of one dataspace at every level, innermost first.

    Args:
        traffic: of this dataspace below every level.
    """
    column = _tiles(nest, dataspace, traffic)
    keep = [level.keep[dataspace_id] for level in mapping]
    loose = [not kept or dataspace_id in level.no_coalesce for kept, level in zip(keep, mapping, strict=True)]
    _bypass(column, keep, loose)
    for level in range(len(column) - 1, 0, -1):
        if column[level].links:
            column[level - 1].peer += column[level].links / column[level - 1].replication
    held = [level for level, tile in enumerate(column) if tile.size > 0]
    for child, parent in pairwise(held):
        column[child].parent, column[parent].child = parent, child
    for level in held:
        _count(column[level], dataspace, dataspace_id, mapping[level])
    return column


def _tiles(nest: Nest, dataspace: Dataspace, traffic: tuple[Traffic, ...]) -> list[Accesses]:
    """Sizes, partitions and shares before any level is bypassed."""
    column = []
    for level, part in enumerate(nest.levels):
        deliveries = [Delivery(d.multicast, d.scatter, d.accesses, d.hops) for d in traffic[level].deliveries]
        tile = Accesses(
            size=nest.tile(dataspace, level),
            partition=0,
            replication=int(part.replication),
            fanout=part.fanout,
            deliveries=deliveries,
            links=traffic[level].link_transfers,
            content=sum(d.accesses for d in deliveries),
        )
        column.append(tile)
    column[-1].partition = column[-1].size
    for level in range(len(column) - 2, -1, -1):
        above = column[level + 1]
        fed = nest.master_tile(dataspace, level + 1) if nest.levels[level + 1].spatial else column[level].size
        column[level].partition = above.partition * column[level].size // fed if fed else 0
        column[level].parent_share = _received(above) / above.fanout
    return column


def _received(tile: Accesses) -> float:
    return sum(d.accesses * d.multicast for d in tile.deliveries)


def _bypass(column: list[Accesses], keep: list[bool], loose: list[bool]) -> None:
    """Levels that do not hold the dataspace: the next outer one delivers in their place."""
    for level, tile in enumerate(column):
        if not loose[level]:
            continue
        outer = next((above for above in column[level + 1 :] if above.size > 0), None)
        if outer is None:
            tile.clear()
            break
        received = _received(outer)
        factor = tile.content * outer.fanout / received if received else 0.0
        for delivery in outer.deliveries:
            delivery.accesses *= factor
        outer.links = 0
        outer.content = sum(d.accesses for d in outer.deliveries)
        if not keep[level]:
            tile.clear()
    for level in range(len(column) - 1, -1, -1):
        if not loose[level]:
            column[level].parent_share = 0.0
            break
        column[level].clear()
        column[level].deliveries = []
        column[level].links = 0


def _count(tile: Accesses, dataspace: Dataspace, dataspace_id: int, mapping: LevelMapping) -> None:
    crossing = tile.content + tile.peer
    arriving = tile.parent_share + tile.peer
    if not dataspace.read_write:
        tile.reads = rounded(crossing)
        tile.fills = int(arriving)
        return
    tile.updates = rounded(tile.content)
    if dataspace_id in mapping.no_coalesce:
        tile.reads = tile.fills = rounded(crossing)
    elif dataspace_id in mapping.rmw_first_update:
        tile.reads, tile.fills = rounded(crossing), rounded(arriving)
    else:
        # The first partial sum of every element starts from zero: nothing is read or fetched for it.
        tile.reads = max(0, rounded(crossing - tile.partition))
        arriving -= tile.partition if tile.parent is not None else 0
        tile.fills = max(0, rounded(arriving))
    tile.temporal_reductions = tile.reads
