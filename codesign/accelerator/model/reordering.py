"""Another order of channels, so that instances side by side have about the same work (DUET's adaptive mapping).

C. Liu et al., "DUET: Boosting Deep Neural Network Efficiency on Dual-Module Architecture", MICRO 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from codesign.accelerator.model.events import Digit, all_digits
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import DENSE, ActualData, Density
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError, did_you_mean

__all__ = ["best_order", "reordered_channels"]


def reordered_channels(
    architecture: Architecture, problem: Problem, mapping: Mapping, *, dimension: str = "M"
) -> Problem:
    """The problem with the channels of every sample in another order, as DUET's adaptive mapping does.

    Channels with much work are put beside each other in the same step, on different instances, so that fewer wait.
    The mask over them is known before the layer begins, so the order may differ from sample to sample.

    Args:
        dimension: of the output channels, or of the input channels of a tensor with a mask.

    Raises:
        InputError: not exactly one tensor has a mask (actual data, not all ones) over the dimension alone.
    """
    if dimension not in problem.dimensions:
        raise InputError("no such dimension", got=dimension, fix=did_you_mean(dimension, problem.dimensions))
    d = problem.dimensions.index(dimension)
    masked = [i for i, density in enumerate(problem.densities) if _has_zeros(density) and d in _moving(problem, i)]
    if len(masked) > 1:
        names = " and ".join(problem.dataspaces[i].name for i in masked)
        raise InputError(f"not modelled: an order of channels that {names} have masks over", got=dimension)
    known = (isinstance(x, ActualData) and d in _moving(problem, i) for i, x in enumerate(problem.densities))
    if not masked and any(known):
        return problem  # without zeros, every order is the same
    rank = _rank_over(problem, masked[0], d) if masked else None
    if rank is None:
        rule = "channels are ordered by the actual mask of a tensor that they alone move along"
        raise InputError(rule, got=dimension)
    data = problem.densities[masked[0]]
    assert isinstance(data, ActualData)
    changed = _reordered(architecture, problem, mapping, data, rank, d)
    densities = tuple(changed if i == masked[0] else density for i, density in enumerate(problem.densities))
    return replace(problem, densities=densities)


def best_order(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    energy: EnergyTable,
    sparse: SparseOptimizations,
    before: RealisedLatency,
    *,
    synchronised_at: str | None = None,
) -> tuple[str, RealisedLatency] | None:
    """The dimension whose re-ordering leaves least waiting, and the latency with it; None if no order can change.

    Channels can be ordered along a dimension with loops in space over which exactly one of the tensors whose zeros
    save time has a mask. No order may be better than the one that there is; then so is the answer.

    Args:
        architecture, problem, mapping, energy, sparse, synchronised_at: as of ``realised_latency``.
        before: what it gave.
    """
    matters = tuple(
        density if dataspace.name in before.waits_for else DENSE
        for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True)
    )
    relevant = replace(problem, densities=matters)
    found: list[tuple[str, RealisedLatency]] = []
    for d in sorted({loop.dimension for level in mapping.levels for loop in _in_space(level) if loop.bound > 1}):
        masked = [i for i, density in enumerate(matters) if _has_zeros(density) and d in _moving(problem, i)]
        if len(masked) == 1 and _rank_over(relevant, masked[0], d) is not None:
            name = problem.dimensions[d]
            ordered = reordered_channels(architecture, relevant, mapping, dimension=name)
            after = realised_latency(architecture, ordered, mapping, energy, sparse, synchronised_at=synchronised_at)
            assert isinstance(after, RealisedLatency)  # the order changes no layout
            found.append((name, after))
    return min(found, key=lambda pair: sum(pair[1].realised_cycles), default=None)


def _in_space(level: LevelMapping) -> tuple[Loop, ...]:
    return (*level.spatial_x, *level.spatial_y)


def _rank_over(problem: Problem, index: int, d: int) -> int | None:
    """The rank of a tensor with a mask that only this dimension moves along."""
    data, ranks = problem.densities[index], problem.dataspaces[index].ranks
    own = [number for number, rank in enumerate(ranks) if [term.dimension for term in rank] == [d]]
    return own[0] if isinstance(data, ActualData) and len(own) == 1 and own[0] in data.ranks else None


def _has_zeros(density: Density) -> bool:
    return isinstance(density, ActualData) and density.ones < density.samples * prod(density.shape)


def _moving(problem: Problem, index: int) -> frozenset[int]:
    return frozenset(d for d in problem.dataspaces[index].dimensions if problem.bounds[d] > 1)


def _reordered(
    architecture: Architecture, problem: Problem, mapping: Mapping, data: ActualData, rank: int, d: int
) -> ActualData:
    digits = all_digits(build_nest(architecture, problem, mapping))
    positions = _positions([digit for digit in digits if digit.dimension == d], digits, problem.bounds[d])
    axis = 1 + data.ranks.index(rank)
    bits = np.moveaxis(data.unpacked(), axis, 1)
    work = bits.reshape(*bits.shape[:2], -1).sum(axis=2, dtype=np.int64)
    order = np.argsort(-work, axis=1, kind="stable")
    moved = np.empty_like(bits)
    for sample, channels in enumerate(order):
        moved[sample, positions] = bits[sample, channels]
    moved = np.moveaxis(moved, 1, axis)
    return ActualData.of(moved if data.varies else moved[0], varies=data.varies, ranks=data.ranks, padding=data.padding)


def _positions(own: Sequence[Digit], digits: Sequence[Digit], bound: int) -> npt.NDArray[np.int64]:
    """Coordinates in the order in which sorted channels are dealt: to all instances first, then in turn, then in steps.

    Every other turn goes backwards, so that who got the most in one turn gets the least in the next.
    """
    level = max((digit.level for digit in digits if digit.spatial), default=0)
    groups: list[list[Digit]] = [[], [], []]
    for digit in own:
        groups[0 if digit.spatial else 1 if digit.level < level else 2].append(digit)
    instance, turn, step = (_coordinates(group) for group in groups)
    found = []
    for base in step:
        for number, inner in enumerate(turn):
            found.append(base + inner + (instance[::-1] if number % 2 else instance))
    positions = np.concatenate(found)
    positions = positions[positions < bound]  # imperfect loops do not reach all that their factors would
    assert len(positions) == bound
    return positions


def _coordinates(group: Sequence[Digit]) -> npt.NDArray[np.int64]:
    values = np.zeros(1, np.int64)
    for digit in group:
        values = (digit.stride * np.arange(digit.bound)[:, None] + values).ravel()
    return values
