"""Mappings with imperfect factors: found on a slightly larger problem, then cut back to the real bounds."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.feasible import divisors
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.constraints import Constraints
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping

__all__ = ["cut_back", "imperfect_candidates", "padded_bounds"]

_MOST_PADDING = 0.15
_MOST_PROBLEMS = 6


def padded_bounds(bound: int, fanouts: list[int]) -> list[int]:
    """Bounds a little above ``bound`` that fill a fan-out where no divisor of it comes close."""
    found = []
    for fanout in sorted({fanout for fanout in fanouts if fanout > 1}, reverse=True):
        near = max(d for d in divisors(bound) if d <= fanout)
        if near >= 0.75 * min(fanout, bound):
            continue
        for factor in range(min(fanout, bound), near, -1):
            larger = -(-bound // factor) * factor
            if larger <= bound * (1 + _MOST_PADDING) and larger != bound:
                found.append(larger)
                break
    return list(dict.fromkeys(found))


def imperfect_candidates(task: Task, goal: Goal, clock: Clock) -> list[Mapping]:
    """Mappings of the task made from good ones of problems whose bounds divide better. Not all of them need be legal.

    Those that are made before the clock runs out.

    Bounds are padded one dimension at a time, and those of all such dimensions together.
    """
    problem, architecture = task.problem, task.architecture
    if any(_fixes(task.constraints, dimension) for dimension in range(len(problem.bounds))):
        return []
    fanouts = [prod(architecture.fanout(level)) for level in range(len(architecture.storage))]
    fanouts += [axis for level in range(len(architecture.storage)) for axis in architecture.fanout(level)]
    options = {d: padded_bounds(bound, fanouts) for d, bound in enumerate(problem.bounds) if bound > 1}
    options = {d: larger for d, larger in options.items() if larger}
    tries = [{d: larger} for d, own in options.items() for larger in own]
    if len(options) > 1:
        tries.insert(0, {d: own[0] for d, own in options.items()})
    found = []
    for changed in tries[:_MOST_PROBLEMS]:
        if clock.out():
            break
        bounds = tuple(changed.get(d, bound) for d, bound in enumerate(problem.bounds))
        larger = replace(problem, bounds=bounds)
        mapping = heuristic_mapping(
            architecture, larger, task.constraints, task.energy, objective=goal.single, clock=clock
        )
        if isinstance(mapping, Mapping):
            found.append(cut_back(mapping, problem.bounds))
    return found


def _fixes(constraints: Constraints, dimension: int) -> bool:
    """Whether an "=" above 1 or a ">=" speaks of the dimension: a residual could break what it means."""
    blocks = [block for level in constraints.levels for block in (level.temporal, level.spatial)]
    limits = [limit for block in blocks for limit in block.factors if limit.dimension == dimension]
    return any(limit.value > 1 and limit.relation != "<=" for limit in limits)


def cut_back(mapping: Mapping, bounds: tuple[int, ...]) -> Mapping:
    """The mapping of a larger problem as one of ``bounds``: the last execution of every loop is cut short.

    The residuals are the digits, plus one, of the last iteration in the mixed radix of the loops' bounds. A
    dimension's outermost loop of more than one iteration runs once only, so its bound becomes its residual.
    """
    residual: dict[tuple[int, str, int], tuple[int, int]] = {}
    for dimension, bound in enumerate(bounds):
        loops = [
            (level, axis, loop.bound)
            for level, own in enumerate(mapping.levels)
            for axis, block in (("X", own.spatial_x), ("Y", own.spatial_y), ("T", own.temporal))
            for loop in block
            if loop.dimension == dimension
        ]
        rest = bound - 1
        digits = []
        for _, _, factor in loops:
            digits.append(rest % factor)
            rest //= factor
        outermost = True
        for (level, axis, factor), digit in reversed(list(zip(loops, digits, strict=True))):
            residual[level, axis, dimension] = (digit + 1 if outermost else factor, digit + 1)
            outermost = outermost and digit == 0

    def cut(level: int, axis: str, loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
        return tuple(Loop(loop.dimension, *residual[level, axis, loop.dimension]) for loop in loops)

    levels: list[LevelMapping] = [
        replace(
            own,
            temporal=cut(index, "T", own.temporal),
            spatial_x=cut(index, "X", own.spatial_x),
            spatial_y=cut(index, "Y", own.spatial_y),
        )
        for index, own in enumerate(mapping.levels)
    ]
    return Mapping(tuple(levels))
