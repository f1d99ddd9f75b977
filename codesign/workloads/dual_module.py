"""A defended layer as work for a dual-module accelerator: projection, approximate product, selection, exact product.

The speculator finds z~ = W~ (P x) + b~ and the mask of essential neurons; the executor computes z where the mask is 1.
Everything is for one sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.samples import each_sample
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE, Density, Hypergeometric, StructuredNM
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from codesign.models.layers import Layer, Operand
from codesign.workloads.lowering import problem
from codesign.workloads.masks import input_data

__all__ = [
    "DualWorkload",
    "Selection",
    "dual_workload",
    "expected_outputs",
    "padded_dimension",
    "recorded_inputs",
    "recorded_outputs",
    "row_tiles",
    "tile_counts",
    "work_imbalance",
]

SelectionRule = Literal["top_k", "n_of_m", "threshold"]
_CHANNELS = 2  # the rank of the output channels of a group in Outputs[N, G, M, P, Q]
_TERNARY_DENSITY = 1 / 3
_TERNARY_BITS = 2
_LANES = 16


@dataclass(frozen=True, slots=True)
class Selection:
    """How essential neurons are found at each position.

    Args:
        rule: ``top_k`` of all output channels, ``n_of_m`` consecutive ones, or above a ``threshold``.
        kept: K or N; not used for a threshold.
        size: M of ``n_of_m``; not used otherwise.
    """

    rule: SelectionRule
    kept: int = 0
    size: int = 0

    def comparators(self, channels: int) -> int:
        """Comparators that work for one position: a network that finds the K-th value, and one a channel against it.

        The network is Batcher's odd-even merge sort, without the comparators that the K-th value does not depend on.
        """
        if self.rule == "threshold":
            return channels
        # Imported here: the network lies beside the software that uses it, which needs torch.
        from codesign.defenses.neni.networks import comparators as network_of

        width = channels if self.rule == "top_k" else self.size
        network = 0 if self.kept >= width else len(network_of(width, (width - self.kept,)))
        return channels // width * network + channels


@dataclass(frozen=True, slots=True)
class DualWorkload:
    """The parts of one defended layer, for one sample.

    Args:
        layer: as traced.
        projection: ternary product Px, Weights a third nonzero; its computes are additions.
        approximate: W~ times the projected inputs, 1x1.
        exact: the layer itself, with the mask over its Outputs.
        share: essential share of the neurons.
        positions: output positions, at each of which neurons are selected.
        neurons: outputs, and bits of the mask.
        parameter_bits: P at two bits an entry, W~ at its precision.
        comparators: at one position.
        additions: expected of the projection, its nonzero entries.
    """

    layer: Layer
    projection: Problem
    approximate: Problem
    exact: Problem
    share: float
    positions: int
    neurons: int
    parameter_bits: int
    comparators: int
    additions: float

    @property
    def comparisons(self) -> int:
        """Of all positions."""
        return self.positions * self.comparators

    def images(self) -> Iterator[DualWorkload]:
        """The same work with the masks of each image alone, in order; once where nothing is recorded.

        Raises:
            InputError: masks with different numbers of images.
        """
        for exact in each_sample(self.exact):
            yield replace(self, exact=exact, share=_share(exact.densities[2]))


def dual_workload(
    layer: Layer,
    *,
    dimension: int,
    bits: int,
    selection: Selection,
    outputs: Density,
    input_density: float | Density | None = None,
) -> DualWorkload:
    """Lower a defended layer.

    Args:
        layer: a convolution or linear layer with a constant weight.
        dimension: k of one group.
        bits: of the approximation.
        selection: how neurons are selected.
        outputs: which outputs are essential: expected (``expected_outputs``) or recorded (``recorded_outputs``).
        input_density: of the exact product's inputs, for an executor that also skips zero inputs: a share, or recorded
            (``recorded_inputs``), of the same images as the outputs.

    The hardware computes k rounded up to a multiple of 16, the lanes that share an input: a prime k would leave most of
    an array idle. What is added counts in cycles and energy, not in ``additions``.

    Raises:
        InputError: another kind of layer, or k above d.
    """
    if layer.kind not in ("conv", "linear") or not layer.weights.constant:
        raise InputError(
            "not modelled: only convolutions and linear layers with constant weights have an approximation",
            got=f"{layer.name} ({layer.kind})",
            key="neni",
        )
    n, groups, columns, channels, rows, cols, taps_r, taps_s = layer.bounds
    inputs = channels * taps_r * taps_s
    if not 1 <= dimension <= inputs:
        raise InputError(f"k must lie in 1..{inputs} in {layer.name}", got=dimension, key="neni.dimension")
    rounded = padded_dimension(dimension)
    bounds = (n, groups, rounded, channels, rows, cols, taps_r, taps_s)
    projected = replace(layer, name=f"{layer.name}.projection", bounds=bounds)
    mixed = replace(
        layer,
        name=f"{layer.name}.approximate",
        bounds=(n, groups, columns, rounded, rows, cols, 1, 1),
        inputs=Operand((groups * rounded, rows, cols)),
        stride=(1, 1),
        dilation=(1, 1),
        padding=((0, 0), (0, 0)),
    )
    exact = problem(layer, input_density=input_density)
    positions, neurons = n * rows * cols, prod((n, groups, columns, rows, cols))
    return DualWorkload(
        layer=layer,
        projection=problem(projected, weight_density=_TERNARY_DENSITY),
        approximate=problem(mixed),
        exact=replace(exact, densities=(*exact.densities[:2], outputs)),
        share=_share(outputs),
        positions=positions,
        neurons=neurons,
        parameter_bits=groups * dimension * (inputs * _TERNARY_BITS + columns * bits),
        comparators=selection.comparators(groups * columns),
        additions=positions * groups * dimension * inputs * _TERNARY_DENSITY,
    )


def padded_dimension(dimension: int) -> int:
    """k as hardware runs it: whole lanes, which share an input."""
    return -(-dimension // _LANES) * _LANES


def expected_outputs(layer: Layer, selection: Selection, share: float) -> Density:
    """The density of a layer's essential outputs where no mask was recorded.

    Exactly K of n (or N of M) at each position where the channels of one group are all channels, else all placements
    of that share are taken as equally likely.
    """
    _, groups, columns = layer.bounds[:3]
    if share == 1.0:
        return DENSE
    if selection.rule == "top_k" and groups == 1:
        return StructuredNM(selection.kept, columns, _CHANNELS)
    if selection.rule == "n_of_m" and columns % selection.size == 0:
        return StructuredNM(selection.kept, selection.size, _CHANNELS)
    return Hypergeometric(share)


def recorded_outputs(layer: Layer, mask: npt.NDArray[Any]) -> ActualData:
    """The essential outputs of real samples: booleans (samples, *layer.outputs).

    Raises:
        InputError: another shape.
    """
    if mask.shape[1:] != layer.outputs:
        raise InputError(
            f"an essential mask of {layer.name} must have the shape of its outputs {list(layer.outputs)}",
            got=list(mask.shape[1:]),
            key="masks",
        )
    n, groups, columns, _, rows, cols = layer.bounds[:6]
    if layer.kind == "linear":
        return ActualData.of(mask.reshape(len(mask), n, columns), varies=True, ranks=(0, _CHANNELS))
    folded = mask.reshape(len(mask), n, groups, columns, rows, cols)
    return ActualData.of(np.ascontiguousarray(folded), varies=True, ranks=(0, 1, 2, 3, 4))


def recorded_inputs(layer: Layer, mask: npt.NDArray[Any]) -> ActualData:
    """The nonzero inputs of real samples, (samples, *layer.inputs.shape), with the zeros of the padding around them.

    Raises:
        InputError: another shape.
    """
    if mask.shape[1:] != layer.inputs.shape:
        raise InputError(
            f"a mask of the inputs of {layer.name} must have their shape {list(layer.inputs.shape)}",
            got=list(mask.shape[1:]),
            key="masks",
        )
    return input_data(layer, mask)


def _share(outputs: Density) -> float:
    if isinstance(outputs, ActualData):
        return outputs.ones / (outputs.samples * prod(outputs.shape))
    return float(getattr(outputs, "density"))  # noqa: B009 - Banded has none, and says so


def work_imbalance(mask: npt.NDArray[np.bool_], *, pe_rows: int, tiles: int) -> float:
    """How much longer an array whose rows wait for each other after every tile works than a balanced one; at least 1.

    Output channel c belongs to PE row ``c % pe_rows``, a tile is a part of the positions; the time of a tile is the
    number of essential neurons of its fullest row. The cycles of the model are those of a balanced array.

    Args:
        mask: essential neurons (samples, channels, ...), at least one of them set.
        pe_rows: rows that wait for each other.
        tiles: parts of the positions, as equal as they can be.
    """
    flat = mask.reshape(len(mask), mask.shape[1], -1)
    waits = works = 0.0
    for part in np.array_split(flat, tiles, axis=2):
        counts = np.zeros((len(flat), pe_rows))
        for channel in range(flat.shape[1]):
            counts[:, channel % pe_rows] += part[:, channel].sum(axis=1)
        waits += float(counts.max(axis=1).sum())
        works += float(counts.mean(axis=1).sum())
    if works == 0:
        raise ValueError("work_imbalance: at least one neuron must be essential (got none)")
    return waits / works


def row_tiles(workload: Problem, count: int) -> Problem:
    """One of ``count`` equal tiles of output rows (of vectors where there is one row)."""
    axis = "P" if workload.bounds[workload.dimensions.index("P")] > 1 else "N"
    position = workload.dimensions.index(axis)
    size = workload.bounds[position]
    if size % count:
        raise ValueError(f"row_tiles: {count} tiles must divide {size} {axis}")
    bounds = (*workload.bounds[:position], size // count, *workload.bounds[position + 1 :])
    return replace(workload, bounds=bounds)


def tile_counts(workload: Problem) -> Iterator[int]:
    """Numbers of equal tiles of rows that are possible, ascending."""
    rows, vectors = (workload.bounds[workload.dimensions.index(name)] for name in ("P", "N"))
    size = rows if rows > 1 else vectors
    yield from (count for count in range(1, size + 1) if size % count == 0)
