"""Writes the essential masks of a defended network in the mask format, as operand ``outputs`` of each layer."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from codesign.defenses.neni.defending import DefendedModel
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.wrapping import defended_layers
from codesign.errors import InputError
from codesign.masks.format import InputKind, MaskOperand
from codesign.masks.recording import SampleSink
from codesign.models._export import evaluation_mode

__all__ = ["MEANING", "record_essential"]

MEANING = "1: the neuron is essential, its exact product is computed; 0: its approximate value is used"


class OutputSink(Protocol):
    """Where the masks go: a MaskWriter, or anything with this method."""

    def stream(
        self,
        layer: str,
        operand: MaskOperand,
        input_kind: InputKind,
        sample_shape: tuple[int, ...],
        *,
        threshold: float = 0.0,
        meaning: str | None = None,
    ) -> SampleSink:
        """A tensor that differs from sample to sample."""


def record_essential(
    defended: DefendedModel, batches: Iterable[Tensor], sink: OutputSink, *, input_kind: InputKind
) -> int:
    """Write the mask of every defended layer for every sample; memory holds one batch. Returns the number of samples.

    The masks have the shape of a sample's outputs, (channels, rows, columns) or (..., channels), under the layer names
    of the base network. A layer that runs twice in a forward pass is recorded as ``name`` and ``name#2``.

    Raises:
        InputError: no images, or a control that makes no mask.
    """
    if defended.settings.control in ("exact", "approximation", "uniform", "quantized"):
        raise InputError(
            "this control selects no neurons, so there is no mask to record",
            got=defended.settings.control,
            key="neni.control",
        )
    recorder = _Recorder(sink, input_kind)
    layers = defended_layers(defended.module)
    samples = 0
    try:
        for layer in layers:
            layer.mask_observer = partial(recorder.add, layer)
        with evaluation_mode(defended.module), torch.no_grad():
            for images in batches:
                recorder.begin(len(images))
                defended.module(images)
                samples += len(images)
    finally:
        for layer in layers:
            layer.mask_observer = None
    if samples == 0:
        raise InputError("at least one image is needed to record masks", got="none", key="images")
    return samples


class _Recorder:
    """Sends each mask to its stream, telling the uses of a layer within one pass apart."""

    def __init__(self, sink: OutputSink, input_kind: InputKind) -> None:
        self._sink = sink
        self._input_kind: InputKind = input_kind
        self._streams: dict[str, SampleSink] = {}
        self._uses: dict[str, int] = {}
        self._samples = 0

    def begin(self, samples: int) -> None:
        """A new batch."""
        self._uses.clear()
        self._samples = samples

    def add(self, layer: DefendedLayer, mask: Tensor) -> None:
        """The mask of one use of a layer; frames folded into the batch become a leading axis of each sample."""
        name = layer.plan.name
        self._uses[name] = self._uses.get(name, 0) + 1
        if self._uses[name] > 1:
            name = f"{name}#{self._uses[name]}"
        folded = len(mask) // self._samples
        values = mask.reshape(self._samples, folded, *mask.shape[1:]) if folded > 1 else mask
        if name not in self._streams:
            shape = tuple(values.shape[1:])
            self._streams[name] = self._sink.stream(name, "outputs", self._input_kind, shape, meaning=MEANING)
        bits: npt.NDArray[Any] = values.cpu().numpy()
        self._streams[name].append(bits)
