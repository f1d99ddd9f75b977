"""Where the batch is in a tensor, so that every count is for one sample and every mask can be split by sample.

A model is traced with a symbolic batch size B. A size of a tensor is then a number, a multiple of B, or something else;
the multiple divides out exactly. Where the batch shares an axis with something else (heads, windows), the layout of
that axis is followed through reshapes, so that a sample's part of it is known and not guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["BatchAxis", "SampleShape", "UnsupportedError", "View", "measure", "reshaped", "whole"]


class UnsupportedError(Exception):
    """An operator that cannot be modelled; the message is the reason."""


@dataclass(frozen=True, slots=True)
class BatchAxis:
    """The axis that holds the batch, laid out as (outer, B, inner); ``inner`` is None where that is not known."""

    axis: int
    inner: int | None = 1


@dataclass(frozen=True, slots=True)
class SampleShape:
    """A tensor's sizes for one sample: the axis that holds the batch keeps its other factors (often 1).

    ``batch`` is None for a tensor that has no batch axis.
    """

    sizes: tuple[int, ...]
    batch: BatchAxis | None = None

    @property
    def words(self) -> int:
        """Elements of one sample."""
        return prod(self.sizes)

    @property
    def operand(self) -> tuple[int, ...]:
        """The sizes without the batch axis (which stays where it holds more than the batch)."""
        if self.batch is None or self.sizes[self.batch.axis] != 1:
            return self.sizes
        return self.sizes[: self.batch.axis] + self.sizes[self.batch.axis + 1 :]


@lru_cache(maxsize=4096)
def _factor(expression: Any, symbol: Any) -> tuple[int, bool]:
    """(k, True) for an expression that is k * symbol, (k, False) for the constant k."""
    batches = (2, 3, 7)  # three points decide between a constant, a multiple and anything else that a size can be
    values = [expression.subs(symbol, batch) for batch in batches]
    if all(value.is_Integer for value in values):
        numbers = [int(value) for value in values]
        if len(set(numbers)) == 1:
            return numbers[0], False
        if all(number % batch == 0 for number, batch in zip(numbers, batches, strict=True)):
            factors = {number // batch for number, batch in zip(numbers, batches, strict=True)}
            if len(factors) == 1:
                return factors.pop(), True
    if expression.free_symbols - {symbol}:
        raise UnsupportedError(f"the size {expression} of its result depends on the data")
    raise UnsupportedError(f"the size {expression} of its result is not proportional to the batch size {symbol}")


def measure(sizes: Sequence[int | torch.SymInt], symbol: Any) -> SampleShape:
    """The shape for one sample of a tensor with these symbolic sizes; ``inner`` is left open where it matters.

    Raises UnsupportedError where a size is not a multiple of the batch, or where two axes hold the batch.
    """
    numbers: list[int] = []
    axes: list[int] = []
    for axis, size in enumerate(sizes):
        number, batched = (size, False) if isinstance(size, int) else _factor(size.node.expr, symbol)
        numbers.append(number)
        if batched:
            axes.append(axis)
    if len(axes) > 1:
        raise UnsupportedError("it pairs the samples of a batch with each other")
    if not axes:
        return SampleShape(tuple(numbers))
    return SampleShape(tuple(numbers), BatchAxis(axes[0], 1 if numbers[axes[0]] == 1 else None))


def reshaped(before: SampleShape, after: SampleShape) -> SampleShape:
    """``after`` with the layout of its batch axis, given that the elements keep their order (a view or reshape).

    Raises UnsupportedError where the new shape tears samples apart.
    """
    if before.batch is None or after.batch is None:
        return after
    if before.batch.inner is None:
        raise UnsupportedError("it reshapes a tensor in which the samples cannot be told apart")
    stride = before.batch.inner * prod(before.sizes[before.batch.axis + 1 :])
    inner, rest = divmod(stride, max(1, prod(after.sizes[after.batch.axis + 1 :])))
    if rest or inner == 0 or after.sizes[after.batch.axis] % inner:
        raise UnsupportedError("its reshape mixes the samples of a batch")
    return SampleShape(after.sizes, BatchAxis(after.batch.axis, inner))


@dataclass(frozen=True, slots=True)
class View:
    """How a tensor of the graph becomes an operand of a layer: split by sample, axes in ``order``, in ``shape``."""

    source: SampleShape
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.source.batch is not None and self.source.batch.inner is None:
            raise UnsupportedError("an operand's batch axis holds more than the batch, in an order that is not known")

    def apply(self, tensor: Tensor, samples: int) -> Tensor:
        """The operand: (samples, *shape), or (*shape) for a tensor without a batch axis."""
        batch = self.source.batch
        if batch is None:
            return tensor.permute(self.order).reshape(self.shape)
        assert batch.inner is not None  # by construction
        around = tensor.shape[: batch.axis], tensor.shape[batch.axis + 1 :]
        split = tensor.reshape(*around[0], -1, samples, batch.inner, *around[1]).movedim(batch.axis + 1, 0)
        by_sample: Tensor = split.reshape(samples, *self.source.sizes)
        return by_sample.permute(0, *(axis + 1 for axis in self.order)).reshape(samples, *self.shape)


def whole(source: SampleShape) -> View:
    """The operand in the tensor's own order of axes."""
    return View(source, tuple(range(len(source.sizes))), source.operand)
