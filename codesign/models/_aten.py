"""The operators of an exported graph: what each is, and the arguments of one use of it.

Names are those of torch's ATen operators without overload; an in-place form (``relu_``) is the same operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import fx

from codesign.models.layers import TrafficKind

__all__ = [
    "AXIS_MOVES",
    "BATCH_FIRST",
    "COMBINED_AXES",
    "CONVERSIONS",
    "FACTORIES",
    "GATHERS",
    "IGNORED",
    "IN_ORDER",
    "RANDOM",
    "TRAFFIC",
    "VIEWS",
    "WRITES_ONLY",
    "arguments",
    "base_name",
    "mutated",
    "operator_name",
]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(**kinds: str) -> Mapping[str, str]:
    return MappingProxyType({name: kind for kind, names in kinds.items() for name in names.split()})


TRAFFIC: Mapping[str, TrafficKind] = _table(  # type: ignore[assignment]
    activation="""
        relu relu6 hardtanh leaky_relu prelu _prelu_kernel rrelu elu celu selu gelu silu mish hardswish hardsigmoid
        sigmoid log_sigmoid tanh hardshrink softshrink softplus threshold glu""",
    batch_norm="batch_norm _native_batch_norm_legit_no_training",
    norm="""
        layer_norm native_layer_norm group_norm native_group_norm
        instance_norm rms_norm linalg_vector_norm linalg_norm norm cosine_similarity""",
    pooling="""
        max_pool1d max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
        adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d mean sum amax amin max min
        prod median quantile var std var_mean std_mean argmax argmin logsumexp any all cumsum count_nonzero""",
    softmax="softmax _softmax _safe_softmax log_softmax _log_softmax softmin",
    elementwise="""
        add sub rsub mul div true_divide floor_divide remainder fmod neg abs exp expm1 log log1p log2 sqrt rsqrt square
        pow reciprocal sign sgn sin cos erf round floor ceil trunc frac clamp clamp_min clamp_max clip maximum minimum
        eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
        __and__ __or__ __xor__ where masked_fill lerp addcmul addcdiv nan_to_num heaviside isnan isinf isfinite
        topk sort argsort kthvalue one_hot fake_quantize_per_tensor_affine fake_quantize_per_channel_affine
        rand rand_like randn randn_like randint randint_like normal uniform bernoulli dropout alpha_dropout
        feature_dropout native_dropout""",
    data_movement="""
        cat concat concatenate stack hstack vstack pad constant_pad_nd reflection_pad1d reflection_pad2d
        replication_pad1d replication_pad2d clone contiguous copy fill zero repeat tile repeat_interleave
        roll flip index index_select index_put gather scatter scatter_add slice_scatter select_scatter embedding
        pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col upsample_nearest1d
        upsample_nearest2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d
        tril triu take_along_dim""",
)
"""What moves data without multiply-accumulates."""

RANDOM = _names("rand rand_like randn randn_like randint randint_like normal uniform bernoulli")
"""Operators whose result differs from sample to sample even where their operands do not."""

FACTORIES = _names(
    """zeros ones full empty eye arange linspace scalar_tensor zeros_like ones_like full_like empty_like new_zeros
    new_ones new_full new_empty"""
)
"""Operators that use an operand for its shape at most; the result is the same for every sample."""

IN_ORDER = _names("view _unsafe_view reshape view_as reshape_as _reshape_alias flatten unflatten squeeze unsqueeze")
"""Operators that keep the elements in order and change the shape."""

AXIS_MOVES = _names("permute transpose t T mT mH numpy_T adjoint movedim moveaxis swapaxes swapdims")
"""Operators that reorder axes."""

_PARTS = _names(
    """expand expand_as broadcast_to slice select narrow split split_with_sizes chunk tensor_split unsafe_chunk
    unsafe_split unbind unfold diagonal view_as_real"""
)
_PASSED_ON = _names("detach alias lift lift_fresh lift_fresh_copy requires_grad")

VIEWS = IN_ORDER | AXIS_MOVES | _PARTS | _PASSED_ON
"""Operators whose result may share memory with their first operand: writing to it writes to that operand."""

_REASONS = {
    "the same words in another shape or order, which the consumer addresses": IN_ORDER | AXIS_MOVES | _PARTS,
    "passes a tensor on unchanged": _PASSED_ON,
    "a check or size query without data": _names(
        """_assert_async _assert_tensor_metadata _assert_scalar _functional_assert_async sym_size sym_numel sym_stride
        sym_storage_offset sym_constrain_range sym_constrain_range_for_size"""
    ),
    "picks one result of an operator with several": frozenset({"getitem"}),
}
IGNORED: Mapping[str, str] = MappingProxyType({name: reason for reason, names in _REASONS.items() for name in names})
"""What is left out of every count on purpose, and why."""

CONVERSIONS = _names("to _to_copy type_as")
"""Conversions: nothing where the type stays, elementwise where it changes."""

GATHERS = _names("index index_select gather embedding take_along_dim")
"""Operators that read only the words that they pick, and their indices."""

WRITES_ONLY = _names("copy fill zero")
"""In-place operators that overwrite their first operand without reading it."""

_COMBINED_AXES = {
    1: "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d upsample_linear1d",
    2: """max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
        upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d tril triu""",
    3: "avg_pool3d pixel_shuffle pixel_unshuffle im2col",
}
COMBINED_AXES: Mapping[str, int] = MappingProxyType(
    {name: axes for axes, names in _COMBINED_AXES.items() for name in names.split()}
)
"""How many of the last axes an operator combines with each other; the batch must not be among them."""

BATCH_FIRST = _names("batch_norm instance_norm group_norm native_group_norm channel_shuffle native_channel_shuffle")
"""Operators that take axis 0 as the batch and may combine all others."""


def operator_name(node: fx.Node) -> str:
    """``aten.conv2d`` for a node that calls ``aten.conv2d.default``; ``getitem`` and the like for Python's own."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket)
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))


def base_name(node: fx.Node) -> str:
    """The name to look up in the tables here: ATen's without namespace and in-place underscore, others in full."""
    name = operator_name(node)
    if not name.startswith("aten."):
        return name
    name = name.removeprefix("aten.")
    return name if name.startswith("__") else name.removesuffix("_")


def arguments(node: fx.Node) -> dict[str, Any]:
    """Every argument of an ATen operator by name, defaults filled in."""
    if not isinstance(node.target, torch._ops.OpOverload):
        raise TypeError(f"arguments: {node.target} is no ATen operator")
    schema = node.target._schema.arguments
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return bound | dict(zip((argument.name for argument in schema), node.args, strict=False)) | dict(node.kwargs)


def mutated(node: fx.Node) -> list[fx.Node]:
    """The tensors that an in-place operator writes to."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    bound = arguments(node)
    written = [
        bound.get(argument.name)
        for argument in node.target._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [value for value in written if isinstance(value, fx.Node)]
