"""The engine's counts against a simulator that really runs the loops.

Exact for tensors without sliding windows. Where Timeloop's rules differ from the true count, a test states it.
"""

from __future__ import annotations

from math import prod

from hypothesis import assume, given, settings
from loop_simulator import simulate_loops
from nest_cases import convolution, energy_table, mapped

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
@given(mapped(largest=6))
def test_counts_are_true_for_tensors_without_sliding_windows(case):
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


def two_level(problem, outer, inner, *, keep_inner=(True, True, True)):
    """DRAM over one buffer and one MAC. Loops are (dimension, bound) from the outermost inwards."""

    def loops(pairs):
        given = dict(pairs)
        rest = [d for d in range(len(problem.bounds)) if d not in given]
        order = [d for d, _ in reversed(pairs)] + rest
        return tuple(Loop(d, given.get(d, 1), given.get(d, 1)) for d in order)

    storage = (
        Storage("buffer", "SRAM", word_bits=8),
        Storage("dram", "DRAM", word_bits=8),
    )
    architecture = Architecture("two_level", storage, Compute("mac", "intmac"))
    mapping = Mapping(
        (LevelMapping(loops(inner), (), (), keep_inner), LevelMapping(loops(outer), (), (), (True, True, True)))
    )
    mapping.check(architecture, problem)
    return architecture, problem, mapping


C, M, P, R = range(4)


def test_a_sliding_window_keeps_its_overlap():
    """Where only the window moves, each step brings as many inputs as it moves: the true count."""
    tiles, tile, taps = 5, 3, 4
    case = two_level(convolution((1, 1, tiles * tile, taps)), [(P, tiles)], [(P, tile), (R, taps)])
    result = run(*case)
    fills = (tile + taps - 1) + (tiles - 1) * tile
    assert counts(result, "buffer", "Inputs")[1] == fills
    assert simulate_loops(case[1], case[2], 1)[0].fills == fills


def test_the_window_is_refetched_when_its_direction_changes():
    """Timeloop remembers one translation a boundary. The step back to the start is another one, so it counts as a
    full refetch, although some of the window may still be there: the true count is smaller by that overlap."""
    channels, tiles, tile, taps = 3, 3, 2, 6
    case = two_level(
        convolution((1, channels, tiles * tile, taps)), [(M, channels), (P, tiles)], [(P, tile), (R, taps)]
    )
    width = tile + taps - 1
    one_pass = width + (tiles - 1) * tile
    assert counts(run(*case), "buffer", "Inputs")[1] == channels * one_pass
    still_there = width - (tiles - 1) * tile
    assert still_there > 0
    truth = simulate_loops(case[1], case[2], 1)[0].fills
    assert truth == channels * one_pass - (channels - 1) * still_there


def test_the_older_rule_loses_the_overlap_behind_a_stationary_loop():
    """Before a12fff5 a step of zero was remembered as a translation of its own: with a loop inside that leaves the
    window in place, every real step then looked like a change of direction."""
    channels, tiles, tile, taps = 2, 4, 3, 4
    architecture, problem, mapping = two_level(
        convolution((1, channels, tiles * tile, taps)), [(P, tiles), (M, channels)], [(P, tile), (R, taps)]
    )
    width = tile + taps - 1
    table = energy_table(architecture)
    now = evaluate(architecture, problem, mapping, table)
    before = evaluate(architecture, problem, mapping, table, stride_rule="pre_a12fff5")
    assert isinstance(now, Result)
    assert isinstance(before, Result)
    assert counts(now, "buffer", "Inputs")[1] == width + (tiles - 1) * tile
    assert counts(before, "buffer", "Inputs")[1] == tiles * width
    assert simulate_loops(problem, mapping, 1)[0].fills == width + (tiles - 1) * tile


def test_windows_of_spatial_neighbours_are_read_once_for_each():
    """Two neighbours' windows overlap, but they are not equal: Timeloop reads the shared words for both of them."""
    width, taps = 4, 3
    problem = convolution((1, 1, width, taps))
    unit = tuple(Loop(d, 1, 1) for d in range(4))
    spatial = tuple(Loop(d, width if d == P else 1, width if d == P else 1) for d in range(4))
    taps_loop = tuple(Loop(d, taps if d == R else 1, taps if d == R else 1) for d in range(4))
    storage = (
        Storage("pe", "regfile", mesh_x=width, word_bits=8),
        Storage("dram", "DRAM", word_bits=8),
    )
    architecture = Architecture("row", storage, Compute("mac", "intmac", mesh_x=width))
    keep = (True, True, True)
    mapping = Mapping((LevelMapping(taps_loop, (), (), keep), LevelMapping(unit, spatial, (), keep)))
    result = run(architecture, problem, mapping)
    assert counts(result, "dram", "Inputs")[0] == width * taps
    assert simulate_loops(problem, mapping, 1)[1].reads == width + taps - 1
