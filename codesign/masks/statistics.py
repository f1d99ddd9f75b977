"""Statistics of every layer from its stored masks: densities, and the multiply-accumulates that zeros leave to do."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.masks.format import InputKind
from codesign.masks.reading import MaskSet, MaskTensor
from codesign.masks.uses import input_uses
from codesign.models.layers import Layer, LayerKind, TracedModel

__all__ = ["LayerStatistics", "layer_statistics", "model_statistics", "write_csv"]


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """What the masks of one layer say, for one kind of input. Shares and densities are in [0, 1].

    Args:
        layer, kind: the traced layer's name and operator.
        input_kind: clean or adversarial.
        samples: how many samples the figures are over.
        macs: multiply-accumulates of one sample, padding included.
        weight_density: nonzero weights over all weights; the mean over samples where the weights are an activation.
        input_density_mean, input_density_std: over samples; the population's standard deviation.
        input_density_p5, input_density_p95: 5th and 95th percentile over samples, linear between two samples.
        input_channel_density_min, input_channel_density_max, input_channel_density_std: spread over input channels of
            the density over samples and positions. A channel is one index of the summed dimension.
        nonzero_input_mac_share_exact: share of ``macs`` whose input is nonzero (padding counts as zero), mean over
            samples.
        nonzero_weight_mac_share_exact: share of ``macs`` whose weight is nonzero.
        effectual_mac_share_exact: share of ``macs`` with both operands nonzero, mean over samples, counted
            multiply-accumulate by multiply-accumulate and not a product of densities.
        effectual_mac_share_exact_std: its population standard deviation over samples.
    """

    layer: str
    kind: LayerKind
    input_kind: InputKind
    samples: int
    macs: int
    weight_density: float
    input_density_mean: float
    input_density_std: float
    input_density_p5: float
    input_density_p95: float
    input_channel_density_min: float
    input_channel_density_max: float
    input_channel_density_std: float
    nonzero_input_mac_share_exact: float
    nonzero_weight_mac_share_exact: float
    effectual_mac_share_exact: float
    effectual_mac_share_exact_std: float

    @property
    def effectual_macs(self) -> float:
        """Multiply-accumulates of one sample with both operands nonzero, mean over samples."""
        return self.macs * self.effectual_mac_share_exact


@dataclass(frozen=True, slots=True)
class _Counts:
    """Exact counts: one value a sample, except where said otherwise."""

    ones: npt.NDArray[np.int64]
    with_input: npt.NDArray[np.int64]
    with_weight: npt.NDArray[np.int64]
    with_both: npt.NDArray[np.int64]
    weight_density: float
    channels: npt.NDArray[np.int64]
    """Ones of each channel, over all samples."""


def model_statistics(traced: TracedModel, masks: MaskSet, *, input_kind: InputKind) -> tuple[LayerStatistics, ...]:
    """Statistics of every layer, in execution order.

    Raises:
        InputError: a mask is missing or damaged, or does not have the traced shape.
    """
    return tuple(layer_statistics(layer, masks, input_kind=input_kind) for layer in traced.layers)


def layer_statistics(layer: Layer, masks: MaskSet, *, input_kind: InputKind) -> LayerStatistics:
    """Statistics of one layer. Memory holds a few samples at a time.

    Raises:
        InputError: a mask is missing or damaged, or does not have the traced shape.
    """
    inputs = masks.tensor(layer.name, "inputs", input_kind)
    weights = masks.tensor(layer.name, "weights", None if layer.weights.constant else input_kind)
    inputs.require(layer.inputs.shape)
    weights.require(layer.weights.shape)
    counts = _constant_weights(layer, inputs, weights) if layer.weights.constant else _product(layer, inputs, weights)
    density = counts.ones / inputs.entry.bits_per_sample
    low, high = np.percentile(density, (5, 95))
    channels = counts.channels / (inputs.entry.samples * inputs.entry.bits_per_sample / len(counts.channels))
    both = counts.with_both / layer.macs
    return LayerStatistics(
        layer=layer.name,
        kind=layer.kind,
        input_kind=input_kind,
        samples=inputs.entry.samples,
        macs=layer.macs,
        weight_density=counts.weight_density,
        input_density_mean=float(density.mean()),
        input_density_std=float(density.std()),
        input_density_p5=float(low),
        input_density_p95=float(high),
        input_channel_density_min=float(channels.min()),
        input_channel_density_max=float(channels.max()),
        input_channel_density_std=float(channels.std()),
        nonzero_input_mac_share_exact=float((counts.with_input / layer.macs).mean()),
        nonzero_weight_mac_share_exact=float((counts.with_weight / layer.macs).mean()),
        effectual_mac_share_exact=float(both.mean()),
        effectual_mac_share_exact_std=float(both.std()),
    )


def _per_channel(layer: Layer, elements: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sums over all axes of the inputs but the channels: the last, in a convolution the one before the positions."""
    spatial = len(layer.weights.shape) - 2 if layer.kind in ("conv", "conv_transposed") else 0
    channels = len(layer.inputs.shape) - 1 - spatial
    totals: npt.NDArray[np.int64] = elements.sum(axis=tuple(a for a in range(elements.ndim) if a != channels))
    return totals


def _constant_weights(layer: Layer, inputs: MaskTensor, weights: MaskTensor) -> _Counts:
    """Weights are the same for every sample: each count is a weighted sum over the sample's mask.

    float64 holds these integers exactly up to 2^53, far above the multiply-accumulates of any layer.
    """
    nonzero = weights.read()[0]
    uses = [input_uses(layer, mask).ravel() for mask in (np.ones_like(nonzero), nonzero)]
    factors = np.stack([np.ones(inputs.entry.bits_per_sample), *uses], axis=1)
    sums, elements = [], np.zeros(inputs.entry.bits_per_sample, dtype=np.int64)
    for chunk in inputs.chunks():
        flat = chunk.reshape(len(chunk), -1)
        sums.append(flat.astype(np.float64) @ factors)
        elements += flat.sum(axis=0)
    totals = np.concatenate(sums).astype(np.int64)
    return _Counts(
        ones=totals[:, 0],
        with_input=totals[:, 1],
        with_weight=np.full(len(totals), layer.macs // nonzero.size * weights.entry.ones),
        with_both=totals[:, 2],
        weight_density=weights.entry.density,
        channels=_per_channel(layer, elements.reshape(layer.inputs.shape)),
    )


def _product(layer: Layer, inputs: MaskTensor, weights: MaskTensor) -> _Counts:
    """A product of activations (G, N, C) x (G, C, M): ones meet at each group and summed index."""
    rows, _, columns = layer.bounds[:3]
    parts: list[tuple[npt.NDArray[np.int64], ...]] = []
    elements = np.zeros(layer.inputs.shape, dtype=np.int64)
    start = 0
    for left in inputs.chunks():
        right = weights.read(start, start + len(left))
        start += len(left)
        ones = left.sum(axis=(1, 2, 3))
        both = (left.sum(axis=2) * right.sum(axis=3)).sum(axis=(1, 2))
        parts.append((ones, ones * columns, right.sum(axis=(1, 2, 3)) * rows, both))
        elements += left.sum(axis=0)
    ones, with_input, with_weight, with_both = (np.concatenate(part) for part in zip(*parts, strict=True))
    density = weights.entry.density
    return _Counts(ones, with_input, with_weight, with_both, density, _per_channel(layer, elements))


def write_csv(path: str | Path, statistics: Iterable[LayerStatistics]) -> None:
    """One row a layer and input kind, with the fields of LayerStatistics as columns; see docs/mask_format.md.

    The file appears complete or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", newline="", encoding="utf-8", delete=False
    ) as file:
        temporary = Path(file.name)
        writer = csv.DictWriter(file, [field.name for field in fields(LayerStatistics)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in statistics)
    temporary.chmod(0o644)
    temporary.replace(path)
