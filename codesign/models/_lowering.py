"""Multiply-accumulate operators of an exported graph as layers: exact bounds, and where their operands come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx

from codesign.models._aten import arguments, base_name
from codesign.models._batch import SampleShape, UnsupportedError, View, whole
from codesign.models._contraction import Contraction, Labelled, contract, einsum_labels, matmul_labels
from codesign.models.layers import LayerKind

__all__ = ["LOWERINGS", "AttentionWeights", "GraphTensor", "Lowered", "OperandSource", "Shapes"]

Shapes = Callable[[fx.Node], SampleShape]
Environment = Mapping[fx.Node, Any]


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An operand that is a tensor of the graph."""

    node: fx.Node
    view: View

    def read(self, values: Environment, samples: int) -> Tensor:
        """The operand from the graph's current values; see View.apply for its shape."""
        return self.view.apply(values[self.node], samples)


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """The left operand of an attention's second product: softmax(q k^T * scale + mask), which no graph node holds."""

    call: fx.Node
    view: View

    def read(self, values: Environment, samples: int) -> Tensor:
        """The attention weights from the graph's current values."""
        given = {
            name: values[value] if isinstance(value, fx.Node) else value for name, value in arguments(self.call).items()
        }
        query, key, mask = given["query"], given["key"], given.get("attn_mask")
        scale = query.shape[-1] ** -0.5 if given.get("scale") is None else given["scale"]
        scores = query @ key.transpose(-2, -1) * scale
        if given["is_causal"]:
            causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~causal, -torch.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return self.view.apply(scores.softmax(-1), samples)


OperandSource = GraphTensor | AttentionWeights


@dataclass(frozen=True, slots=True)
class Lowered:
    """A layer without its name: see codesign.models.layers.Layer for the fields."""

    kind: LayerKind
    bounds: tuple[int, int, int, int, int, int, int, int]
    inputs: OperandSource
    weights: OperandSource
    outputs: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    suffix: str = ""


def _rows_columns(shape: SampleShape) -> tuple[int, int]:
    return shape.sizes[2], shape.sizes[3] if len(shape.sizes) == 4 else 1


def _pair(value: int | list[int], spatial: int, missing: int) -> tuple[int, int]:
    """(rows, columns) of a stride or dilation; a single number holds for every axis, a 1-D layer has only rows."""
    numbers = [value] if isinstance(value, int) else list(value)
    numbers = numbers * spatial if len(numbers) == 1 else numbers
    return numbers[0], numbers[1] if spatial == 2 else missing


def _padding(
    value: str | int | list[int], kernel: tuple[int, int], dilation: tuple[int, int], spatial: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)); "same" puts the odd one at the bottom and right, as PyTorch does."""
    if value == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        rows, columns = ((total // 2, total - total // 2) for total in totals)
        return rows, columns
    pads = (0, 0) if isinstance(value, str) else _pair(value, spatial, 0)
    return (pads[0], pads[0]), (pads[1], pads[1])


def _convolution(node: fx.Node, shapes: Shapes) -> list[Lowered]:
    given = arguments(node)
    source, kernel = shapes(given["input"]), shapes(given["weight"])
    spatial = len(kernel.sizes) - 2
    transposed = "transpose" in base_name(node) or bool(given.get("transposed"))
    if spatial not in (1, 2):
        raise UnsupportedError(f"a {spatial}-D convolution")
    if kernel.batch is not None:
        raise UnsupportedError("a kernel that differs from sample to sample")
    if source.batch is None or source.batch.axis != 0 or len(source.sizes) != spatial + 2:
        raise UnsupportedError("an input whose batch is not the first axis")
    groups = given["groups"]
    # Output channels of all groups are axis 0 of a weight, or axis 1 within a group where it is transposed.
    channels = (
        (kernel.sizes[1], kernel.sizes[0] // groups) if transposed else (kernel.sizes[0] // groups, kernel.sizes[1])
    )
    taps = _rows_columns(kernel)
    result = shapes(node)
    positions = _rows_columns(source if transposed else result)
    dilation = _pair(given["dilation"], spatial, 1)
    return [
        Lowered(
            "conv_transposed" if transposed else "conv",
            (source.sizes[0], groups, *channels, *positions, *taps),
            GraphTensor(given["input"], whole(source)),
            GraphTensor(given["weight"], whole(kernel)),
            result.operand,
            _pair(given["stride"], spatial, 1),
            dilation,
            _padding(given["padding"], taps, dilation, spatial),
        )
    ]


def _linear(node: fx.Node, shapes: Shapes) -> list[Lowered]:
    given = arguments(node)
    source, weight = shapes(given["input"]), shapes(given["weight"])
    if source.batch is None or source.batch.axis == len(source.sizes) - 1:
        raise UnsupportedError("an input whose batch is its last axis")
    columns, summed = weight.sizes
    return [
        Lowered(
            "linear",
            (prod(source.sizes[:-1]), 1, columns, summed, 1, 1, 1, 1),
            GraphTensor(given["input"], whole(source)),
            GraphTensor(given["weight"], whole(weight)),
            shapes(node).operand,
        )
    ]


def _product(
    found: Contraction, left: Callable[[View], OperandSource], right: Callable[[View], OperandSource], suffix: str = ""
) -> Lowered:
    groups, rows, columns, summed = found.groups, found.rows, found.columns, found.summed
    return Lowered(
        "matmul",
        (rows, groups, columns, summed, 1, 1, 1, 1),
        left(found.left),
        right(found.right),
        (groups, rows, columns),
        suffix=suffix,
    )


def _tensor(node: fx.Node) -> Callable[[View], OperandSource]:
    return lambda view: GraphTensor(node, view)


def _labelled_product(left: fx.Node, right: fx.Node, operands: tuple[Labelled, Labelled], output: Any) -> list[Lowered]:
    """A product whose weights are the operand that is the same for every sample, where there is one."""
    first, second = operands
    if first.shape.batch is None:
        first, second, left, right = second, first, right, left
    return [_product(contract(first, second, output), _tensor(left), _tensor(right))]


_OPERANDS = {
    "matmul": ("self", "other"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "mv": ("self", "vec"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}


def _matmul(node: fx.Node, shapes: Shapes) -> list[Lowered]:
    given = arguments(node)
    left, right = (given[name] for name in _OPERANDS[base_name(node)])
    first, second, output = matmul_labels(shapes(left), shapes(right))
    return _labelled_product(left, right, (first, second), output)


def _einsum(node: fx.Node, shapes: Shapes) -> list[Lowered]:
    given = arguments(node)
    tensors = given["tensors"]
    if len(tensors) != 2:
        raise UnsupportedError(f"an einsum of {len(tensors)} operands; write it as products of two")
    labels, output = einsum_labels(given["equation"], [len(shapes(tensor).sizes) for tensor in tensors])
    first, second = (Labelled(shapes(tensor), names) for tensor, names in zip(tensors, labels, strict=True))
    return _labelled_product(tensors[0], tensors[1], (first, second), output)


def _attention(node: fx.Node, shapes: Shapes) -> list[Lowered]:
    """Two products, q k^T and softmax(...) v; the softmax between them is traffic."""
    given = arguments(node)
    query, key, value = (shapes(given[name]) for name in ("query", "key", "value"))
    if query.batch is None or not query.batch == key.batch == value.batch:
        raise UnsupportedError("query, key and value whose batch is not the same axis")
    if not query.sizes[:-2] == key.sizes[:-2] == value.sizes[:-2]:
        raise UnsupportedError("query, key and value with different numbers of heads")
    heads: tuple[str | int, ...] = tuple(range(-(len(query.sizes) - 2), 0))
    scores = SampleShape((*query.sizes[:-1], key.sizes[-2]), query.batch)
    first = contract(Labelled(query, (*heads, "q", "e")), Labelled(key, (*heads, "k", "e")), (*heads, "q", "k"))
    second = contract(Labelled(scores, (*heads, "q", "k")), Labelled(value, (*heads, "k", "v")), (*heads, "q", "v"))
    return [
        _product(first, _tensor(given["query"]), _tensor(given["key"]), "qk"),
        _product(second, lambda view: AttentionWeights(node, view), _tensor(given["value"]), "av"),
    ]


_CONVOLUTIONS = "convolution conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
LOWERINGS: Mapping[str, Callable[[fx.Node, Shapes], list[Lowered]]] = MappingProxyType(
    {
        **dict.fromkeys(_CONVOLUTIONS.split(), _convolution),
        "linear": _linear,
        **dict.fromkeys(_OPERANDS, _matmul),
        "einsum": _einsum,
        "scaled_dot_product_attention": _attention,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
    }
)
"""Base name of an operator -> the layers that one use of it is. Each raises UnsupportedError with the reason."""
