"""Compressed ranks that a mapping has no loop for: the real program accepts them and leaves them out."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass

from codesign.accelerator.model.formats import Layout
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["UnusedRanks", "unused_ranks"]

_COMPRESSED = ("CP", "B", "RLE")


@dataclass(frozen=True, slots=True)
class UnusedRanks:
    """Of ``given`` compressed ranks of a dataspace at a level, ``unused`` have no loop."""

    level: str
    dataspace: str
    given: int
    unused: int

    def __str__(self) -> str:
        return (
            f"{self.level}: {self.unused} of the {self.given} compressed ranks of {self.dataspace} have no loop in "
            "this mapping and are left out"
        )


def unused_ranks(
    index: int,
    architecture: Architecture,
    problem: Problem,
    sparse: SparseOptimizations,
    layouts: Table[int, Layout],
) -> tuple[UnusedRanks, ...]:
    """Levels at which compressed ranks of a dataspace have no loop.

    Args:
        index: dataspace id.
        layouts: by level, as of ``find_layouts``.
    """
    name = problem.dataspaces[index].name
    found = []
    for entry in sparse.levels:
        for form in entry.formats:
            level = [storage.name for storage in architecture.storage].index(entry.level)
            if form.dataspace != name or level not in layouts:
                continue
            pairs = zip(reversed(form.ranks), layouts[level].ranks, strict=True)
            compressed = [(rank, mapped) for rank, mapped in pairs if rank.format in _COMPRESSED]
            empty = sum(mapped.fiber == 1 and not rank.flattened_rank_ids for rank, mapped in compressed)
            if empty:
                found.append(UnusedRanks(entry.level, name, len(compressed), empty))
    return tuple(found)
