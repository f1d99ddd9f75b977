"""Each rule of legality, broken one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from mapper_designs import nest, weight_stationary

from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.mapper.legality import why_illegal
from codesign.accelerator.mapper.space import split_axes
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Problem

N, G, M, C, P, Q, R, S = range(8)
PROBLEM = nest(C=32, M=32, P=8, Q=8)
MESH, BUFFER = 3, 4


@pytest.fixture(name="legal")
def fixture_legal() -> Mapping:
    architecture, allowed = weight_stationary()
    found = heuristic_mapping(architecture, PROBLEM, allowed)
    assert isinstance(found, Mapping)
    return found


def changed(mapping: Mapping, level: int, change: Callable[[LevelMapping], LevelMapping]) -> Mapping:
    levels = list(mapping.levels)
    levels[level] = change(levels[level])
    return Mapping(tuple(levels))


def swapped(loops: tuple[Loop, ...], dimension: int, bound: int) -> tuple[Loop, ...]:
    return tuple(Loop(dimension, bound, bound) if loop.dimension == dimension else loop for loop in loops)


def test_the_heuristics_own_mapping_is_legal(legal):
    assert why_illegal(*design(), legal) is None


def design(
    **constraints: LoopConstraints | tuple[bool | None, ...],
) -> tuple[Architecture, Problem, Constraints]:
    """The systolic array, with constraints of the mesh (spatial) or the buffer (temporal, keep) replaced."""
    architecture, allowed = weight_stationary()
    levels = list(allowed.levels)
    for name, value in constraints.items():
        level = MESH if name == "spatial" else BUFFER
        levels[level] = replace(levels[level], **{name: value})
    return architecture, PROBLEM, replace(allowed, levels=tuple(levels))


@pytest.mark.parametrize(
    ("change", "level", "unit", "words"),
    [
        (lambda level: replace(level, temporal=level.temporal[1:]), BUFFER, "loops", "every dimension exactly once"),
        (lambda level: replace(level, spatial_x=(), spatial_y=()), BUFFER - 1, None, None),
        (lambda level: replace(level, keep=(True, False, False)), MESH, "iterations", "stores nothing"),
    ],
)
def test_broken_structure(legal, change, level, unit, words):
    broken = changed(legal, level, change)
    if unit is None:
        with pytest.raises(ValueError, match="factors of"):
            why_illegal(*design(), broken)
        return
    answer = why_illegal(*design(), broken)
    assert answer is not None
    assert (answer.unit, words in answer.message) == (unit, True)


def moved_to_mesh_x(mapping: Mapping, dimension: int, bound: int) -> Mapping:
    """All of ``dimension`` along X, and nothing of it elsewhere."""
    levels = []
    for index, level in enumerate(mapping.levels):
        x = swapped(level.spatial_x, dimension, bound if index == MESH else 1)
        levels.append(
            replace(
                level,
                temporal=swapped(level.temporal, dimension, 1),
                spatial_x=x,
                spatial_y=tuple(loop for loop in level.spatial_y if loop.dimension != dimension),
            )
        )
    mesh = levels[MESH]
    if all(loop.dimension != dimension for loop in mesh.spatial_x):
        levels[MESH] = replace(mesh, spatial_x=(*mesh.spatial_x, Loop(dimension, bound, bound)))
    return Mapping(tuple(levels))


def test_more_instances_than_there_are(legal):
    answer = why_illegal(*design(), moved_to_mesh_x(legal, C, 32))
    assert answer is not None
    assert (answer.level, answer.unit, answer.capacity) == ("inter_pe_spatial", "instances", 16)
    assert answer.demand >= 32


def test_a_tile_that_does_not_fit(legal):
    levels = [replace(level, temporal=swapped(level.temporal, P, 1)) for level in legal.levels]
    levels = [
        replace(level, spatial_x=swapped(level.spatial_x, P, 1), spatial_y=swapped(level.spatial_y, P, 1))
        for level in levels
    ]
    levels[0] = replace(levels[0], temporal=swapped(levels[0].temporal, P, 8))
    answer = why_illegal(*design(), Mapping(tuple(levels)))
    assert answer is not None
    assert (answer.level, answer.capacity, answer.unit) == ("psum_reg", 4, "words")
    assert answer.demand >= 8
    assert "let psum_reg bypass Outputs" in answer.levers


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ({"temporal": LoopConstraints((FactorLimit(C, ">=", 64),))}, "the constraints want C >= 64"),
        ({"temporal": LoopConstraints((FactorLimit(S, "=", 2),))}, "the constraints want S = 2"),
        ({"spatial": LoopConstraints((FactorLimit(C, "<=", 1), FactorLimit(M, "<=", 1)))}, "the constraints want"),
        ({"temporal": LoopConstraints(inner=(R, S, N, G, M, C, Q, P))}, "permutation is not the constrained one"),
        ({"spatial": LoopConstraints(split=0)}, "the constraints want 0"),
        ({"keep": (False, False, False)}, "bypassed"),
    ],
)
def test_broken_constraints(legal, constraint, words):
    kept = changed(legal, BUFFER, lambda level: replace(level, keep=(True, True, True)))
    answer = why_illegal(*design(**constraint), kept)
    assert answer is not None
    assert words in answer.message


FREE = LoopConstraints()


@pytest.mark.parametrize(
    ("limits", "on_x", "on_y", "possible"),
    [
        (FREE, [0, 1], [2, 3], True),
        (FREE, [], [], True),
        (LoopConstraints(inner=(0,)), [0], [1], True),
        (LoopConstraints(inner=(0,)), [1], [0], False),
        (LoopConstraints(inner=(0,), split=1), [1], [0], False),
        (LoopConstraints(outer=(3,)), [3], [0], False),
        (LoopConstraints(outer=(3,)), [3], [], True),
        (LoopConstraints(outer=(3,)), [0], [3], True),
        (LoopConstraints(split=0), [], [0, 1, 2, 3], True),
        (LoopConstraints(split=0), [0], [], False),
        (LoopConstraints(split=4), [0, 1], [], True),
        (LoopConstraints(split=4), [0], [1], False),
        (LoopConstraints(split=1), [0, 1], [], False),
        (LoopConstraints(inner=(0, 1), outer=(3,), split=2), [1], [2], True),
        (LoopConstraints(inner=(0, 1), outer=(3,), split=2), [2], [1], False),
    ],
)
def test_spatial_permutations(limits, on_x, on_y, possible):
    found = split_axes(limits, range(4), on_x, on_y, (4, 4))
    assert (found is not None) == possible
    if found is not None:
        x, y = found
        assert sorted(x + y) == [0, 1, 2, 3]
        assert set(on_x) <= set(x)
        assert set(on_y) <= set(y)
        assert (x + y)[: len(limits.inner)] == limits.inner
        assert (x + y)[4 - len(limits.outer) :] == limits.outer
        assert limits.split in (None, len(x))


def test_idle_dimensions_lie_on_the_axis_that_exists():
    assert split_axes(FREE, range(3), [1], [], (4, 1)) == ((1, 0, 2), ())
    assert split_axes(FREE, range(3), [], [1], (1, 4)) == ((), (0, 2, 1))


def test_level_constraints_of_the_wrong_size_are_no_constraints_of_this_problem():
    architecture, allowed = weight_stationary()
    short = replace(allowed, levels=tuple(LevelConstraints((None,)) for _ in allowed.levels))
    with pytest.raises(ValueError, match="one entry a dataspace"):
        heuristic_mapping(architecture, PROBLEM, short)
