"""Constraints for a mapper: macros, limits, orders, and what stays free."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_text import ARCHITECTURE, PROBLEM, design, problem

from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LoopConstraints
from codesign.accelerator.spec.macros import largest_factors
from codesign.accelerator.spec.nodes import Node
from codesign.errors import InputError

C, M, P, R = range(4)
PLACE = Node(None, path=Path("a.yaml"), line=1, key="maximize_dims")


def constraints(folder: Path, *targets: str, text: str = PROBLEM) -> Constraints:
    section = "constraints: {version: 0.4, targets: [" + ", ".join(targets) + "]}\n"
    return design(folder, ARCHITECTURE, section).constraints(problem(folder, text))


def test_what_no_directive_fixes_is_free(tmp_path: Path) -> None:
    free = constraints(tmp_path)
    spad, dummy, buffer, dram = free.levels
    assert (spad.keep, buffer.keep, dram.keep) == ((None,) * 3, (None,) * 3, (True,) * 3)
    assert dummy.keep == (False,) * 3
    assert spad.temporal == buffer.temporal == dummy.spatial == LoopConstraints()
    assert [limit.value for limit in dummy.temporal.factors] == [1] * 4
    assert free.min_parallelism == 0.0


def test_factors_orders_and_splits(tmp_path: Path) -> None:
    found = constraints(
        tmp_path,
        "{target: pe, type: spatial, factors: [R=1, C<=4, M>=2], permutation: [C, M], split: 1}",
        "{target: spad, type: temporal, factors: [R=0, C=99], permutation: [R, _, P], no_reuse: [Inputs]}",
        "{target: buffer, type: dataspace, keep_only: [Outputs]}",
        "{target: buffer, type: temporal, default_max_factor: 2, factors: [M<=3]}",
        "{target: dram, type: utilization, min: 0.5}",
    )
    spad, dummy, buffer, _ = found.levels
    assert dummy.spatial == LoopConstraints(
        (FactorLimit(R, "=", 1), FactorLimit(C, "<=", 4), FactorLimit(M, ">=", 2)), inner=(R, C, M), split=1
    )
    # 0 is the full bound; a factor above the bound is ignored, as in the real mapper.
    assert spad.temporal == LoopConstraints((FactorLimit(R, "=", 3),), inner=(R,), outer=(P,))
    assert spad.no_temporal_reuse == {1}
    assert buffer.keep == (False, False, True)
    assert set(buffer.temporal.factors) == {
        FactorLimit(M, "<=", 3),
        FactorLimit(C, "<=", 2),
        FactorLimit(P, "<=", 2),
        FactorLimit(R, "<=", 2),
    }
    assert found.min_parallelism == 0.5


@pytest.mark.parametrize(
    ("macro", "ones"),
    [
        ("factors_only: [C=2]", "MPR"),
        ("factors_only: []", "CMPR"),
        ("no_iteration_over_dataspaces: [Weights]", "CMR"),
        ("no_iteration_over_dataspaces: ['*']", "CMPR"),
        ("must_iterate_over_dataspaces: [Outputs]", "CR"),
        ("must_iterate_over_dataspaces: [Outputs, Weights]", ""),
        ("must_iterate_over_dataspaces: []", "CMPR"),
    ],
)
def test_macros_become_factors_of_one(tmp_path: Path, macro: str, ones: str) -> None:
    level = constraints(tmp_path, f"{{target: spad, type: temporal, {macro}}}").levels[0]
    assert {"CMPR"[limit.dimension] for limit in level.temporal.factors if limit.value == 1} == set(ones)
    assert set(level.temporal.inner) == {"CMPR".index(name) for name in ones}


def test_macros_may_not_contradict_factors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="C=1 and C=2"):
        constraints(tmp_path, "{target: spad, type: temporal, factors: [C=2], no_iteration_over_dataspaces: [Weights]}")


def test_maximize_dims_takes_what_is_left_from_the_inside_out(tmp_path: Path) -> None:
    found = constraints(
        tmp_path,
        "{target: pe, type: spatial, maximize_dims: [[M, C], [P]]}",
        "{target: spad, type: temporal, maximize_dims: [M], maximize_dims_capacity: 8}",
        "{target: buffer, type: temporal, factors: [C=2]}",
    )
    spad, dummy, _, _ = found.levels
    # 8 PEs, M = 8 and C = 4 of which 2 is taken: M fills them alone, nothing is left for P.
    assert {(limit.dimension, limit.value) for limit in dummy.spatial.factors} == {(M, 8), (C, 1), (P, 1)}
    assert {(limit.dimension, limit.value) for limit in spad.temporal.factors} == {(M, 1)}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("{target: spad, type: temporal, maximize_dims: [C]}", "needs maximize_dims_capacity"),
        ("{target: pe, type: spatial, maximize_dims: [C], factors: [C=2]}", "has a factor already"),
        ("{target: pe, type: spatial, maximize_dims: [X]}", "must name a dimension"),
        ("{target: pe, type: spatial, max_dims: [C]}", "no such key"),
        ("{target: pe, type: max_overbooked_proportion, proportion: 0.5}", "not supported"),
        ("{target: pe, type: spatial, permutation: [C, _, _, M]}", "one _ between"),
        ("{target: pe, type: spatial, permutation: C_C}", "once"),
        ("{target: pe, type: spatial, default_min_factor: 0}", "at least 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, target: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        constraints(tmp_path, target)


def test_two_orders_for_one_node(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a different loop order"):
        constraints(
            tmp_path,
            "{target: spad, type: temporal, permutation: [C, M]}",
            "{target: spad, type: temporal, permutation: [M, C]}",
        )


def test_a_factor_of_one_may_be_of_a_dimension_that_a_problem_lacks(tmp_path: Path) -> None:
    level = constraints(tmp_path, "{target: spad, type: temporal, factors: [G=1, C=2]}").levels[0]
    assert level.temporal.factors == (FactorLimit(C, "=", 2),)
    with pytest.raises(InputError, match="must name a dimension"):
        constraints(tmp_path, "{target: spad, type: temporal, factors: [G=2]}")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 24))
def test_maximized_factors_are_the_best_divisors(bounds: list[int], capacity: int) -> None:
    """Oracle: all tuples of divisors. Where a bound exceeds the capacity an imperfect factor may do better."""
    found = largest_factors(dict(enumerate(bounds)), capacity, PLACE)
    used = prod(found.values())
    assert used <= capacity
    divisors = [[d for d in range(1, bound + 1) if bound % d == 0] for bound in bounds]
    best = max((prod(choice) for choice in product(*divisors) if prod(choice) <= capacity), default=1)
    if all(bound % found.get(index, 1) == 0 for index, bound in enumerate(bounds)):
        assert used == best
    else:
        assert any(bound > capacity for bound in bounds)


def test_maximizing_is_bounded() -> None:
    bounds = dict.fromkeys(range(12), 2**8 * 3**5 * 5**3)
    with pytest.raises(InputError, match="too many choices"):
        largest_factors(bounds, 10**12, PLACE)
