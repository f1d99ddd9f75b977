"""Operators without multiply-accumulates as words moved at the outermost level, under a stated fusion policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from codesign.models.layers import Traffic, TrafficKind

__all__ = ["Fusion", "MemoryTraffic", "memory_traffic"]


class Fusion(StrEnum):
    """What an accelerator does with an operator between two layers.

    FUSED: whatever works element by element is done on the values as the producing layer writes them. Batch
    normalisation (folded into the weights), activations and other unary operators move no extra words; a residual sum
    or another binary operator reads its second operand. Pooling, softmax and the norms that need statistics of their
    input (layer, group, instance norm) read and write whole tensors, and so does data movement.

    UNFUSED: every operator reads its operands from, and writes its result to, the outermost level.
    """

    FUSED = "fused"
    UNFUSED = "unfused"


_ELEMENTWISE: frozenset[TrafficKind] = frozenset({"activation", "residual", "elementwise"})


@dataclass(frozen=True, slots=True)
class MemoryTraffic:
    """Words read from and written to the outermost level by one operator; times its energy per word is the cost."""

    name: str
    kind: TrafficKind
    words_read: int
    words_written: int

    @property
    def words(self) -> int:
        """Words moved in both directions."""
        return self.words_read + self.words_written


def memory_traffic(traffic: Traffic, *, fusion: Fusion = Fusion.FUSED, batch: int = 1) -> MemoryTraffic:
    """Words that an operator moves at the outermost level beyond those of the layers around it.

    Args:
        traffic: words that the operator reads and writes by itself for one sample.
        fusion: see ``Fusion``.
        batch: samples.

    Raises:
        ValueError: ``batch`` is not positive.
    """
    if batch < 1:
        raise ValueError(f"memory_traffic: batch must be at least 1 (got {batch!r})")
    read, written = traffic.words_read, traffic.words_written
    if fusion is Fusion.FUSED:
        if traffic.kind == "batch_norm":  # its constants become a part of the weights and the bias beside it
            read = written = 0
        elif traffic.kind in _ELEMENTWISE:
            # The operand that the producer has at hand is as large as the result; only the rest is read.
            read, written = max(0, read - written), 0
    return MemoryTraffic(traffic.name, traffic.kind, batch * read, batch * written)
