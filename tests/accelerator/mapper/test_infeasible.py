"""When nothing fits: the level, what it would need, what it has, and what to relax."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mapper_designs import constraints, nest, row_stationary, two_level, weight_stationary

from codesign.accelerator.mapper.feasible import divisors
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem

M, C, P, R = 2, 3, 4, 6
MESH = 3


def refused(architecture: Architecture, problem: Problem, allowed: Constraints) -> Infeasible:
    answer = heuristic_mapping(architecture, problem, allowed)
    assert isinstance(answer, Infeasible), answer
    return answer


def with_limits(allowed: Constraints, level: int, *limits: FactorLimit, spatial: bool = False) -> Constraints:
    loops = LoopConstraints(limits)
    levels = list(allowed.levels)
    levels[level] = replace(levels[level], **{"spatial" if spatial else "temporal": loops})
    return replace(allowed, levels=tuple(levels))


def test_a_tile_that_constraints_make_too_large_for_its_level():
    architecture, allowed = row_stationary()
    spad = architecture.level_index("ifmap_spad")
    answer = refused(architecture, nest(C=64, M=8), with_limits(allowed, spad, FactorLimit(C, "=", 16)))
    assert (answer.level, answer.demand, answer.capacity, answer.unit) == ("ifmap_spad", 16, 12, "words")
    assert answer.dataspace == "Inputs"
    assert "relax C = 16 in the temporal constraints of ifmap_spad" in answer.levers
    assert "let ifmap_spad bypass Inputs" in answer.levers
    assert "enlarge ifmap_spad to 16 words" in answer.levers


def test_several_buffers_leave_less_room():
    architecture, allowed = two_level(words=8)
    keep_all = replace(allowed, levels=(replace(allowed.levels[0], keep=(True,) * 3), allowed.levels[1]))
    assert isinstance(heuristic_mapping(architecture, nest(M=4), keep_all), Mapping)
    halved = replace(architecture.storage[0], multiple_buffering=4.0)
    answer = refused(replace(architecture, storage=(halved, architecture.storage[1])), nest(M=4), keep_all)
    assert (answer.level, answer.demand, answer.capacity) == ("buffer", 3, 2)


def test_a_backing_store_that_does_not_hold_the_tensors():
    store = Storage("store", "SRAM", size_words=100)
    architecture = Architecture("small", (store,), Compute("mac", "intmac"))
    answer = refused(architecture, nest(C=10, M=10), constraints(architecture))
    assert (answer.level, answer.demand, answer.capacity) == ("store", 100 + 10 + 10, 100)


def test_a_fan_out_that_is_too_small():
    architecture, allowed = weight_stationary()
    limits = (FactorLimit(M, "=", 16), FactorLimit(C, "=", 16), FactorLimit(P, ">=", 2))
    answer = refused(architecture, nest(C=64, M=64, P=8), with_limits(allowed, MESH, *limits, spatial=True))
    assert answer.unit in ("instances", "mappings")
    assert any(
        lever.startswith("relax P >= 2 in the spatial constraints of inter_pe_spatial") for lever in answer.levers
    )


def test_a_factor_larger_than_the_axes_along_one_dimension():
    architecture, allowed = weight_stationary()
    answer = refused(architecture, nest(M=64), with_limits(allowed, MESH, FactorLimit(M, "=", 32), spatial=True))
    assert answer.level == "inter_pe_spatial"
    assert "relax M = 32 in the spatial constraints of inter_pe_spatial" in answer.levers


def test_factors_that_do_not_divide_the_bound():
    architecture, allowed = two_level()
    answer = refused(architecture, nest(P=14), with_limits(allowed, 0, FactorLimit(P, "=", 4)))
    assert (answer.level, answer.unit) == ("buffer", "iterations")
    assert "no factors of P within the constraints multiply to its bound 14" in answer.message
    assert answer.levers == ("relax P = 4 in the temporal constraints of buffer",)


def test_limits_that_leave_too_few_iterations():
    architecture, allowed = two_level()
    few = with_limits(with_limits(allowed, 0, FactorLimit(P, "<=", 2)), 1, FactorLimit(P, "<=", 3))
    answer = refused(architecture, nest(P=16), few)
    assert (answer.demand, answer.capacity) == (16, 6)
    assert len(answer.levers) == 2


def test_limits_that_contradict_each_other():
    architecture, allowed = two_level()
    answer = refused(
        architecture, nest(P=16), with_limits(allowed, 0, FactorLimit(P, "<=", 2), FactorLimit(P, ">=", 4))
    )
    assert (answer.level, answer.demand, answer.capacity) == ("buffer", 4, 2)
    assert "P <= 2, P >= 4" in answer.message


def test_a_spatial_factor_where_there_is_no_fan_out():
    architecture, allowed = two_level()
    answer = refused(architecture, nest(P=16), with_limits(allowed, 0, FactorLimit(P, "=", 4), spatial=True))
    assert "the level has no such loops" in answer.message


def test_a_dataspace_that_may_be_kept_nowhere():
    architecture, _ = two_level()
    allowed = Constraints(tuple(LevelConstraints((None, False, None)) for _ in range(2)))
    answer = refused(architecture, nest(P=16), allowed)
    assert (answer.dataspace, answer.unit) == ("Inputs", "levels")


def test_a_dataspace_that_the_backing_store_must_not_keep_is_kept_further_in():
    architecture, _ = two_level(words=1000)
    allowed = Constraints((LevelConstraints((None,) * 3), LevelConstraints((True, False, True))))
    found = heuristic_mapping(architecture, nest(P=16, C=4, M=4), allowed)
    assert isinstance(found, Mapping)
    assert found.levels[0].keep[1]
    assert not found.levels[1].keep[1]


def test_each_alone_would_do_but_not_together():
    """Two dimensions that each fit the axis, and must both lie on it."""
    architecture, allowed = row_stationary()
    column = architecture.level_index("inter_pe_column_spatial")
    limits = (FactorLimit(M, ">=", 4), FactorLimit(C, ">=", 4))
    answer = refused(architecture, nest(C=8, M=8), with_limits(allowed, column, *limits, spatial=True))
    assert (answer.level, answer.demand, answer.capacity) == ("inter_pe_column_spatial", 16, 14)
    assert answer.unit == "instances"


def test_a_minimum_parallelism_is_met_or_reported():
    architecture, allowed = weight_stationary()
    met = heuristic_mapping(architecture, nest(C=16, M=16), replace(allowed, min_parallelism=1.0))
    assert isinstance(met, Mapping)
    answer = refused(architecture, nest(C=7, M=16), replace(allowed, min_parallelism=0.9))
    assert (answer.level, answer.demand, answer.unit) == ("mac", 7 * 16, "instances")
    assert answer.capacity == pytest.approx(0.9 * 256)


def test_a_minimum_utilisation_is_met_or_reported():
    architecture, allowed = two_level(words=1000)
    picky = replace(architecture.storage[0], min_utilization=0.8)
    demanding = replace(architecture, storage=(picky, architecture.storage[1]))
    problem = nest(C=32, M=32, P=32)
    found = heuristic_mapping(demanding, problem, allowed)
    assert isinstance(found, Mapping)
    answer = refused(demanding, nest(C=2, M=2), allowed)
    assert (answer.level, answer.capacity, answer.unit) == ("buffer", 800, "words")
    assert answer.demand <= 4 + 2 + 2


@pytest.mark.parametrize("number", [1, 2, 36, 197, 720720])
def test_divisors(number):
    assert divisors(number) == [d for d in range(1, number + 1) if number % d == 0]
