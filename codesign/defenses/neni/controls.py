"""What a claim about the method must be compared with, each as a variant of the same defended layer.

``exact``          z: share 1.
``approximation``  z~: share 0.
``random``         as many essential neurons, chosen at random.
``gaussian``       z on the essential neurons, z plus Gaussian noise on the others, per channel of the variance that the
                   approximation error has there: the noise without the approximation.
``uniform``        z plus uniform noise on all neurons, per channel of the variance of the approximation error.
``quantized``      z with weights and inputs rounded to the largest number of bits that needs no more BitOPs.

Random numbers come from torch's default generator, because a draw from a ``torch.Generator`` object cannot be exported;
seed it (``torch.manual_seed``, within ``torch.random.fork_rng``) where a result must be repeated. Those three controls
are random models: they are to be judged over many draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from codesign.defenses.neni.quantization import quantize_rows, sample_codes, sample_scales
from codesign.defenses.neni.selection import Selector, Threshold

if TYPE_CHECKING:
    from codesign.defenses.neni.layers import DefendedLayer

__all__ = ["RANDOM_CONTROLS", "gaussian", "quantized", "random_mask", "uniform"]

RANDOM_CONTROLS = frozenset({"random", "gaussian", "uniform"})
"""Controls that draw on every forward pass."""


def random_mask(scores: Tensor, selector: Selector, axis: int, share: float) -> Tensor:
    """The selector's own number of essential neurons, at random places; each with ``share`` under a threshold."""
    draws = torch.rand_like(scores)
    return draws < share if isinstance(selector, Threshold) else selector.mask(draws, axis)


def gaussian(exact: Tensor, std: Tensor) -> Tensor:
    """``exact`` plus normal noise of that standard deviation."""
    return exact + std * torch.randn_like(exact)


def uniform(exact: Tensor, std: Tensor) -> Tensor:
    """``exact`` plus uniform noise of that standard deviation."""
    return exact + std * 12**0.5 * (torch.rand_like(exact) - 0.5)


def quantized(layer: DefendedLayer, x: Tensor, bits: int) -> Tensor:
    """The base's product with weights (per row) and inputs (per sample) rounded to ``bits``; gradients pass through.

    W is rounded at the scale of its row's largest magnitude.
    """
    weight = layer.weight
    limit = 2 ** (bits - 1) - 1
    tops = weight.detach().flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(weight.dtype).tiny * 256)
    rows = (tops / limit).reshape(-1, *([1] * (weight.ndim - 1)))
    rounded = quantize_rows(weight, rows, bits, straight_through=True)
    scales = sample_scales(x, bits)
    return layer.with_weight(sample_codes(x, scales, straight_through=True) * scales, rounded)
