"""Exact hypergeometric probabilities, also for tiles of millions of words.

Probabilities are ratios of products of binomial coefficients. They are built up from the mode by the recurrence
P(k+1) / P(k) = (r - k)(n - k) / ((k + 1)(N - r - n + k + 1)) in integer arithmetic of fixed precision, and normalised
by their sum; the results are correctly rounded doubles, zero where they underflow. Only the part of the support that
does not underflow is visited (some 76 standard deviations), not all of it.
"""

from __future__ import annotations

import math
from functools import lru_cache

from codesign.errors import InputError

__all__ = ["empty_probabilities", "empty_probability", "occupancy_probabilities"]

_MOST_OCCUPANCIES = 300_000
_MOST_FACTORS = 100_000
_PRECISION = 1400  # bits: doubles reach down to 2**-1074, the rest guards against accumulated truncation


@lru_cache(maxsize=512)
def occupancy_probabilities(population: int, nonzeros: int, tile: int) -> tuple[int, tuple[float, ...]]:
    """Smallest occupancy of non-vanishing probability, and the probabilities from there on without gaps.

    Args:
        population: words of the tensor (N).
        nonzeros: of them (r).
        tile: words drawn without replacement (n).
    """
    zeros = population - nonzeros
    least, most = max(0, tile - zeros), min(tile, nonzeros)
    spread = 76 * math.sqrt(tile * (nonzeros / population) * (zeros / population) * (1 - tile / population))
    if min(most - least, spread) > _MOST_OCCUPANCIES:
        raise InputError(
            f"not modelled: a distribution of more than {_MOST_OCCUPANCIES} occupancies",
            got=f"{nonzeros} nonzeros among {population} words, tiles of {tile}",
            fix="use a fixed_structured density for this tensor: at this size it is as good",
        )
    mode = min(most, max(least, (tile + 1) * (nonzeros + 1) // (population + 2)))
    above, below = [1 << _PRECISION], []
    for k in range(mode, most):
        weight = above[-1] * ((nonzeros - k) * (tile - k)) // ((k + 1) * (zeros - tile + k + 1))
        if weight == 0:
            break
        above.append(weight)
    weight = above[0]
    for k in range(mode, least, -1):
        weight = weight * (k * (zeros - tile + k)) // ((nonzeros - k + 1) * (tile - k + 1))
        if weight == 0:
            break
        below.append(weight)
    weights = below[::-1] + above
    total = sum(weights)
    probabilities = [weight / total for weight in weights]
    first = next(index for index, p in enumerate(probabilities) if p)
    last = next(index for index in range(len(weights) - 1, -1, -1) if probabilities[index])
    return mode - len(below) + first, tuple(probabilities[first : last + 1])


@lru_cache(maxsize=4096)
def empty_probability(population: int, nonzeros: int, tile: int) -> float:
    """Probability that a tile holds no nonzero."""
    return _empty_weight(population, nonzeros, tile) / (1 << _PRECISION)


def empty_probabilities(population: int, first: int, count: int, tile: int) -> list[float]:
    """``empty_probability`` for ``first``, ``first + 1``, ... nonzeros in the population."""
    if tile == 1:
        return [(population - nonzeros) / population for nonzeros in range(first, first + count)]
    weight = _empty_weight(population, first, tile)
    found = []
    for nonzeros in range(first, first + count):
        found.append(weight / (1 << _PRECISION))
        left = population - nonzeros
        weight = weight * (left - tile) // left if left > tile else 0
    return found


def _empty_weight(population: int, nonzeros: int, tile: int) -> int:
    if nonzeros == 0:
        return 1 << _PRECISION
    if nonzeros + tile > population:
        return 0
    few, many = sorted((nonzeros, tile))
    if few > _MOST_FACTORS:
        return _integrated(population, few, many)
    weight = 1 << _PRECISION
    for index in range(few):
        weight = weight * (population - many - index) // (population - index)
        if weight == 0:
            break
    return weight


def _integrated(population: int, few: int, many: int) -> int:
    """The same product for very many factors: the sum of their logarithms as an integral (Simpson's rule)."""
    steps = 2000
    width = few / steps
    total = 0.0
    for step in range(steps + 1):
        left = population - (step * width - 0.5)
        if left <= many:
            return 0
        total += math.log1p(-many / left) * (1 if step in (0, steps) else 4 if step % 2 else 2)
    logarithm = total * width / 3
    if logarithm < -745:
        return 0
    mantissa, exponent = math.frexp(math.exp(logarithm))
    shift = _PRECISION + exponent - 53
    return int(mantissa * (1 << 53)) << shift if shift >= 0 else 0
