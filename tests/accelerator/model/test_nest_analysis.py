"""The memoised analysis against the literal walk on point sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_cases import mapped
from nest_walker import Walker

from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.model.nest_analysis import analyse
from codesign.accelerator.model.visits import operations
from codesign.errors import InputError


def compare(case, rule):
    architecture, problem, mapping = case
    try:
        nest = build_nest(architecture, problem, mapping)
    except InputError:
        return  # an imperfect spatial loop without an outer loop of its dimension: refused, as in the real program
    walker = Walker(architecture, problem, mapping, rule)
    traffic = analyse(nest, problem.dataspaces, mapping.levels, rule, hops=True)
    computes = walker.computes
    assert operations(nest) == pytest.approx(sum(computes.values()) / len(computes))
    for level, row in enumerate(traffic):
        for p, got in enumerate(row):
            want = {key: value for key, value in walker.found[level][p].items() if value[0]}
            found = {(d.multicast, d.scatter): [d.accesses, d.hops] for d in got.deliveries}
            assert found.keys() == want.keys(), (level, p)
            for key, value in want.items():
                assert found[key] == pytest.approx(value), (level, p, key)
            assert got.link_transfers == walker.links[level][p], (level, p)


@settings(max_examples=150, deadline=None)
@given(mapped(), st.sampled_from(["current", "pre_a12fff5"]))
def test_perfect_nests_agree_with_the_walk(case, rule):
    compare(case, rule)


@settings(max_examples=150, deadline=None)
@given(mapped(perfect=False), st.sampled_from(["current", "pre_a12fff5"]))
def test_imperfect_nests_agree_with_the_walk(case, rule):
    compare(case, rule)
