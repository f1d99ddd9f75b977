"""Layers with a cheap approximation beside their exact product: convolutions and linear layers.

A defended layer keeps ``weight`` and ``bias`` under their own names, so a checkpoint of the base network still fits
(``strict=False``), and adds ``projection`` (ternary), ``approximation`` and ``offset`` (W~, b~) and quantiser scales.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.defenses.neni import controls
from codesign.defenses.neni.gradients import GRADIENT_MODES, GradientMode, GradientSettings, combine, with_gradient_of
from codesign.defenses.neni.inference import can_fuse, fused_output
from codesign.defenses.neni.projection import scale_of
from codesign.defenses.neni.quantization import quantize_rows, sample_codes, sample_scales
from codesign.defenses.neni.selection import Selector
from codesign.defenses.neni.settings import BITS, Control, Precision

__all__ = ["DefendedConv", "DefendedLayer", "DefendedLinear", "LayerPlan", "Observer"]

Observer = Callable[["DefendedLayer", Tensor, Tensor], None]
"""Called with the layer, its input and its exact product, in eager mode, before the output is put together."""

_CACHED_VALUES = 1 << 19
"""Projected values at a time: 2 MiB of float32."""

MaskObserver = Callable[[Tensor], None]
"""Called with the mask of essential neurons (the shape of the output), in eager mode."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What a layer needs to know beside its weights.

    Args:
        name: of the traced layer.
        dimension: k, of one group.
        selector: which neurons are essential.
        share: the essential share that was asked for (random selection by threshold draws with it).
        precision, straight_through, control: see ``NeniSettings``.
        control_bits: of the control ``quantized``.
    """

    name: str
    dimension: int
    selector: Selector
    share: float
    precision: Precision
    straight_through: bool
    control: Control
    control_bits: int = 8


class DefendedLayer(nn.Module, ABC):
    """z' = z m + z~ (1 - m), z = W x + b, z~ = W~ P x + b~, m = the largest z~.

    Args:
        base: a convolution or a linear layer; its parameters are shared, not copied.
        plan: see ``LayerPlan``.
        ternary: the entries of P before their factor, (groups * k, ...) in the shape of a weight of the base.
    """

    weight: Tensor
    bias: Tensor | None
    projection: Tensor
    scales: Tensor
    noise_std: Tensor
    axis: int

    def __init__(self, base: nn.Conv1d | nn.Conv2d | nn.Linear, plan: LayerPlan, ternary: Tensor) -> None:
        super().__init__()
        self.register_parameter("weight", cast(nn.Parameter, base.weight))
        self.register_parameter("bias", cast(nn.Parameter | None, base.bias))
        self.plan = plan
        self.gradient = GradientSettings()
        self.exact_stream = False
        self.observer: Observer | None = None
        self.mask_observer: MaskObserver | None = None
        outputs, device, dtype = len(base.weight), base.weight.device, base.weight.dtype
        self.register_buffer("projection", ternary.to(device, dtype))
        shape = (outputs, plan.dimension, *self._ones())
        self.approximation = nn.Parameter(torch.zeros(shape, device=device, dtype=dtype))
        self.offset = nn.Parameter(torch.zeros(outputs, device=device, dtype=dtype))
        self.register_buffer("scales", torch.ones((outputs, 1, *self._ones()), device=device, dtype=dtype))
        self.register_buffer("noise_std", torch.zeros(outputs, device=device, dtype=dtype))
        self.train(base.training)

    @property
    def groups(self) -> int:
        """Groups of the base; a linear layer is one."""
        return 1

    @property
    def bits(self) -> int:
        """Bits of the approximation; 32 where it is not quantised."""
        return BITS[self.plan.precision]

    @property
    def gradient_modes(self) -> tuple[str, ...]:
        """The ways to differentiate it beside ``as_coded``, for adaptive attacks."""
        if self.plan.control in ("exact", "uniform", "quantized"):
            return ()
        return ("straight_through",) if self.plan.control == "approximation" else GRADIENT_MODES[1:]

    @contextmanager
    def gradient_mode(self, mode: GradientMode) -> Iterator[None]:
        """Inside, gradients are those of ``mode``, with the temperature and jitter that are set; values stay."""
        former, self.gradient = self.gradient, replace(self.gradient, mode=mode)
        try:
            yield
        finally:
            self.gradient = former

    @abstractmethod
    def exact(self, x: Tensor) -> Tensor:
        """z, by the very call that the base makes."""

    @abstractmethod
    def projected(self, x: Tensor) -> Tensor:
        """The ternary products, (batch, groups * k, ...) or (..., k), without the factor sqrt(3 / k)."""

    @abstractmethod
    def mixed(self, projected: Tensor, weight: Tensor) -> Tensor:
        """The product with W~ alone, in the shape of z."""

    @abstractmethod
    def with_weight(self, x: Tensor, weight: Tensor) -> Tensor:
        """The base's product with another weight."""

    @abstractmethod
    def per_channel(self, values: Tensor) -> Tensor:
        """(channels,) in a shape that broadcasts against z."""

    @abstractmethod
    def _ones(self) -> tuple[int, ...]:
        """The kernel sizes of the product with W~."""

    def approximate(self, x: Tensor) -> Tensor:
        """z~, quantised as planned.

        Some samples at a time: the projected input is far larger than the output, and stays in the cache this way.
        """
        weight, step = self.rounded_weight(), self.chunk(x)
        if torch.compiler.is_compiling() or len(x) <= step:
            return self._approximate(x, weight)
        return torch.cat([self._approximate(part, weight) for part in torch.split(x, step)])

    def chunk(self, x: Tensor) -> int:
        """Samples whose projected input stays in the cache."""
        positions = prod(x.shape[2:]) if self.axis == 1 else prod(x.shape[1:-1])
        return max(1, _CACHED_VALUES // (positions * len(self.projection)))

    def _rounds_straight_through(self) -> bool:
        return self.plan.straight_through or self.gradient.mode != "as_coded"

    def rounded_weight(self) -> Tensor:
        """W~ as it is multiplied with."""
        if self.plan.precision == "none":
            return self.approximation
        passes = self._rounds_straight_through()
        return quantize_rows(self.approximation, self.scales, self.bits, straight_through=passes)

    def _approximate(self, x: Tensor, weight: Tensor) -> Tensor:
        projected, factor = self.projected(x), scale_of(self.plan.dimension)
        offset = self.per_channel(self.offset)
        if self.plan.precision == "none":
            return self.mixed(projected, weight) * factor + offset
        scales = sample_scales(projected, self.bits)
        passes = self._rounds_straight_through()
        codes = sample_codes(projected, scales, straight_through=passes, overwrite=True)
        return self.mixed(codes, weight) * (scales * factor) + offset

    def forward(self, x: Tensor) -> Tensor:
        """z', or what the control puts in its place."""
        if self.plan.control == "quantized" and not self.exact_stream:
            return controls.quantized(self, x, self.plan.control_bits)
        exact = self.exact(x)
        if self.observer is not None:
            self.observer(self, x, exact)
        if self.exact_stream or self.plan.control == "exact":
            return exact
        if self.plan.control == "uniform":
            return controls.uniform(exact, self.per_channel(self.noise_std))
        if self.gradient.mode == "bpda_exact" and exact.requires_grad:
            # Only z passes a gradient on, so that z' itself needs none.
            with torch.no_grad():
                value = self._merged(x.detach(), exact.detach(), overwrite=False)
            return with_gradient_of(exact, value)
        return self._merged(x, exact, overwrite=self.observer is None)

    def _merged(self, x: Tensor, exact: Tensor, *, overwrite: bool) -> Tensor:
        """z', or the controls' that select neurons or show z~; may put it in the place of ``exact``."""
        if can_fuse(self, x):
            done = fused_output(self, x, exact, overwrite=overwrite)
            if done is not None:
                return done
            exact = self.exact(x)
        if self.plan.control == "approximation":
            return self.approximate(x)
        # Rounding as written passes no gradient on to x (z does): cut off here, nothing is computed for it.
        cut = self.plan.precision != "none" and not self._rounds_straight_through()
        approximate = self.approximate(x.detach() if cut else x)
        with torch.no_grad():
            mask = self._mask(approximate.detach())
        if self.mask_observer is not None:
            self.mask_observer(mask)
        other = approximate
        if self.plan.control == "gaussian":
            other = controls.gaussian(exact, self.per_channel(self.noise_std))
        return combine(mask, exact, other, self.plan.selector, self.axis, self.gradient)

    def _mask(self, scores: Tensor) -> Tensor:
        if self.plan.control == "random":
            return controls.random_mask(scores, self.plan.selector, self.axis, self.plan.share)
        return self.plan.selector.mask(scores, self.axis)

    def extra_repr(self) -> str:
        """What the layer does, for ``print(module)``."""
        plan = self.plan
        return f"{tuple(self.weight.shape)}, k={plan.dimension}, {plan.selector}, {plan.precision}, {plan.control}"


class DefendedConv(DefendedLayer):
    """A 1-D or 2-D convolution, grouped or not: P as ternary kernels of the base's size, then W~ as a 1x1 kernel."""

    axis = 1

    def __init__(self, base: nn.Conv1d | nn.Conv2d, plan: LayerPlan, ternary: Tensor) -> None:
        self._spatial = base.weight.ndim - 2
        self._groups = base.groups
        super().__init__(base, plan, ternary)
        self._call = F.conv2d if self._spatial == 2 else F.conv1d
        self._stride, self._dilation = base.stride, base.dilation
        self._padding: Any = base.padding if base.padding_mode == "zeros" else 0
        self._pad: list[int] | None = None
        self._padding_mode = base.padding_mode
        if base.padding_mode != "zeros":
            self._pad = list(base._reversed_padding_repeated_twice)

    @property
    def groups(self) -> int:
        """Groups of the base."""
        return self._groups

    def exact(self, x: Tensor) -> Tensor:
        """See the base class."""
        return self._convolve(x, self.weight, self.bias)

    def projected(self, x: Tensor) -> Tensor:
        """See the base class."""
        return self._convolve(x, self.projection, None)

    def mixed(self, projected: Tensor, weight: Tensor) -> Tensor:
        """See the base class."""
        return self._call(projected, weight, None, groups=self._groups)

    def with_weight(self, x: Tensor, weight: Tensor) -> Tensor:
        """See the base class."""
        return self._convolve(x, weight, self.bias)

    def per_channel(self, values: Tensor) -> Tensor:
        """See the base class."""
        return values.reshape(-1, *self._ones())

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._pad is not None:
            x = F.pad(x, self._pad, mode=self._padding_mode)
        return self._call(x, weight, bias, self._stride, self._padding, self._dilation, self._groups)

    def _ones(self) -> tuple[int, ...]:
        return (1,) * self._spatial


class DefendedLinear(DefendedLayer):
    """A linear layer over (..., d), each vector by itself."""

    axis = -1

    def exact(self, x: Tensor) -> Tensor:
        """See the base class."""
        return F.linear(x, self.weight, self.bias)

    def projected(self, x: Tensor) -> Tensor:
        """See the base class."""
        return F.linear(x, self.projection)

    def mixed(self, projected: Tensor, weight: Tensor) -> Tensor:
        """See the base class."""
        return F.linear(projected, weight)

    def with_weight(self, x: Tensor, weight: Tensor) -> Tensor:
        """See the base class."""
        return F.linear(x, weight, self.bias)

    def per_channel(self, values: Tensor) -> Tensor:
        """See the base class."""
        return values

    def _ones(self) -> tuple[int, ...]:
        return ()
