"""Compressed layouts: which loops make up each rank of a tensor's layout.

Ranks are numbered from the lowest (innermost, 0) upwards, as the real program does; the YAML lists the top one first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from codesign.accelerator.model.saf import CompleteLoop
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.accelerator.spec.sparse import Format, Rank, TensorFormat
from codesign.errors import InputError

__all__ = ["Layout", "MappedRank", "RanksExceededError", "layout_of", "uncompressed"]

_COMPRESSED = ("CP", "B", "RLE")


class RanksExceededError(Exception):
    """The mapping needs more ranks than the format has (an illegal mapping, not bad input)."""


@dataclass(frozen=True, slots=True)
class MappedRank:
    """A rank with the loops that it stands for. ``bounds`` are iterations a dimension, ``upper`` the tile extents."""

    format: Format
    metadata_bits: int
    payload_bits: int
    bounds: tuple[int, ...]
    upper: tuple[int, ...]
    fiber: int
    """Coordinates of one fiber."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a level stores a tensor, lowest rank first; ``base`` has the extents of what one lowest coordinate holds."""

    ranks: tuple[MappedRank, ...]
    base: tuple[int, ...]
    outer_to_inner: bool
    has_metadata: bool

    @property
    def compressed(self) -> bool:
        """Whether zeros are left out."""
        return any(rank.format in _COMPRESSED for rank in self.ranks) and self.has_metadata


def _rank_bits(rank: Rank, storage: Storage) -> tuple[int, int]:
    """Bits of a metadata and of a payload word, widened to divide the metadata storage's width."""
    default = storage.metadata_word_bits or 0
    own = 1 if rank.format == "B" and rank.metadata_word_bits is None else rank.metadata_word_bits
    return (
        _fitted(default if own is None else own, own is not None, storage),
        _fitted(
            default if rank.payload_word_bits is None else rank.payload_word_bits,
            rank.payload_word_bits is not None,
            storage,
        ),
    )


def _fitted(bits: int, given: bool, storage: Storage) -> int:
    width = storage.metadata_width_bits
    if not given or not width or bits == 0 or width % bits == 0:
        return bits
    if bits > width:
        raise InputError(
            f"{storage.name}: a metadata or payload word must fit the metadata storage's width of {width} bits",
            got=bits,
            key="sparse_optimizations.representation_format",
        )
    return next((wider for wider in range(bits, 2 * bits) if width % wider == 0), bits)


def uncompressed(dataspace: Dataspace, extents: Sequence[int]) -> Layout:
    """A plain layout: one rank over everything, without metadata."""
    box = tuple(extents)
    rank = MappedRank("UOP", 0, 0, box, box, dataspace.tile_size(box))
    return Layout((rank,), (1,) * len(box), True, False)


def layout_of(
    form: TensorFormat,
    storage: Storage,
    problem: Problem,
    dataspace: Dataspace,
    inner_loops: Sequence[CompleteLoop],
    own_loops: Sequence[CompleteLoop],
    child: Layout | None,
) -> Layout:
    """Give every rank its loops.

    Args:
        form: the format as written, top rank first.
        inner_loops: complete nest inside the nearest inner level that holds the tensor (that level included).
        own_loops: from there up to this level's boundary.
        child: layout of that inner level if its tile has more than one word.

    Raises:
        RanksExceededError: loops are left over.
        InputError: the ranks contradict each other.
    """
    ranks = tuple(reversed(form.ranks))  # lowest first
    squeezed = [rank.format in _COMPRESSED for rank in ranks]
    if any(high and not low for low, high in pairwise(squeezed)):
        raise InputError(
            "a compressed rank cannot lie above an uncompressed one",
            got=[rank.format for rank in form.ranks],
            key=f"sparse_optimizations.representation_format.{form.dataspace}",
            fix="list the ranks from the top: uncompressed ones (UOP, UB) first",
        )
    extents = [1] * len(problem.bounds)
    for loop in inner_loops:
        extents[loop.dimension] *= loop.bound
    pretiled = child is not None and any(squeezed)
    if pretiled:
        assert child is not None
        if len(child.ranks) > len(ranks):
            raise RanksExceededError
        if child.has_metadata and any(a.format != b.format for a, b in zip(ranks, child.ranks, strict=False)):
            raise InputError(
                "the lowest ranks must be those of the next inner level that holds the tensor",
                got=f"{[rank.format for rank in form.ranks]} above {[rank.format for rank in reversed(child.ranks)]}",
                key=f"sparse_optimizations.representation_format.{form.dataspace}",
                fix="end the list of ranks with the inner level's ranks",
            )
        done = [
            MappedRank(rank.format, *_rank_bits(rank, storage), lower.bounds, lower.upper, lower.fiber)
            for rank, lower in zip(ranks, child.ranks, strict=False)
        ]
        base, start = child.base, list(extents)
    else:
        done, base, start = [], (1,) * len(extents), list(extents)
    loops, boxes = [], []
    seen: set[int] = set()
    for loop in own_loops:
        start[loop.dimension] *= loop.bound
        if loop.dimension not in dataspace.dimensions:
            continue
        bound = loop.bound
        if not pretiled and loop.dimension not in seen:
            bound *= extents[loop.dimension]
            seen.add(loop.dimension)
        loops.append(CompleteLoop(loop.dimension, bound, loop.spatial))
        boxes.append(tuple(start))
    rest = ranks[len(done) :]
    assigned = _assign(rest, loops, problem, form.outer_to_inner)
    below = done[-1].upper if done else base
    for rank, taken in zip(rest, assigned, strict=True):
        bounds = [1] * len(extents)
        for position in taken:
            bounds[loops[position].dimension] *= loops[position].bound
        upper = boxes[taken[0]] if taken else below
        done.append(
            MappedRank(rank.format, *_rank_bits(rank, storage), tuple(bounds), upper, dataspace.tile_size(bounds))
        )
        below = upper
    return Layout(tuple(done), base, form.outer_to_inner, True)


def _assign(
    ranks: Sequence[Rank], loops: Sequence[CompleteLoop], problem: Problem, outer_to_inner: bool
) -> list[list[int]]:
    """Positions of the loops of every rank, lowest rank first; the loop that was met first comes first."""
    order = [position for position, loop in enumerate(loops)]
    numbers = list(range(len(ranks)))
    if outer_to_inner:
        order.reverse()
        numbers.reverse()
    taken: list[list[int]] = [[] for _ in ranks]
    queue = order
    for number in numbers:
        while queue and loops[queue[0]].bound == 1:
            queue = queue[1:]
        if not queue:
            break
        name = problem.dimensions[loops[queue[0]].dimension]
        rule = ranks[number].flattened_rank_ids
        if not rule:
            taken[number].append(queue[0])
            queue = queue[1:]
            continue
        group = next((ids for ids in rule if name in ids), None)
        if group is None:
            continue
        while queue and (loops[queue[0]].bound == 1 or problem.dimensions[loops[queue[0]].dimension] in group):
            taken[number].append(queue[0])
            queue = queue[1:]
    if any(loops[position].bound > 1 for position in queue):
        raise RanksExceededError
    return taken
