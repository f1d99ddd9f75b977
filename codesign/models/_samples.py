"""Whether an operator keeps the samples of a batch apart; no figure per sample can describe one that does not."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import fx

from codesign.models import _aten
from codesign.models._batch import BatchAxis, SampleShape, UnsupportedError, reshaped

__all__ = ["check_axes", "located"]


def located(name: str, shape: SampleShape, operands: list[SampleShape], varies: bool) -> SampleShape:
    """A result's shape with the layout of its batch axis, followed from the operands that decide it.

    Raises UnsupportedError for a reshape that tears samples apart, which only matters where they differ (``varies``).
    """
    if name in _aten.IN_ORDER and operands:
        before = operands[0].batch
        return reshaped(operands[0], shape) if varies or (before and before.inner is not None) else shape
    if shape.batch is None or shape.batch.inner is not None:
        return shape
    shared = [source for source in operands if source.batch is not None and source.sizes[source.batch.axis] > 1]
    if name == "cat":
        deciding = [source for source in operands if source.batch is not None]
        kept = True
    else:
        deciding = shared
        kept = any(
            source.batch is not None and source.sizes[source.batch.axis] == shape.sizes[shape.batch.axis]
            for source in shared
        )
    layouts = {source.batch.inner for source in deciding if source.batch is not None}
    return SampleShape(shape.sizes, BatchAxis(shape.batch.axis, layouts.pop() if kept and len(layouts) == 1 else None))


def check_axes(node: fx.Node, source: SampleShape, result: SampleShape) -> None:
    """Raises UnsupportedError where an operator works along the batch axis of its first operand."""
    name = _aten.base_name(node)
    if source.batch is None or name in _aten.IN_ORDER | _aten.AXIS_MOVES:
        return
    if not isinstance(node.target, torch._ops.OpOverload):
        return
    axis, rank = source.batch.axis, len(source.sizes)
    given = _aten.arguments(node)
    if (name in _aten.BATCH_FIRST and axis != 0) or axis >= rank - _aten.COMBINED_AXES.get(name, 0):
        raise UnsupportedError("it takes the batch for another axis")
    if name in {"layer_norm", "rms_norm"} and axis >= rank - len(given["normalized_shape"]):
        raise UnsupportedError("it normalises over the samples of a batch")
    if name == "batch_norm" and given["training"]:
        raise UnsupportedError("it normalises with the statistics of the batch")
    if name == "roll" and not given["dims"]:
        raise UnsupportedError("it moves values from one sample to another")
    indices = given.get("indices")
    if isinstance(indices, list | tuple) and axis < len(indices) and indices[axis] is not None:
        raise UnsupportedError("it picks samples of a batch")
    along = {d % rank for d in _dims(given[key] for key in _AXIS_ARGUMENTS if key in given)}
    if name not in _JOINS and axis in along and not (name == "slice" and result == source):
        raise UnsupportedError("it works along the batch")


_AXIS_ARGUMENTS = ("dim", "dims", "dim1", "dim2", "axis", "dimension")
_JOINS = frozenset({"cat", "stack", "concat", "concatenate"})


def _dims(values: Iterable[object]) -> Iterable[int]:
    for value in values:
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, int):
                yield part
