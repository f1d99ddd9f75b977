"""Fits W~ and b~ to the exact layers, streaming: memory holds one batch and the sums of each layer.

Closed form: the least squares of z on y = Px with a free offset, W~ = Cov(z, y) (Cov(y, y) + lambda I)^-1 and
b~ = E z - W~ E y. All layers are fitted in one sweep over the images, on the inputs that the exact network gives them;
a second pass sweeps again with the inputs that the defended network gives them (targets stay the layer's own z).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.defenses.neni.layers import DefendedConv, DefendedLayer
from codesign.defenses.neni.projection import scale_of
from codesign.defenses.neni.quantization import row_scales
from codesign.defenses.neni.settings import NeniSettings
from codesign.errors import InputError

__all__ = ["Fit", "Progress", "distill_gradient", "distill_ridge", "observed", "sweep"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, images done, images in total)."""

_LARGEST_CONDITION = 1e12
"""Beyond it a double-precision solution has fewer than four digits."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a layer was fitted: number of vectors, and the condition number of the system (None for the gradient)."""

    vectors: int
    condition: float | None


@contextmanager
def observed(
    layers: Sequence[DefendedLayer], observer: Callable[[DefendedLayer, Tensor, Tensor], None], *, exact_stream: bool
) -> Iterator[None]:
    """Every layer reports to ``observer`` for a while; with ``exact_stream`` it passes z on instead of z'."""
    for layer in layers:
        layer.observer, layer.exact_stream = observer, exact_stream
    try:
        yield
    finally:
        for layer in layers:
            layer.observer, layer.exact_stream = None, False


def sweep(
    module: nn.Module, images: Tensor, batch_size: int, stage: str, progress: Progress, order: Tensor | None = None
) -> None:
    """Run all images through the module, without gradients.

    Args:
        images: uint8 (0..255) or float pixels in [0, 1], (n, channels, height, width).
    """
    device = next(module.parameters()).device
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            chosen = slice(start, start + batch_size) if order is None else order[start : start + batch_size]
            batch = images[chosen].to(device)
            module(batch.float() / 255 if batch.dtype == torch.uint8 else batch)
            progress(stage, min(start + batch_size, len(images)), len(images))


def vectors(values: Tensor, layer: DefendedLayer) -> Tensor:
    """(batch, channels, ...) or (..., channels) as (blocks, groups, channels of a group, vectors of a block)."""
    if isinstance(layer, DefendedConv):
        return values.reshape(len(values), layer.groups, values.shape[1] // layer.groups, -1)
    return values.reshape(-1, values.shape[-1]).T[None, None]


class _Moments:
    """Sums over all vectors of a layer, in double precision, a (groups, ...) tensor each.

    Vectors are counted from a point near their mean (that of the first few samples): products of float32 values far
    from zero would lose the small variance around it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin: tuple[Tensor, Tensor] | None = None
        self.sums: dict[str, Tensor] = {}

    def add(self, layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        """The vectors of a batch."""
        step = layer.chunk(x)
        for inputs, targets in zip(torch.split(x, step), torch.split(exact, step), strict=True):
            self._add(layer, inputs, targets)

    def _add(self, layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        y, z = vectors(layer.projected(x) * scale_of(layer.plan.dimension), layer), vectors(exact, layer)
        self.count += y.shape[0] * y.shape[3]
        if self.origin is None:
            self.origin = y.mean(dim=(0, 3))[:, :, None], z.mean(dim=(0, 3))[:, :, None]
        y, z = y - self.origin[0], z - self.origin[1]
        if y.shape[1] == 1 and y.shape[0] > 1:
            # One product of matrices a sample, added up as it goes: no copy of the batch in another layout.
            flat, target = y[:, 0], z[:, 0]
            zero = y.new_zeros(())
            yy = torch.addbmm(zero, flat, flat.transpose(1, 2), beta=0)[None]
            zy = torch.addbmm(zero, target, flat.transpose(1, 2), beta=0)[None]
        else:
            yy, zy = torch.einsum("bgkl,bgml->gkm", y, y), torch.einsum("bgnl,bgkl->gnk", z, y)
        found = {"yy": yy, "zy": zy, "y": y.sum(dim=(0, 3)), "z": z.sum(dim=(0, 3))}
        for name, value in found.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()

    def solve(self, layer: DefendedLayer, ridge: float) -> tuple[Tensor, Tensor, Tensor, float]:
        """W~ (groups, n, k), b~ (groups, n), Cov(y, y), and the condition number of the regularised system."""
        mean_y, mean_z = self.sums["y"] / self.count, self.sums["z"] / self.count
        covariance = self.sums["yy"] / self.count - mean_y[:, :, None] * mean_y[:, None, :]
        cross = self.sums["zy"] / self.count - mean_z[:, :, None] * mean_y[:, None, :]
        k = covariance.shape[-1]
        diagonal = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp_min(1e-300)
        system = covariance + (ridge * diagonal)[:, None, None] * torch.eye(
            k, dtype=torch.float64, device=covariance.device
        )
        condition = max(_condition(matrix) for matrix in system)
        if self.count <= k or condition > _LARGEST_CONDITION:
            raise InputError(
                f"the ridge system of {layer.plan.name} must be solvable: {self.count} vectors from the calibration "
                f"images for k = {k} unknowns a neuron",
                got=f"condition number {max(_condition(matrix) for matrix in covariance):.3g} without lambda, "
                f"{condition:.3g} with it",
                key="neni",
                fix="give more calibration images, lower the dimension, or raise ridge",
            )
        weight = torch.linalg.solve(system, cross.transpose(1, 2)).transpose(1, 2)
        assert self.origin is not None  # vectors were added
        mean_y, mean_z = mean_y + self.origin[0][:, :, 0], mean_z + self.origin[1][:, :, 0]
        return weight, mean_z - (weight @ mean_y[:, :, None])[:, :, 0], covariance, condition


def _condition(matrix: Tensor) -> float:
    """Largest over smallest eigenvalue; infinite where the smallest is not above rounding."""
    values = torch.linalg.eigvalsh(matrix)
    low, high = float(values[0]), float(values[-1])
    return high / low if low > high * 1e-17 and high > 0 else float("inf")


def distill_ridge(
    module: nn.Module,
    layers: Sequence[DefendedLayer],
    images: Tensor,
    settings: NeniSettings,
    *,
    exact_stream: bool,
    progress: Progress,
) -> dict[str, Fit]:
    """Fit every layer in closed form in one sweep.

    Raises:
        InputError: too few vectors for a layer's k, or a system too ill-conditioned to solve.
    """
    moments = {layer.plan.name: _Moments() for layer in layers}

    def observer(layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        moments[layer.plan.name].add(layer, x, exact)

    with observed(layers, observer, exact_stream=exact_stream):
        sweep(module, images, settings.batch_size, "distill", progress)
    fits = {}
    for layer in layers:
        found = moments[layer.plan.name]
        weight, offset, covariance, condition = found.solve(layer, settings.ridge)
        _set(layer, weight, offset, covariance)
        fits[layer.plan.name] = Fit(found.count, condition)
    return fits


def distill_gradient(
    module: nn.Module,
    layers: Sequence[DefendedLayer],
    images: Tensor,
    settings: NeniSettings,
    generator: torch.Generator,
    *,
    exact_stream: bool,
    progress: Progress,
) -> dict[str, Fit]:
    """Minimise (1/B) sum ||z - z~||^2 of every layer by Adam, in mini-batches of shuffled images."""
    optimizers = {
        layer.plan.name: torch.optim.Adam([layer.approximation, layer.offset], lr=settings.learning_rate)
        for layer in layers
    }
    counts = dict.fromkeys(optimizers, 0)

    def observer(layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        with torch.enable_grad():
            y = layer.projected(x.detach()) * scale_of(layer.plan.dimension)
            gap = layer.mixed(y, layer.approximation) + layer.per_channel(layer.offset) - exact.detach()
            loss = gap.square().sum(dim=layer.axis).mean()
            optimizer = optimizers[layer.plan.name]
            optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=[layer.approximation, layer.offset])  # type: ignore[no-untyped-call]
            optimizer.step()
        counts[layer.plan.name] += gap.numel() // gap.shape[layer.axis]

    with observed(layers, observer, exact_stream=exact_stream):
        for epoch in range(settings.epochs):
            order = torch.randperm(len(images), generator=generator)
            sweep(module, images, settings.batch_size, f"distill, epoch {epoch + 1}", progress, order)
    for layer in layers:
        layer.approximation.grad = layer.offset.grad = None
        weight = layer.approximation.detach().reshape(layer.groups, -1, layer.plan.dimension)
        _set(layer, weight.double(), layer.offset.detach().double(), None)
    return {name: Fit(count, None) for name, count in counts.items()}


def _set(layer: DefendedLayer, weight: Tensor, offset: Tensor, covariance: Tensor | None) -> None:
    """Store W~ and b~, and the scales of its rows."""
    with torch.no_grad():
        layer.approximation.copy_(weight.reshape(layer.approximation.shape))
        layer.offset.copy_(offset.reshape(-1))
        if layer.plan.precision != "none":
            layer.scales.copy_(row_scales(weight, layer.bits, covariance).reshape(layer.scales.shape))
