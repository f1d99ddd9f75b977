"""Sparse optimisations of an architecture: what is gated or skipped on which condition, and how tensors are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ActionOptimization",
    "ComputeOptimization",
    "Format",
    "LevelSparsity",
    "Option",
    "Rank",
    "SparseOptimizations",
    "TensorFormat",
]

Format = Literal["UOP", "CP", "B", "RLE", "UB"]
Saving = Literal["gating", "skipping"]


@dataclass(frozen=True, slots=True)
class Option:
    """Accesses to ``target`` are saved where any tensor in ``condition_on`` is zero (dataspace names)."""

    target: str
    condition_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActionOptimization:
    """Alternatives of which the hardware takes the one that saves most (one YAML entry)."""

    kind: Saving
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank of a compressed layout; the YAML lists the top rank first. None: the level's default bits."""

    format: Format
    metadata_word_bits: int | None = None
    payload_word_bits: int | None = None
    flattened_rank_ids: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TensorFormat:
    """How one dataspace is laid out at a level, top rank first."""

    dataspace: str
    ranks: tuple[Rank, ...]
    outer_to_inner: bool = True


@dataclass(frozen=True, slots=True)
class LevelSparsity:
    """Everything sparse about one storage level."""

    level: str
    actions: tuple[ActionOptimization, ...] = ()
    formats: tuple[TensorFormat, ...] = ()


@dataclass(frozen=True, slots=True)
class ComputeOptimization:
    """Gating or skipping at the compute level itself.

    ``on``: on a zero or misaligned operand, or (beyond the real program) on an output that the mask over Outputs leaves
    out.
    """

    level: str
    kind: Saving
    on: Literal["operands", "outputs"] = "operands"


@dataclass(frozen=True, slots=True)
class SparseOptimizations:
    """All sparse optimisations of an architecture; falsy if there are none."""

    levels: tuple[LevelSparsity, ...] = ()
    compute: tuple[ComputeOptimization, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.levels or self.compute)
