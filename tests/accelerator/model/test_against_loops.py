"""The engine's counts against a simulator that really runs the loops.

Exact for tensors without sliding windows. Where Timeloop's rules differ from the true count, a test states it.
"""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loop_simulator import simulate_loops
from random_cases import convolution, divisors, energy_table, mapped

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping


def without_links(mapping: Mapping) -> Mapping:
    """Neighbour transfers and per-level options change what moves; the simulator knows neither."""
    return Mapping(
        tuple(
            LevelMapping(row.temporal, row.spatial_x, row.spatial_y, row.keep, no_link_transfer=frozenset({0, 1, 2}))
            for row in mapping.levels
        )
    )


def run(architecture, problem, mapping) -> Result:
    result = evaluate(architecture, problem, mapping, energy_table(architecture))
    assert isinstance(result, Result)
    return result


def counts(result: Result, level: str, dataspace: str) -> tuple[int, int, int, int]:
    stats = result.levels[level].dataspaces[dataspace]
    return (
        stats.algorithmic_reads,
        stats.algorithmic_fills,
        stats.algorithmic_updates,
        stats.utilized_capacity,
    )


@settings(max_examples=250, deadline=None)
@given(mapped(largest=6), st.data())
def test_counts_are_true_for_tensors_without_sliding_windows(case, data):
    architecture, problem, mapping = case
    assume(all(any(row.keep[p] for row in mapping.levels) for p in range(3)))
    assume(prod(problem.bounds) <= 400)
    mapping = without_links(mapping)
    result = run(architecture, problem, mapping)
    for p, dataspace in enumerate(problem.dataspaces):
        if any(len(rank) > 1 for rank in dataspace.ranks):
            continue
        for level, want in simulate_loops(problem, mapping, p).items():
            got = counts(result, f"level{level}", dataspace.name)
            assert got == (want.reads, want.fills, want.updates, want.capacity), (dataspace.name, level)
    assert result.computes.actual == problem.macs
