"""Ternary sparse random projections and their dimension.

D. Achlioptas, "Database-friendly random projections", JCSS 66(4), 2003, doi:10.1016/S0022-0000(03)00025-4: entries
sqrt(3 / k) * {-1, 0, 1} with probabilities 1/6, 2/3, 1/6 keep distances as a Gaussian projection does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from codesign.errors import InputError

__all__ = ["NONZERO_SHARE", "dimension", "jl_dimension", "scale_of", "ternary"]

NONZERO_SHARE = 1 / 3
"""Expected share of nonzero entries: additions of a projection over its entries."""


def jl_dimension(points: int, eps: float) -> int:
    """k = 4 ln N / (eps^2 / 2 - eps^3 / 3), rounded down: distances of ``points`` vectors are kept within 1 +- eps.

    N is the number of output neurons, as in the ancestor of the method (Liu et al., ICLR 2019); at least 1.
    """
    if points < 1 or not 0 < eps < 1.5:
        raise ValueError(f"jl_dimension: points >= 1 and 0 < eps < 1.5 are needed (got {points!r}, {eps!r})")
    return max(1, int(4 * math.log(points) / (eps**2 / 2 - eps**3 / 3)))


def dimension(requested: int | None, outputs: int, inputs: int, eps: float, layer: str) -> int:
    """The dimension k of a layer with ``inputs`` = d: as requested, or by the rule, capped at d.

    Raises:
        InputError: the requested dimension is above d, where a projection saves nothing.
    """
    if requested is None:
        return min(inputs, jl_dimension(outputs, eps))
    if requested > inputs:
        raise InputError(
            f"k must be at most d = {inputs} in {layer}",
            got=requested,
            key="neni.dimension",
            fix=f"lower the dimension, or leave {layer} exact",
        )
    return requested


def ternary(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float32 entries -1, 0, 1 with probabilities 1/6, 2/3, 1/6, drawn on the generator's device."""
    draws = torch.randint(0, 6, shape, generator=generator, device=generator.device)
    return (draws == 0).float() - (draws == 1).float()


def scale_of(k: int) -> float:
    """sqrt(3 / k), the factor before the ternary entries."""
    return math.sqrt(3 / k)
