"""The modules, functions and tensor methods that a description of a network may name, and nothing else."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["FUNCTIONS", "METHODS", "MODULES", "function_name", "module_arguments"]

_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_MODULES: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (
        nn.Conv2d,
        (
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "groups",
            "bias",
            "padding_mode",
        ),
    ),
    (nn.Linear, ("in_features", "out_features", "bias")),
    (nn.BatchNorm1d, _NORM),
    (nn.BatchNorm2d, _NORM),
    (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
    (nn.GroupNorm, ("num_groups", "num_channels", "eps", "affine")),
    (nn.MaxPool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    (nn.AvgPool2d, ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")),
    (nn.AdaptiveAvgPool2d, ("output_size",)),
    (nn.AdaptiveMaxPool2d, ("output_size",)),
    (nn.ZeroPad2d, ("padding",)),
    (nn.Dropout, ("p",)),
    (nn.Dropout2d, ("p",)),
    (nn.Flatten, ("start_dim", "end_dim")),
    (nn.LeakyReLU, ("negative_slope",)),
    (nn.ELU, ("alpha",)),
    (nn.GELU, ("approximate",)),
    (nn.Softplus, ("beta", "threshold")),
    *((kind, ()) for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh)),
    (nn.Identity, ()),
)

MODULES: Mapping[str, tuple[type[nn.Module], tuple[str, ...]]] = MappingProxyType(
    {kind.__name__: (kind, names) for kind, names in _MODULES}
)
"""Name of a module -> its class and the arguments of its constructor that are kept."""


def _from(namespace: Any, prefix: str, names: str) -> dict[str, Callable[..., Any]]:
    return {f"{prefix}.{name}": getattr(namespace, name) for name in names.split()}


def _attribute(tensor: torch.Tensor, name: str) -> Any:
    """What reading ``tensor.shape`` is traced to; a file cannot reach any other attribute."""
    if name != "shape":
        raise ValueError(f"a description may read a tensor's shape only (got {name})")
    return tensor.shape


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    _from(operator, "operator", "add sub mul truediv floordiv neg getitem matmul iadd imul")
    | _from(
        torch, "torch", "add sub mul div cat flatten mean sum matmul clamp reshape transpose permute relu sigmoid tanh"
    )
    | _from(
        F,
        "functional",
        "relu relu6 gelu silu elu leaky_relu hardswish hardsigmoid softplus pad avg_pool2d max_pool2d "
        "adaptive_avg_pool2d adaptive_max_pool2d dropout linear conv2d scaled_dot_product_attention",
    )
    | {"tensor.attribute": _attribute}
)
"""Name of a function -> the function."""

_VIEWS = "view reshape flatten permute transpose contiguous size squeeze unsqueeze expand unbind chunk split"
_ARITHMETIC = "mean sum add sub mul div relu sigmoid tanh clamp matmul"
METHODS = frozenset(f"{_VIEWS} {_ARITHMETIC}".split())
"""Methods of tensors."""


def function_name(function: Any) -> str | None:
    """The name of a function in ``FUNCTIONS``; None for any other."""
    wanted = _attribute if function is getattr else function
    return next((name for name, known in FUNCTIONS.items() if known is wanted), None)


def module_arguments(module: nn.Module) -> dict[str, Any] | None:
    """The constructor's arguments of a module in ``MODULES``, as JSON types; None for any other."""
    if type(module).__name__ not in MODULES or type(module) is not MODULES[type(module).__name__][0]:
        return None
    names = MODULES[type(module).__name__][1]
    values = {name: getattr(module, name) for name in names}
    if "bias" in values:
        values["bias"] = module.bias is not None
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
