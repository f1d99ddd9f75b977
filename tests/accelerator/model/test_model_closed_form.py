"""A closed form for perfect nests: visits of a tile from the loops outside it, without walking anything.

Exact for tensors without sliding windows under either stride rule. With windows it holds for the older rule as long as
only one loop outside the tile moves it (several ones may share a translation, which only the walk sees).
"""

from __future__ import annotations

from math import prod

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nest_cases import energy_table, mapped

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.mapping import LevelMapping, Mapping


def visits(problem, mapping, index, level):
    """(words that arrive at one instance of a level over the whole nest, moving loops outside it)."""
    dataspace = problem.dataspaces[index]
    extents = inside(problem, mapping, level)
    tile = dataspace.tile_size(extents)
    outside = [
        (loop.dimension, loop.bound, stride)
        for loop, stride in temporal_loops(problem, mapping)[1]
        if stride_level(mapping, loop) > level and loop.bound > 1
    ]
    dropped = False
    while outside and outside[0][0] not in dataspace.dimensions:
        outside, dropped = outside[1:], True
    moving = [entry for entry in outside if entry[0] in dataspace.dimensions]
    if not outside:
        return tile, moving
    dimension, bound, stride = outside[0]
    delta = tile
    if not dropped and not dataspace.read_write:
        overlap = 1
        for rank in dataspace.ranks:
            width = 1 + sum(abs(t.coefficient) * (extents[t.dimension] - 1) for t in rank)
            overlap *= max(0, width - sum(abs(t.coefficient) * stride for t in rank if t.dimension == dimension))
        delta = tile - overlap
    others = prod(b for _, b, _ in outside[1:])
    return others * (tile + (bound - 1) * delta), moving


def inside(problem, mapping, level):
    extents = [1] * len(problem.bounds)
    for row in mapping.levels[: level + 1]:
        for loop in (*row.spatial_x, *row.spatial_y, *row.temporal):
            extents[loop.dimension] *= loop.bound
    return extents


def temporal_loops(problem, mapping):
    stride = [1] * len(problem.bounds)
    spatial, temporal = [], []
    for row in mapping.levels:
        for loops, found in (((*row.spatial_x, *row.spatial_y), spatial), (row.temporal, temporal)):
            for loop in loops:
                found.append((loop, stride[loop.dimension]))
                stride[loop.dimension] *= loop.bound
    return spatial, temporal


def stride_level(mapping, loop):
    return next(i for i, row in enumerate(mapping.levels) if any(loop is other for other in row.temporal))


@settings(max_examples=300, deadline=None)
@given(mapped(largest=8), st.sampled_from(["current", "pre_a12fff5"]))
def test_fills_and_updates(case, rule):
    architecture, problem, mapping = case
    assume(all(any(row.keep[p] for row in mapping.levels) for p in range(3)))
    mapping = Mapping(
        tuple(
            LevelMapping(row.temporal, row.spatial_x, row.spatial_y, row.keep, no_link_transfer=frozenset({0, 1, 2}))
            for row in mapping.levels
        )
    )
    result = evaluate(architecture, problem, mapping, energy_table(architecture), stride_rule=rule)
    assert isinstance(result, Result)
    steps = prod(loop.bound for row in mapping.levels for loop in row.temporal)
    for index, dataspace in enumerate(problem.dataspaces):
        held = [level for level, row in enumerate(mapping.levels) if row.keep[index]]
        windows = any(len(rank) > 1 for rank in dataspace.ranks)
        for level, child in zip(held, [None, *held], strict=False):
            arriving, moving = (steps, []) if child is None else visits(problem, mapping, index, child)
            if windows and child is not None and (rule == "current" or len(moving) > 1):
                continue
            stats = result.levels[f"level{level}"].dataspaces[dataspace.name]
            first = -1 if child is None else child
            fan = [loop for row in mapping.levels[first + 1 : level + 1] for loop in (*row.spatial_x, *row.spatial_y)]
            if windows and any(loop.bound > 1 for loop in fan):
                continue  # overlaps between spatial neighbours
            demand = arriving * prod(loop.bound for loop in fan if loop.dimension in dataspace.dimensions)
            if dataspace.read_write:
                assert stats.algorithmic_updates == demand, (dataspace.name, level)
            else:
                assert stats.algorithmic_reads == demand, (dataspace.name, level)
            if child is not None and not dataspace.read_write:
                below = result.levels[f"level{child}"].dataspaces[dataspace.name]
                assert below.algorithmic_fills == arriving, (dataspace.name, child)
