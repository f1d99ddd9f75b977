"""Gating and skipping of storage accesses: how probable it is that what they wait for is zero.

An access to the target is ineffectual if the tile of a condition tensor that meets it is empty. Which tile that is
follows from the loops between the storage and the next inner level that holds the target (the leader tile).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, prod

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.density_models import DensityModel
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.accelerator.spec.sparse import Option, Saving, SparseOptimizations

__all__ = ["CompleteLoop", "Saved", "Setting", "complete_loops", "find_savings"]


@dataclass(frozen=True, slots=True)
class CompleteLoop:
    """A loop of the complete nest, in which loops of one iteration count too."""

    dimension: int
    bound: int
    spatial: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """Accesses that are gated or skipped with a probability."""

    kind: Saving
    probability: float


def complete_loops(mapping: Mapping) -> tuple[tuple[CompleteLoop, ...], ...]:
    """All loops of every level, innermost first."""
    return tuple(
        tuple(CompleteLoop(loop.dimension, loop.bound, True) for loop in (*level.spatial_x, *level.spatial_y))
        + tuple(CompleteLoop(loop.dimension, loop.bound, False) for loop in level.temporal)
        for level in mapping.levels
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """What savings depend on.

    Args:
        loops: complete nest, by level.
        accesses: of every level and dataspace.
        models: densities, one a dataspace.
        worth: value of one saved access to a (level, dataspace); decides between the options of one entry.
    """

    architecture: Architecture
    problem: Problem
    loops: tuple[tuple[CompleteLoop, ...], ...]
    accesses: Sequence[Sequence[Accesses]]
    models: Sequence[DensityModel]
    worth: Callable[[int, int], float]


def find_savings(sparse: SparseOptimizations, setting: Setting) -> dict[tuple[int, int], Saved]:
    """(level, dataspace) -> what is saved there. All gating comes first, then all skipping, from the inside out.

    Of several savings of the same accesses, the larger one stays.
    """
    found: dict[tuple[int, int], Saved] = {}
    order = {storage.name: level for level, storage in enumerate(setting.architecture.storage)}
    entries = sorted(sparse.levels, key=lambda entry: order[entry.level])
    for kind in ("gating", "skipping"):
        for entry in entries:
            for action in entry.actions:
                if action.kind != kind:
                    continue
                best = _best_option(action.options, order[entry.level], setting)
                if best is None:
                    continue
                level, target, probability = best
                known = found.get((level, target))
                if known is None or probability > known.probability:
                    found[level, target] = Saved(action.kind, probability)
    return found


def _best_option(options: Sequence[Option], level: int, setting: Setting) -> tuple[int, int, float] | None:
    """(level, dataspace, probability) of the option that saves most, the later one of equals; None if none acts."""
    names = [dataspace.name for dataspace in setting.problem.dataspaces]
    best: tuple[float, int, int, float] | None = None
    for option in options:
        target = names.index(option.target)
        held = (outer for outer in range(level, len(setting.loops)) if setting.accesses[outer][target].size)
        at = next(held, None)
        if at is None:
            continue
        conditions = [names.index(name) for name in option.condition_on]
        probability = _ineffectual(at, target, conditions, setting)
        value = setting.worth(at, target) * probability
        if best is None or value >= best[0]:
            best = value, at, target, probability
    return None if best is None else best[1:]


def _ineffectual(level: int, target: int, conditions: Sequence[int], setting: Setting) -> float:
    """Probability that an access to ``target`` meets an empty tile of any condition tensor."""
    child = setting.accesses[level][target].child
    leader = _leader(setting.loops, setting.problem.dataspaces[target], level, child)
    block = setting.architecture.storage[level].block_size
    effectual = 1.0
    for condition in conditions:
        tile = _condition_tile(leader, setting.problem, target, condition, block)
        if tile is not None:
            effectual *= 1 - setting.models[condition].empty(tile)
    return 1 - effectual


@dataclass(frozen=True, slots=True)
class _Leader:
    """The loop that moves the target, and what else advances while one target access is alive.

    ``inside`` and ``mold`` are extents a dimension: of the loops up to the target loop, and with the further ones.
    ``scalar``: the access meets single operands, one after the other.
    """

    target: CompleteLoop
    relevant: tuple[CompleteLoop, ...]
    inside: tuple[int, ...]
    mold: tuple[int, ...]
    scalar: bool


def _leader(loops: tuple[tuple[CompleteLoop, ...], ...], target: Dataspace, level: int, child: int | None) -> _Leader:
    first = 0 if child is None else child + 1
    below = [loop for row in loops[:first] for loop in row]
    scanned = [loop for row in loops[first : level + 1] for loop in row]
    position, scalar = _target_loop(scanned, target, child)
    count = 1 + max(loop.dimension for row in loops for loop in row)
    inside = [1] * count
    if not scalar:
        for loop in (*below, *scanned[: position + 1]):
            inside[loop.dimension] *= loop.bound
    mold, relevant = list(inside), [scanned[position]]
    passing = scanned[position].spatial
    for loop in scanned[position + 1 :]:
        if loop.bound == 1:
            continue
        if not loop.spatial:
            passing = passing and child is not None and loop.dimension not in target.dimensions
            if not passing:
                continue
        mold[loop.dimension] *= loop.bound
        relevant.append(loop)
    return _Leader(scanned[position], tuple(relevant), tuple(inside), tuple(mold), scalar)


def _target_loop(scanned: list[CompleteLoop], target: Dataspace, child: int | None) -> tuple[int, bool]:
    """Position of the loop that moves the target, and whether the access meets single operands."""
    for position, loop in enumerate(scanned):
        moves = loop.bound > 1 and loop.dimension in target.dimensions
        if child is not None:
            if moves:
                return position, False
        elif position + 1 == len(scanned) or not scanned[position + 1].spatial:
            return position, not loop.spatial
        elif moves:
            return position, False
    return len(scanned) - 1, False


def _condition_tile(
    leader: _Leader, problem: Problem, target: int, condition: int, block_size: int
) -> tuple[int, ...] | None:
    """Extents of the condition tensor's tile that one target access meets; None if the condition has no effect."""
    meeting, moving = problem.dataspaces[condition], problem.dataspaces[target]
    inside, mold = list(leader.inside), list(leader.mold)
    shared = moving.dimensions & meeting.dimensions
    factors: dict[int, int] = {}
    for loop in () if leader.scalar else leader.relevant:
        if leader.target.spatial and factors and loop.dimension in meeting.dimensions:
            return None
        if loop.dimension in shared:
            factors[loop.dimension] = factors.get(loop.dimension, 1) * loop.bound
    # One access brings a whole block: it is saved only if all words of the block are.
    together = prod(factors.values())
    spread: float = ceil(block_size / (moving.tile_size(inside) / together))
    for dimension in sorted(factors):
        shrink = factors[dimension] / spread
        mold[dimension] = ceil(mold[dimension] / shrink)
        spread = spread / factors[dimension]
    if spread > 1:
        dimension = leader.target.dimension
        mold[dimension] = int(mold[dimension] * spread)
    return tuple(1 + sum(abs(term.coefficient) * (mold[term.dimension] - 1) for term in rank) for rank in meeting.ranks)
