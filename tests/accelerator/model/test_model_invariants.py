"""What must hold for every mapping, whatever it is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nest_cases import energy_table, mapped

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.energy_table import EnergyTable


def run(case, table=None, **options) -> Result:
    architecture, problem, mapping = case
    result = evaluate(architecture, problem, mapping, table or energy_table(architecture), **options)
    assert isinstance(result, Result)
    return result


@settings(max_examples=150, deadline=None)
@given(mapped())
def test_dense_results(case):
    architecture, problem, _ = case
    result = run(case)
    units = architecture.compute.instances
    assert result.computes.algorithmic == result.computes.actual == problem.macs
    assert result.cycles * units >= problem.macs
    assert result.utilization == pytest.approx(problem.macs / units / result.cycles)
    parts = sum(level.energy_pJ + level.network_pJ for level in result.levels.values())
    assert result.energy_pJ == pytest.approx(parts + result.computes.energy_pJ)
    assert result.warnings == ()
    for dataspace in problem.dataspaces:
        outermost = next(level for level in result.levels.values() if dataspace.name in level.dataspaces)
        stats = outermost.dataspaces[dataspace.name]
        assert stats.algorithmic_fills == 0
        if dataspace.read_write:
            assert stats.algorithmic_updates >= problem.tensor_size(dataspace)
        elif all(len(rank) == 1 for rank in dataspace.ranks):
            assert stats.algorithmic_reads >= problem.tensor_size(dataspace)


@settings(max_examples=60, deadline=None)
@given(mapped(), st.floats(0.1, 10))
def test_energy_is_linear_in_the_table(case, factor):
    table = energy_table(case[0])
    scaled = [dataclasses.replace(entry, energy_pJ=entry.energy_pJ * factor) for entry in table]
    assert run(case, EnergyTable(tuple(scaled))).energy_pJ == pytest.approx(run(case, table).energy_pJ * factor)


@settings(max_examples=60, deadline=None)
@given(mapped(), st.integers(0, 2), st.floats(0.05, 8))
def test_less_bandwidth_is_never_faster(case, level, words):
    architecture, problem, mapping = case
    times = []
    for bandwidth in (None, words, words / 2):
        storage = list(architecture.storage)
        storage[level] = dataclasses.replace(storage[level], shared_bandwidth=bandwidth)
        times.append(run((dataclasses.replace(architecture, storage=tuple(storage)), problem, mapping)).cycles)
    assert times == sorted(times)


@settings(max_examples=60, deadline=None)
@given(mapped(), st.integers(0, 2), st.data())
def test_a_tile_fits_exactly_or_is_refused(case, level, data):
    architecture, problem, mapping = case
    stats = run(case).levels[f"level{level}"].dataspaces.values()
    demand = sum(entry.utilized_capacity for entry in stats)
    assume(demand > 0)
    for words, legal in ((demand, True), (demand - data.draw(st.integers(1, demand)), False)):
        storage = list(architecture.storage)
        storage[level] = dataclasses.replace(storage[level], size_words=words)
        resized = dataclasses.replace(architecture, storage=tuple(storage))
        result = evaluate(resized, problem, mapping, energy_table(architecture))
        assert result.legal == legal
        if isinstance(result, Infeasible):
            assert (result.level, result.demand, result.capacity) == (f"level{level}", demand, words)
            assert result.levers


@settings(max_examples=60, deadline=None)
@given(mapped())
def test_the_newer_stride_rule_never_reads_more_where_nothing_slides(case):
    _, problem, _ = case
    assume(all(len(rank) == 1 for dataspace in problem.dataspaces for rank in dataspace.ranks))
    now, before = run(case), run(case, stride_rule="pre_a12fff5")
    for name, level in now.levels.items():
        for dataspace, stats in level.dataspaces.items():
            assert stats.utilized_capacity == before.levels[name].dataspaces[dataspace].utilized_capacity
            assert stats.algorithmic_reads <= before.levels[name].dataspaces[dataspace].algorithmic_reads
