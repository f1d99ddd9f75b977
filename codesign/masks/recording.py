"""Records which operands are zero in every layer while images flow through a model.

A mask holds 1 where an operand is nonzero: the inputs of every layer for every sample, both operands of a product of
activations, and each weight once. Zeros from padding are no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.masks.format import InputKind, MaskOperand
from codesign.models.execution import run, verify
from codesign.models.layers import Layer, TracedModel
from codesign.models.tracing import GraphTrace, Site, trace_graph

__all__ = ["MaskSink", "SampleSink", "record"]


class SampleSink(Protocol):
    """Takes the samples of one tensor, batch by batch."""

    def append(self, values: npt.NDArray[Any]) -> None:
        """Values of shape (samples, *sample_shape)."""


class MaskSink(Protocol):
    """Where masks go: a MaskWriter, or anything with these two methods."""

    def stream(
        self,
        layer: str,
        operand: MaskOperand,
        input_kind: InputKind,
        sample_shape: tuple[int, ...],
        *,
        threshold: float = 0.0,
    ) -> SampleSink:
        """A tensor that differs from sample to sample."""

    def add_constant(
        self, layer: str, operand: MaskOperand, values: npt.NDArray[Any], *, threshold: float = 0.0
    ) -> None:
        """A tensor that is the same for every sample."""


def record(
    module: nn.Module,
    traced: TracedModel,
    batches: Iterable[Tensor],
    sink: MaskSink,
    *,
    input_kind: InputKind,
    threshold: float = 0.0,
) -> int:
    """Write the masks of all operands of all layers. Memory holds one batch, however many follow.

    The model runs in evaluation mode, without gradients. The first batch also runs through the module itself, to check
    that the recorded graph computes the same.

    Args:
        module: the traced module, with its weights; unchanged.
        traced: what ``trace`` gave for it.
        batches: images (batch, channels, height, width) as the module takes them, on its device.
        sink: a MaskWriter within its block.
        input_kind: what the images are.
        threshold: an element counts as nonzero above this magnitude; 0 records exact zeros only.

    Returns:
        The number of samples recorded.

    Raises:
        InputError: no images, images of different shapes, NaN in an operand, a model on the meta device, or layers in
            ``traced`` that are not the module's.
    """
    recorder: _Recorder | None = None
    shape = torch.Size()
    samples = 0
    for images in batches:
        if recorder is None:
            graph = _graph(module, traced, images)
            shape = images.shape[1:]
            recorder = _Recorder(sink, input_kind, threshold)
            verify(graph, module, images, run(graph, images, recorder.visit))
        elif images.shape[1:] != shape:
            raise InputError(f"all images must have shape {tuple(shape)}", got=tuple(images.shape[1:]), key="images")
        else:
            run(graph, images, recorder.visit)
        samples += len(images)
    if samples == 0:
        raise InputError("at least one image is needed to record masks", got="none", key="images")
    return samples


class _Recorder:
    """Sends each operand to its sink."""

    def __init__(self, sink: MaskSink, input_kind: InputKind, threshold: float) -> None:
        self._sink = sink
        self._input_kind: InputKind = input_kind
        self._threshold = threshold
        self._streams: dict[tuple[str, MaskOperand], SampleSink] = {}
        self._constants: set[str] = set()

    def visit(self, site: Site, inputs: Tensor, weights: Tensor) -> None:
        """One layer of one batch."""
        layer = site.layer
        self._append(layer, "inputs", inputs, layer.inputs.shape)
        if not layer.weights.constant:
            self._append(layer, "weights", weights, layer.weights.shape)
        elif layer.name not in self._constants:
            self._sink.add_constant(layer.name, "weights", _array(weights), threshold=self._threshold)
            self._constants.add(layer.name)

    def _append(self, layer: Layer, operand: MaskOperand, values: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(values.shape[1:]) != shape:
            raise InputError(
                f"{operand} of {layer.name} must have the traced shape {shape}",
                got=tuple(values.shape[1:]),
                key="masks",
            )
        stream = self._streams.get((layer.name, operand))
        if stream is None:
            stream = self._sink.stream(layer.name, operand, self._input_kind, shape, threshold=self._threshold)
            self._streams[layer.name, operand] = stream
        stream.append(_array(values))


def _array(values: Tensor) -> npt.NDArray[Any]:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).contiguous().numpy()


def _graph(module: nn.Module, traced: TracedModel, images: Tensor) -> GraphTrace:
    """The module's graph, checked to have exactly the traced layers."""
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise InputError("the model must have weights to record masks", got="a model on the meta device", key="model")
    if images.ndim != 4 or not len(images):
        raise InputError(
            "images must have shape (batch, channels, height, width), batch at least 1",
            got=tuple(images.shape),
            key="images",
        )
    named = {entry.operator for entry in traced.coverage if entry.reason == "named by the user"}
    channels, height, width = images.shape[1:]
    graph = trace_graph(module, (channels, height, width), ignore=named)
    pairs = zip(graph.model.layers, traced.layers, strict=False)
    differing = next((f"{ours} is not {theirs}" for ours, theirs in pairs if ours != theirs), None)
    if differing is None and len(graph.model.layers) != len(traced.layers):
        differing = f"{len(graph.model.layers)} layers, not {len(traced.layers)}"
    if differing is not None:
        raise InputError(
            "the layers of the model must be the traced ones",
            got=differing,
            key="model",
            fix="trace this very model for images of this size",
        )
    return graph
