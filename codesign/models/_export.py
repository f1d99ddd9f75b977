"""A module as a graph of ATen operators with a symbolic batch size, by torch.export."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import warnings
from collections.abc import Iterator

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from codesign.errors import InputError

__all__ = ["evaluation_mode", "export_graph"]

_TORCH_LOGGER = "torch.fx.experimental.symbolic_shapes"


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode for a while; each gets its own mode back.

    A program loaded from disk has no ``.eval()``, so the flag is set directly.
    """
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    for submodule, _ in modes:
        submodule.training = False
    try:
        yield
    finally:
        for submodule, training in modes:
            submodule.training = training


@contextlib.contextmanager
def _without_dumps() -> Iterator[None]:
    """Keeps torch from logging its graph on a failure; the error message holds what matters of it."""
    logger = logging.getLogger(_TORCH_LOGGER)
    disabled = logger.disabled
    logger.disabled = True
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(printed):
            # A pruned layer (torch.nn.utils.prune) sets its weight in a hook; torch restores it after tracing.
            warnings.filterwarnings("ignore", message="The tensor attribute")
            yield
        sys.stderr.write(printed.getvalue())  # the model's own words, where nothing failed
    finally:
        logger.disabled = disabled


def _example(module: nn.Module, input_shape: tuple[int, int, int]) -> torch.Tensor:
    """Two samples (torch takes a batch of one as fixed) on the module's device; tracing never reads their values."""
    tensors = [*module.parameters(), *module.buffers()]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    device = tensors[0].device if tensors else torch.device("cpu")
    return torch.empty(2, *input_shape, device=device, dtype=floating[0].dtype if floating else torch.float32)


def _essence(error: Exception) -> str:
    """The line of torch's message that says what is wrong, with the line of the user's code that caused it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].partition(" For more information")[0] if lines else ""
    detail = next((line for line in lines if line.startswith("- ")), "")
    places = re.findall(r'File "([^"]+)", line (\d+), in \w+', str(error))
    where = f"at {places[-1][0]}:{places[-1][1]}" if places else ""
    return " ".join(part for part in (f"{type(error).__name__}:", first, detail, where) if part)


_ADVICE = {
    r"specialized|size\(\)\[0\]|Guard failed": "the model must take any batch size: no constant may stand for it",
    r"data-dependent": "replace Python control flow on tensor values by torch.where or a mask",
    r"not on the expected device": "register every tensor of the model as a parameter or buffer",
    r"concrete integers": "a draw from a torch.Generator object cannot be traced; draw without one",
}


def _advice(message: str) -> str:
    for pattern, advice in _ADVICE.items():
        if re.search(pattern, message):
            return advice
    return "torch.export must be able to trace the model for one image tensor (batch, channels, height, width)"


def export_graph(module: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    """The module's graph in evaluation mode, batch symbolic, parameters shared with the module (none is copied).

    Args:
        module: takes one tensor (batch, *input_shape); unchanged by this call. On the meta device it needs no weights.
        input_shape: channels, height, width.

    Raises:
        InputError: torch.export cannot trace it; holds the essential line of torch's message.
    """
    if len(input_shape) != 3 or any(isinstance(size, bool) or not isinstance(size, int) for size in input_shape):
        raise InputError("input shape must be three integers: channels, height, width", got=input_shape)
    if min(input_shape) < 1:
        raise InputError("channels, height and width must be at least 1", got=input_shape)
    example = _example(module, input_shape)
    try:
        with evaluation_mode(module), torch.no_grad(), _without_dumps():
            return torch.export.export(module, (example,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False)
    except Exception as error:
        message = _essence(error)
        shape = ", ".join(map(str, input_shape))
        raise InputError(
            f"{type(module).__name__} must be traceable for an input of shape (batch, {shape})",
            got=message,
            fix=_advice(message),
        ) from error
