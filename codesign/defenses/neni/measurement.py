"""What is measured of a distilled network: thresholds, noise levels, error, recall and the essential share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from codesign.defenses.neni.distillation import Progress, observed, sweep
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.selection import Threshold
from codesign.defenses.neni.settings import NeniSettings

__all__ = ["Quality", "calibrate_thresholds", "measure_noise", "measure_quality"]

_SAMPLED = 1 << 18
"""Values of a layer that its threshold is the quantile of."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Of images that the fit did not see, as they flow through the defended network.

    Args:
        relative_error: sqrt(sum ||z - z~||^2 / sum ||z||^2).
        recall: of the neurons that the exact values would select, the share that the approximation selects.
        essential_share: measured share of essential neurons.
    """

    relative_error: float
    recall: float
    essential_share: float


def calibrate_thresholds(
    module: nn.Module,
    layers: Sequence[DefendedLayer],
    images: Tensor,
    settings: NeniSettings,
    *,
    exact_stream: bool,
    progress: Progress,
) -> None:
    """Set every layer's threshold so that its share of the approximate values lies above it."""
    sampled: dict[str, list[Tensor]] = defaultdict(list)
    batches = -(-len(images) // settings.batch_size)

    def observer(layer: DefendedLayer, x: Tensor, _exact: Tensor) -> None:
        values = layer.approximate(x).flatten()
        # An odd step visits all channels and positions, whose numbers are mostly even.
        step = max(1, values.numel() * batches // _SAMPLED) | 1
        sampled[layer.plan.name].append(values[::step].clone())

    with observed(layers, observer, exact_stream=exact_stream):
        sweep(module, images, settings.batch_size, "thresholds", progress)
    for layer in layers:
        values = torch.cat(sampled[layer.plan.name])
        above = round(layer.plan.share * len(values))
        # The largest value that is not essential; below all of them where every neuron is.
        value = -torch.inf if above >= len(values) else float(values.sort(descending=True).values[above])
        layer.plan = replace(layer.plan, selector=Threshold(value))


def measure_noise(
    module: nn.Module, layers: Sequence[DefendedLayer], images: Tensor, settings: NeniSettings, progress: Progress
) -> None:
    """Set the noise of the controls to the approximation's root mean square error, per channel.

    The Gaussian one is matched on the neurons that it replaces, the uniform one on all.
    """
    totals: dict[str, Tensor] = {}

    def observer(layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        approximate = layer.approximate(x)
        counted = torch.ones_like(exact, dtype=torch.bool)
        if layer.plan.control == "gaussian":
            counted = ~layer.plan.selector.mask(approximate, layer.axis)
        axes = [axis for axis in range(exact.ndim) if axis != layer.axis % exact.ndim]
        squared = torch.where(counted, (exact - approximate).square(), 0).double()
        found = torch.stack([squared.sum(dim=axes), counted.sum(dim=axes).double()])
        totals[layer.plan.name] = totals.get(layer.plan.name, torch.zeros_like(found)) + found

    with observed(layers, observer, exact_stream=True):
        sweep(module, images, settings.batch_size, "noise", progress)
    for layer in layers:
        squared, counted = totals[layer.plan.name]
        layer.noise_std.copy_((squared / counted.clamp_min(1)).sqrt())


def measure_quality(
    module: nn.Module, layers: Sequence[DefendedLayer], images: Tensor, settings: NeniSettings, progress: Progress
) -> dict[str, Quality]:
    """See ``Quality``; by layer name."""
    totals: dict[str, Tensor] = {}

    def observer(layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        approximate = layer.approximate(x)
        chosen = layer.plan.selector.mask(approximate, layer.axis)
        wanted = layer.plan.selector.mask(exact, layer.axis)
        found = torch.tensor(
            [
                (exact - approximate).square().double().sum(),
                exact.square().double().sum(),
                (chosen & wanted).sum(),
                wanted.sum(),
                chosen.sum(),
                chosen.numel(),
            ],
            dtype=torch.float64,
        )
        totals[layer.plan.name] = totals.get(layer.plan.name, torch.zeros_like(found)) + found

    with observed(layers, observer, exact_stream=False):
        sweep(module, images, settings.batch_size, "measure", progress)
    answers = {}
    for name, found in totals.items():
        error, energy, both, wanted, chosen, neurons = found.tolist()
        # With nothing to find, nothing was missed; with nothing to approximate, nothing is wrong.
        relative = (error / energy) ** 0.5 if energy else 0.0
        answers[name] = Quality(relative, both / wanted if wanted else 1.0, chosen / neurons)
    return answers
