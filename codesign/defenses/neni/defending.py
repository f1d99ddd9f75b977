"""From a trained network to a defended one: wrap, distil, calibrate, measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from codesign.defenses.neni.bitops import BitOps, layer_bitops
from codesign.defenses.neni.controls import RANDOM_CONTROLS
from codesign.defenses.neni.distillation import Fit, Progress, distill_gradient, distill_ridge
from codesign.defenses.neni.gradients import GradientMode, GradientSettings
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.measurement import Quality, calibrate_thresholds, measure_noise, measure_quality
from codesign.defenses.neni.settings import NeniSettings
from codesign.defenses.neni.wrapping import Target, Wrapped, defended_layers, wrap
from codesign.errors import InputError
from codesign.models.layers import TracedModel

__all__ = ["DefendedLayerReport", "DefendedModel", "defend", "gradient_mode"]

_CALIBRATION_IMAGES = 2048
"""Images that thresholds and noise levels are measured on, at most."""


@dataclass(frozen=True, slots=True)
class DefendedLayerReport:
    """A defended layer.

    Args:
        name: of the traced layer of the base network.
        path: of its module in the defended network.
        kind, outputs, inputs, groups: n, d of one neuron.
        dimension: k.
        share: asked for.
        precision: of the approximation.
        vectors, condition: of the fit; None where nothing was fitted, condition also for the gradient solver.
        quality: on held-out images; None where nothing was fitted.
        bitops: of one sample, with the measured share where there is one.
        control_bits: of the control ``quantized``.
    """

    name: str
    path: str
    kind: str
    outputs: int
    inputs: int
    groups: int
    dimension: int
    share: float
    precision: str
    vectors: int | None
    condition: float | None
    quality: Quality | None
    bitops: BitOps
    control_bits: int

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class DefendedModel:
    """A defended network and what is known of it.

    Args:
        module: a normal ``nn.Module`` in eval mode; pixels to logits, as its base.
        settings: what it was made with.
        layers: in execution order.
        exact: name and reason of every layer left exact.
    """

    module: nn.Module
    settings: NeniSettings
    layers: tuple[DefendedLayerReport, ...]
    exact: tuple[tuple[str, str], ...]

    @property
    def randomised(self) -> bool:
        """Whether two forward passes of the same images differ."""
        return self.settings.control in RANDOM_CONTROLS

    def gradient_mode(self, mode: GradientMode, **parameters: float) -> Any:
        """A context manager: see ``gradient_mode``."""
        return gradient_mode(self.module, GradientSettings(mode, **parameters))

    def record(self) -> dict[str, Any]:
        """Settings and layers as JSON types."""
        return {
            "settings": self.settings.record(),
            "layers": [layer.record() for layer in self.layers],
            "exact_layers": dict(self.exact),
        }


@contextmanager
def gradient_mode(module: nn.Module, settings: GradientSettings) -> Iterator[None]:
    """Every defended layer of ``module`` answers with these gradients for a while; the values stay as they are.

    Raises:
        InputError: the module has no defended layer.
    """
    layers = defended_layers(module)
    if not layers:
        raise InputError("gradient modes are for defended networks", got=type(module).__name__, key="model")
    former = [layer.gradient for layer in layers]
    for layer in layers:
        layer.gradient = settings
    try:
        yield
    finally:
        for layer, own in zip(layers, former, strict=True):
            layer.gradient = own


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody is told."""


def defend(
    module: nn.Module,
    traced: TracedModel,
    calibration_images: Tensor,
    settings: NeniSettings,
    generator: torch.Generator,
    *,
    progress: Progress = _silent,
) -> DefendedModel:
    """A defended copy of a trained network; ``module`` is unchanged.

    Args:
        module: logits from pixels in [0, 1]; with its weights.
        traced: what ``trace`` gave for it.
        calibration_images: training images without labels, uint8 or float in [0, 1], (n, channels, height, width).
            Some hundred will do; the last ``held_out`` of them measure the fit and are not fitted.
        settings: see ``NeniSettings``.
        generator: draws the projections, and the order of images of the gradient solver.
        progress: called with (stage, images done, images in total).

    Raises:
        InputError: see ``wrap`` and ``distill_ridge``; images of a wrong shape or fewer than 2.
    """
    _check_images(calibration_images)
    wrapped = wrap(module, traced, settings, generator)
    fits: dict[str, Fit] = {}
    quality: dict[str, Quality] = {}
    if settings.control not in ("exact", "quantized"):
        fitted, held_out = _split(calibration_images, settings)
        fits = _distill(wrapped, fitted, settings, generator, progress)
        layers = [layer for _, layer in wrapped.layers]
        if settings.control in ("gaussian", "uniform"):
            measure_noise(wrapped.module, layers, fitted[:_CALIBRATION_IMAGES], settings, progress)
        quality = measure_quality(wrapped.module, layers, held_out, settings, progress)
    reports = tuple(
        _report(target, layer, settings, fits.get(target.layer.name), quality.get(target.layer.name))
        for target, layer in wrapped.layers
    )
    return DefendedModel(wrapped.module, settings, reports, wrapped.exact)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or len(images) < 2:
        raise InputError(
            "calibration needs at least 2 images (n, channels, height, width)", got=tuple(images.shape), key="neni"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError("calibration images are uint8 or float in [0, 1]", got=str(images.dtype), key="neni")
    if images.is_floating_point() and not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("calibration images must lie in [0, 1]", got="others", key="neni", fix="divide by 255")


def _split(images: Tensor, settings: NeniSettings) -> tuple[Tensor, Tensor]:
    count = min(len(images) - 1, max(1, round(settings.held_out * len(images))))
    return images[:-count], images[-count:]


def _distill(
    wrapped: Wrapped, images: Tensor, settings: NeniSettings, generator: torch.Generator, progress: Progress
) -> dict[str, Fit]:
    layers = [layer for _, layer in wrapped.layers]
    fits: dict[str, Fit] = {}
    for number in range(settings.passes):
        exact_stream = number == 0
        if settings.solver == "ridge":
            fits = distill_ridge(wrapped.module, layers, images, settings, exact_stream=exact_stream, progress=progress)
        else:
            fits = distill_gradient(
                wrapped.module, layers, images, settings, generator, exact_stream=exact_stream, progress=progress
            )
        if settings.selection == "threshold":
            few = images[:_CALIBRATION_IMAGES]
            calibrate_thresholds(wrapped.module, layers, few, settings, exact_stream=exact_stream, progress=progress)
    return fits


def _report(
    target: Target, layer: DefendedLayer, settings: NeniSettings, fit: Fit | None, quality: Quality | None
) -> DefendedLayerReport:
    outputs, inputs = len(layer.weight), prod(layer.weight.shape[1:])
    plan = layer.plan
    share = plan.share if quality is None else quality.essential_share
    return DefendedLayerReport(
        name=plan.name,
        path=target.path,
        kind=target.layer.kind,
        outputs=outputs,
        inputs=inputs,
        groups=layer.groups,
        dimension=plan.dimension,
        share=plan.share,
        precision=plan.precision,
        vectors=None if fit is None else fit.vectors,
        condition=None if fit is None else fit.condition,
        quality=quality,
        bitops=layer_bitops(
            target.layer.macs,
            outputs,
            inputs,
            layer.groups,
            plan.dimension,
            share,
            settings.exact_bits,
            layer.bits,
        ),
        control_bits=plan.control_bits,
    )
