"""A convolution with a stride whose input gradient is worked out by a convolution without one.

The gradient at pixel s j + r depends on the outputs around j through the taps d with (r + p - d) divisible by the
stride s: for each of the s * s remainders r an ordinary convolution with a part of the kernel. All of them together are
one convolution with s * s times the channels, whose result is interleaved. For the few channels of an image this takes
about half the time of the transposed convolution that PyTorch runs on a processor; for 16 and more it gains nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["StridedConv2d", "gains"]

_FEW = 4  # input channels


def gains(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is of the kind that ``StridedConv2d`` is for."""
    square = all(
        isinstance(pair, tuple) and pair[0] == pair[1]
        for pair in (convolution.kernel_size, convolution.stride, convolution.padding)
    )
    return (
        type(convolution) is nn.Conv2d
        and square
        and convolution.stride[0] > 1
        and convolution.in_channels <= _FEW
        and convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
    )


class StridedConv2d(nn.Module):
    """Answers as the convolution does, bit by bit; gives a gradient to its input and none to its weights."""

    phases: torch.Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        assert gains(convolution)
        assert not isinstance(convolution.padding, str)
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride, self.padding = convolution.stride[0], convolution.padding[0]
        phases, self.first = _phases(convolution.weight.detach(), self.stride, self.padding)
        self.register_buffer("phases", phases)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Like ``nn.Conv2d``."""
        return _Convolve.apply(images, self)  # type: ignore[no-any-return, no-untyped-call]

    def input_gradient(self, slope: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """From the gradient at the output, that at an input of ``shape`` (n, c, h, w)."""
        stride, (count, channels, height, width) = self.stride, shape
        rows, columns = -(-height // stride), -(-width // stride)
        reach = self.phases.shape[2] - 1 + self.first
        last = [size - 1 + reach - (out - 1) for size, out in ((columns, slope.shape[3]), (rows, slope.shape[2]))]
        padded = functional.pad(slope, (-self.first, last[0], -self.first, last[1]))
        parts = functional.conv2d(padded, self.phases)
        split = parts.view(count, channels, stride, stride, rows, columns).permute(0, 1, 4, 2, 5, 3)
        whole = split.reshape(count, channels, rows * stride, columns * stride)
        return whole[:, :, :height, :width]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, module: StridedConv2d) -> torch.Tensor:
        ctx.module, ctx.shape = module, images.shape
        return functional.conv2d(images, module.weight, module.bias, module.stride, module.padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.module.input_gradient(slope, ctx.shape), None


def _phases(weight: torch.Tensor, stride: int, padding: int) -> tuple[torch.Tensor, int]:
    """The kernels of all remainders, (c * s * s, o, t, t), and the first output, from j on, that they look at."""
    outputs, channels, size, _ = weight.shape
    taps = [
        (rest, tap, (rest + padding - tap) // stride)
        for rest in range(stride)
        for tap in range(size)
        if (rest + padding - tap) % stride == 0
    ]
    first = min(place for _, _, place in taps)
    length = max(place for _, _, place in taps) - first + 1
    chosen = torch.zeros(stride, length, size, dtype=weight.dtype, device=weight.device)
    for rest, tap, place in taps:
        chosen[rest, place - first, tap] = 1
    kernels = torch.einsum("oide,rtd,que->irqotu", weight, chosen, chosen)
    kernels = kernels.reshape(channels * stride * stride, outputs, length, length)
    return kernels.contiguous(memory_format=torch.channels_last), first
