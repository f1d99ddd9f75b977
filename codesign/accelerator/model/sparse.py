"""The sparse pass: from dense accesses to those that are made, gated or skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.activity import Activity, Fates
from codesign.accelerator.model.metadata import Units
from codesign.accelerator.model.occupancy import TileSparsity
from codesign.accelerator.model.saf import Saved
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["Column", "combine"]

_KINDS = ("read", "fill", "update")


@dataclass(slots=True)
class _Level:
    """Accesses of one dataspace at one level while savings are taken off them."""

    accesses: Accesses
    tile: TileSparsity
    data: dict[str, Fates] = field(default_factory=dict)
    metadata: dict[str, list[list[Fates]]] = field(default_factory=dict)
    """Per kind and rank: fates of metadata and of payload words."""
    reductions: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One dataspace at all levels after the pass.

    ``leader_empty`` is the probability that an access of the innermost level with savings, and the compute that
    waits for it, is saved; None without savings, and for a read-write dataspace. ``leader_kind`` is how that level
    saves: "gating", "skipping", or "" without savings.
    """

    activities: dict[int, Activity]
    leader_empty: float | None
    warnings: tuple[str, ...]
    leader_kind: str = ""


def combine(
    dataspace: Dataspace,
    accesses: Sequence[Accesses],
    tiles: dict[int, TileSparsity],
    saved: dict[int, Saved],
    storage: Sequence[Storage],
    compat: bool,
) -> Column:
    """Apply representation and savings to one dataspace.

    Args:
        tiles, saved: by level.
        compat: with the real program's mistakes (a negative probability wraps around, metadata lists are mixed up).
    """
    levels = {index: _start(accesses[index], tile) for index, tile in tiles.items()}
    warnings: list[str] = []
    outer: float | None = None
    order = sorted(saved, reverse=True)
    for position, index in enumerate(order):
        probability = saved[index].probability
        local = probability
        if outer is not None:
            local = 1 - (1 - probability) / (1 - outer) if outer < 1 else 0.0
            if local < 0 and not compat:
                warnings.append(
                    f"{storage[index].name}: {dataspace.name} is saved less often than further out; "
                    "its own saving is taken as zero (the real program wraps around)"
                )
                local, probability = 0.0, outer
        _save_here(levels, index, saved[index].kind, local, dataspace, compat and outer is not None)
        stop = order[position + 1] if position + 1 < len(order) else -1
        _vanish(levels, index, stop, probability, only_single_rank=compat)
        outer = probability
    activities = {index: _finish(level, dataspace, _parent(levels, level), saved) for index, level in levels.items()}
    if dataspace.read_write or outer is None:
        return Column(activities, None, tuple(warnings))
    return Column(activities, outer, tuple(warnings), saved[order[-1]].kind)


def _start(accesses: Accesses, tile: TileSparsity) -> _Level:
    level = _Level(accesses, tile, reductions=accesses.temporal_reductions)
    for kind in _KINDS:
        count = getattr(accesses, f"{kind}s")
        made = count
        if tile.layout.has_metadata:
            made = count - floor(count * (1 - tile.density))
        level.data[kind] = Fates(made)
        level.metadata[kind] = [
            [Fates(_metadata(units.metadata, count, accesses)), Fates(_metadata(units.payload, count, accesses))]
            for units in tile.units
        ]
    return level


def _metadata(units: float, count: int, accesses: Accesses) -> int:
    return ceil(units * count / accesses.size)


def _save_here(
    levels: dict[int, _Level], index: int, kind: str, probability: float, dataspace: Dataspace, mixed_up: bool
) -> None:
    """Gate or skip the level's own reads and updates, and the metadata that describes what the child holds."""
    level = levels[index]
    reads, updates = level.data["read"], level.data["update"]
    exact = reads.random * probability
    _move(reads, kind, ceil(exact) if dataspace.read_write else floor(exact))
    _move(updates, kind, floor(updates.random * probability))
    child = levels.get(level.accesses.child) if level.accesses.child is not None else None
    own = len(level.tile.layout.ranks)
    ranks = min(own, len(child.tile.layout.ranks)) if child is not None else own
    for direction in ("read", "update"):
        for rank in level.metadata[direction][:ranks]:
            for fates in rank:
                _move(fates, kind, floor(fates.random * probability))
    if mixed_up:
        for read, update in zip(level.metadata["read"], level.metadata["update"], strict=True):
            for fates, other in zip(read, update, strict=True):
                fates.random = other.random


def _move(fates: Fates, kind: str, count: int) -> None:
    fates.random -= count
    if count < 0:  # compat mode only: the real program's unsigned counters wrap around, and are printed as doubles
        count = int(float(count + (1 << 64)))
    if kind == "gating":
        fates.gated += count
    else:
        fates.skipped += count


def _vanish(levels: dict[int, _Level], index: int, stop: int, probability: float, *, only_single_rank: bool) -> None:
    """What a level does not send never happens further in, down to the next level with savings of its own.

    The real program takes metadata off the lowest rank only, and only if the saving level has no other rank.
    """
    ranks = len(levels[index].tile.layout.ranks)
    for inner in sorted(levels, reverse=True):
        if inner >= index or inner < stop:
            continue
        level = levels[inner]
        for kind in _KINDS:
            fates = level.data[kind]
            fates.random -= floor(fates.random * probability)
            reached = level.metadata[kind]
            if only_single_rank:
                reached = reached[:1] if ranks == 1 else []
            for entry in (entry for rank in reached for entry in rank):
                entry.random -= floor(entry.random * probability)


def _parent(levels: dict[int, _Level], level: _Level) -> _Level | None:
    return levels.get(level.accesses.parent) if level.accesses.parent is not None else None


def _finish(level: _Level, dataspace: Dataspace, parent: _Level | None, saved: dict[int, Saved]) -> Activity:
    accesses, tile = level.accesses, level.tile
    reductions = level.reductions
    if saved and accesses.updates:
        reductions = ceil(reductions * level.data["update"].random / accesses.updates)
    unpacks = parent is not None and parent.tile.layout.compressed and not tile.layout.compressed
    packs = unpacks and dataspace.read_write
    return Activity(
        reads=level.data["read"],
        fills=level.data["fill"],
        updates=level.data["update"],
        temporal_reductions=reductions,
        capacity_words=tile.capacity_words,
        average_replication=tile.average_replication,
        metadata_read_bits=_bits(level, "read"),
        metadata_fill_bits=_bits(level, "fill"),
        metadata_update_bits=_bits(level, "update"),
        metadata_bits=tile.metadata_bits,
        vector_ratio=tile.vector_ratio,
        decompressions=level.data["fill"].random if unpacks else 0,
        compressions=parent.data["update"].random if packs and parent is not None else 0,
    )


def _bits(level: _Level, kind: str) -> Fates:
    total = Fates()
    for rank, (metadata, payload) in zip(level.tile.layout.ranks, level.metadata[kind], strict=True):
        for fate in ("random", "gated", "skipped"):
            bits = getattr(metadata, fate) * rank.metadata_bits + getattr(payload, fate) * rank.payload_bits
            setattr(total, fate, getattr(total, fate) + bits)
    return total


def metadata_words(units: Sequence[Units]) -> float:
    """Expected metadata and payload words of a tile."""
    return sum(entry.metadata + entry.payload for entry in units)
