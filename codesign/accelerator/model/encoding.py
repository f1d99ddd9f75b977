"""Points of a tensor as single integers: differences and comparisons then cost one integer operation."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accelerator.spec.problem import Dataspace

__all__ = ["Encoding"]


class Encoding:
    """Signed mixed-radix code of coordinate vectors: additive, and injective for differences within the tensor.

    Args:
        dataspace: gives the ranks.
        extents: iterations of every dimension of the whole nest; coordinates stay inside the box that they span.
    """

    def __init__(self, dataspace: Dataspace, extents: Sequence[int]) -> None:
        self._ranks = dataspace.ranks
        self._weights: list[int] = []
        self._bases: list[int] = []
        weight = 1
        for rank in dataspace.ranks:
            width = 1 + sum(abs(term.coefficient) * (extents[term.dimension] - 1) for term in rank)
            base = 8 * width + 8
            self._weights.append(weight)
            self._bases.append(base)
            weight *= base

    def step(self, dimension: int, stride: int) -> int:
        """Code of how far the tensor's coordinates move when ``dimension`` advances by ``stride``."""
        return stride * sum(
            weight * term.coefficient
            for weight, rank in zip(self._weights, self._ranks, strict=True)
            for term in rank
            if term.dimension == dimension
        )

    def encode(self, vector: Sequence[int]) -> int:
        """Code of a coordinate vector."""
        return sum(weight * value for weight, value in zip(self._weights, vector, strict=True))

    def decode(self, code: int) -> tuple[int, ...]:
        """The coordinate vector of a code."""
        vector = []
        for base in self._bases:
            value = (code + base // 2) % base - base // 2
            vector.append(value)
            code = (code - value) // base
        return tuple(vector)
