"""The heuristic's mappings are legal, good, and there whenever there can be one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from brute_force import any_legal_mapping, complaints, space_size
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from mapper_designs import DESIGNS, constraints, energy_table, nest, two_level, weight_stationary
from network_shapes import NETWORKS, unique_layers
from random_cases import architectures, constraint_sets, problems

from codesign.accelerator.mapper.heuristic import Effort, heuristic_mapping
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LoopConstraints
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem

QUICK = Effort(starts=4, improved=2, rounds=2, candidates=2)
N, G, M, C, P, Q, R, S = range(8)


def limited(given_constraints: Constraints, level: int, **limits: LoopConstraints) -> Constraints:
    """Constraints with the temporal or spatial ones of one level replaced."""
    levels = list(given_constraints.levels)
    levels[level] = replace(levels[level], **limits)
    return replace(given_constraints, levels=tuple(levels))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mapping_is_legal_or_there_is_none(data):
    problem = data.draw(problems(largest=4))
    architecture = data.draw(architectures())
    allowed = data.draw(constraint_sets(architecture, problem))
    found = heuristic_mapping(architecture, problem, allowed, effort=QUICK)
    event("infeasible" if isinstance(found, Infeasible) else "mapped")
    if isinstance(found, Mapping):
        assert complaints(architecture, problem, allowed, found) == []
    else:
        assert found.message
        assume(space_size(architecture, problem) < 200_000)
        assert not any_legal_mapping(architecture, problem, allowed), found


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_random_problems_on_random_designs_without_constraints_are_always_mapped(data):
    problem = data.draw(problems(largest=40))
    architecture = data.draw(architectures(st.integers(3, 200)))
    free = constraints(architecture)
    found = heuristic_mapping(architecture, problem, free, effort=QUICK)
    assert isinstance(found, Mapping), found
    assert complaints(architecture, problem, free, found, points=False) == []
    assert isinstance(evaluate(architecture, problem, found, energy_table(architecture)), Result)


@pytest.mark.parametrize("design", [name for name in DESIGNS if name != "two_level_scalar"])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_of_a_network_is_mapped_and_the_engine_accepts_it(design, network):
    architecture, allowed = DESIGNS[design]()
    energy = energy_table(architecture)
    for problem in unique_layers(network):
        found = heuristic_mapping(architecture, problem, allowed, energy, effort=QUICK)
        assert isinstance(found, Mapping), found
        assert complaints(architecture, problem, allowed, found, points=False) == []
        result = evaluate(architecture, problem, found, energy)
        assert isinstance(result, Result), result
        assert result.computes.algorithmic == problem.macs


PRIME = nest(N=13, C=17, M=31, P=7, Q=11, R=5, S=3, name="prime")
ODD_SHAPES = [
    nest(name="one_mac"),
    PRIME,
    nest(G=960, P=7, Q=7, R=3, S=3, name="depthwise"),
    nest(C=25088, M=4096, name="fully_connected"),
    nest(C=720720, M=1, name="many_divisors"),
    nest(C=65537, M=65537, name="large_primes"),
    nest(C=3, M=64, P=1024, Q=2048, R=7, S=7, stride=2, name="large_image"),
    nest(C=8, M=8, P=16, Q=16, R=3, S=3, stride=2, kind="conv_transposed", name="transposed"),
    nest(C=4, M=4, P=50, R=9, dilation=4, name="dilated_1d"),
]


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("problem", ODD_SHAPES, ids=lambda problem: problem.name)
def test_odd_shapes_are_mapped_too(design, problem):
    architecture, allowed = DESIGNS[design]()
    found = heuristic_mapping(architecture, problem, allowed, effort=QUICK)
    assert isinstance(found, Mapping), found
    assert complaints(architecture, problem, allowed, found, points=False) == []
    result = evaluate(architecture, problem, found, energy_table(architecture))
    assert isinstance(result, Result), result


def result_of(
    architecture: Architecture, problem: Problem, allowed: Constraints, **how: object
) -> tuple[Mapping, Result]:
    energy = energy_table(architecture)
    found = heuristic_mapping(architecture, problem, allowed, energy, **how)
    assert isinstance(found, Mapping), found
    result = evaluate(architecture, problem, found, energy)
    assert isinstance(result, Result), result
    return found, result


def test_an_array_that_divides_the_layer_is_used_in_full():
    architecture, allowed = weight_stationary()
    _, result = result_of(architecture, nest(C=64, M=64, P=32, Q=32, R=3, S=3), allowed)
    assert result.utilization == 1.0


def test_tiles_that_fit_are_fetched_once():
    """A layer that fits the buffer moves every word over the outermost level once: the least there can be."""
    architecture, allowed = two_level(words=100_000)
    problem = nest(C=16, M=16, P=16, Q=16, R=3, S=3)
    _, result = result_of(architecture, problem, allowed, objective="energy")
    outermost = result.levels["dram"].dataspaces
    assert outermost["Weights"].algorithmic_reads == problem.tensor_size(problem.dataspace("Weights"))
    assert outermost["Inputs"].algorithmic_reads == problem.tensor_size(problem.dataspace("Inputs"))
    assert outermost["Outputs"].algorithmic_updates == problem.tensor_size(problem.dataspace("Outputs"))


def test_a_larger_buffer_never_costs_words_at_the_outermost_level():
    moved = []
    for words in (64, 512, 4096, 100_000):
        architecture, allowed = two_level(words)
        _, result = result_of(architecture, nest(C=32, M=32, P=16, Q=16, R=3, S=3), allowed, objective="energy")
        outermost = result.levels["dram"].dataspaces.values()
        moved.append(sum(space.algorithmic_reads + space.algorithmic_updates for space in outermost))
    assert moved == sorted(moved, reverse=True)


def test_each_objective_is_best_at_its_own_number():
    architecture, allowed = weight_stationary()
    problem = nest(C=24, M=40, P=28, Q=28, R=3, S=3)
    results = {
        objective: result_of(architecture, problem, allowed, objective=objective)[1]
        for objective in ("edp", "energy", "latency")
    }
    assert results["energy"].energy_pJ == min(result.energy_pJ for result in results.values())
    assert results["latency"].cycles == min(result.cycles for result in results.values())
    products = {name: result.energy_pJ * result.cycles for name, result in results.items()}
    assert products["edp"] == min(products.values())


def test_the_answer_does_not_depend_on_chance():
    architecture, allowed = weight_stationary()
    problem = nest(C=24, M=40, P=28, Q=28, R=3, S=3)
    assert heuristic_mapping(architecture, problem, allowed) == heuristic_mapping(architecture, problem, allowed)


def test_without_an_energy_table_words_near_the_mac_are_cheap():
    architecture, allowed = weight_stationary()
    problem = nest(C=64, M=64, P=16, Q=16, R=3, S=3)
    found = heuristic_mapping(architecture, problem, allowed)
    assert isinstance(found, Mapping)
    guided = result_of(architecture, problem, allowed)[1]
    plain = evaluate(architecture, problem, found, energy_table(architecture))
    assert isinstance(plain, Result)
    assert plain.energy_pJ * plain.cycles <= 1.5 * guided.energy_pJ * guided.cycles


def test_reuse_flags_of_the_constraints_are_in_the_mapping():
    architecture, allowed = two_level()
    levels = [
        replace(level, no_temporal_reuse=frozenset({0}), no_multicast=frozenset({1}), no_link_transfer=frozenset({2}))
        for level in allowed.levels
    ]
    found = heuristic_mapping(architecture, nest(C=4, M=4), replace(allowed, levels=tuple(levels)))
    assert isinstance(found, Mapping)
    assert all(level.no_temporal_reuse == {0} and level.no_link_transfer == {2} for level in found.levels)


def test_an_engine_has_the_last_word():
    """Candidates are ranked by the engine's answers, and those that it refuses are dropped."""
    architecture, allowed = weight_stationary()
    problem = nest(C=64, M=64, P=16, Q=16, R=3, S=3)
    energy = energy_table(architecture)
    asked: list[Mapping] = []

    def fussy(mapping: Mapping) -> Result | Infeasible:
        asked.append(mapping)
        if len(asked) <= 3:
            return Infeasible("global_buffer", 2, 1, "bits", "too much metadata")
        return evaluate(architecture, problem, mapping, energy)

    found = heuristic_mapping(architecture, problem, allowed, energy, evaluate=fussy)
    assert found in asked[3:]
    assert found not in asked[:3]


def test_an_engine_that_refuses_everything_is_quoted():
    architecture, allowed = weight_stationary()
    no = Infeasible("global_buffer", 2, 1, "bits", "too much metadata")
    assert heuristic_mapping(architecture, nest(C=64, M=64), allowed, evaluate=lambda _: no) == no


def test_constraints_for_another_architecture_are_refused():
    with pytest.raises(ValueError, match="constraints for 6 levels are needed"):
        heuristic_mapping(weight_stationary()[0], nest(M=2), two_level()[1])


def test_fixed_factors_orders_and_splits_are_followed():
    architecture, allowed = weight_stationary()
    mesh = 3
    spatial = LoopConstraints((FactorLimit(M, "=", 16), FactorLimit(C, ">=", 2)), inner=(C,), outer=(M,), split=4)
    temporal = LoopConstraints((FactorLimit(P, "<=", 4),), inner=(Q, P), outer=(N,))
    allowed = limited(limited(allowed, mesh, spatial=spatial), 4, temporal=temporal)
    problem = nest(C=64, M=64, P=32, Q=32, R=3, S=3)
    found = heuristic_mapping(architecture, problem, allowed)
    assert isinstance(found, Mapping)
    assert complaints(architecture, problem, allowed, found, points=False) == []
    level = found.levels[mesh]
    assert level.spatial_x[0].dimension == C
    assert (level.spatial_y[-1].dimension, level.spatial_y[-1].bound) == (M, 16)
    order = [loop.dimension for loop in found.levels[4].temporal]
    assert (order[:2], order[-1]) == ([Q, P], N)
