"""The search as a whole: determinism, budgets, objectives, imperfect factors, bounds, what it says of a mapping."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from threading import Event

import numpy as np
import pytest

from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.bounds import lower_bound
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.explain import explain
from codesign.accelerator.mapper.find import Budget, Found, search_mapping
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.mapper.imperfect import cut_back, padded_bounds
from codesign.accelerator.mapper.layers import map_tasks
from codesign.accelerator.mapper.ranking import Ranking
from codesign.accelerator.mapper.size import choices_of, size_of
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.constraints import FactorLimit, LoopConstraints
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from tests.accelerator.mapper.mapper_designs import DESIGNS, energy_table, nest, two_level
from tests.accelerator.mapper.random_tasks import random_batch, task_of

LAYER = nest(M=16, C=8, P=7, Q=7, R=3, S=3)
SMALL = Budget(6_000)


def task(design: str = "weight_stationary_16x16", problem: Problem = LAYER) -> Task:
    architecture, limits = DESIGNS[design]()
    return Task(architecture, problem, limits, energy_table(architecture))


def search(*arguments: object, **options: object) -> Found:
    found = search_mapping(*arguments, **options)  # type: ignore[arg-type]
    assert isinstance(found, Found)
    return found


def test_the_answer_depends_on_the_seed_and_not_on_the_workers():
    one = search(task(), budget=SMALL, seed=3)
    two = search(task(), budget=SMALL, seed=3, workers=2)
    assert one.best == two.best
    assert (one.evaluated, one.valid) == (two.evaluated, two.valid)


def test_no_worse_than_the_heuristic_and_what_it_says_is_what_the_engine_says():
    for design in DESIGNS:
        own = task(design)
        found = search(own, budget=SMALL)
        start = heuristic_mapping(own.architecture, own.problem, own.constraints, own.energy)
        assert isinstance(start, Mapping)
        known = own.evaluate(start)
        assert isinstance(known, Result)
        assert Goal().key(found.best.result) <= Goal().key(known)
        assert own.evaluate(found.best.mapping) == found.best.result


def test_every_objective_is_best_at_its_own_number_and_ties_go_by_the_second():
    own = task()
    energy, latency = (search(own, Goal.parse(name), SMALL) for name in ("energy", "latency"))
    both = search(own, Goal.parse("latency,energy"), SMALL)
    assert energy.best.result.energy_pJ <= latency.best.result.energy_pJ
    assert both.best.result.cycles == latency.best.result.cycles
    assert both.best.result.energy_pJ <= latency.best.result.energy_pJ


def test_a_trade_off_is_a_front():
    found = search(task("row_stationary_14x12"), Goal.parse("energy,latency", pareto=True), Budget(20_000))
    results = [candidate.result for candidate in found.front]
    assert all(a.energy_pJ < b.energy_pJ and a.cycles > b.cycles for a, b in pairwise(results))
    assert len(found.to_json(task("row_stationary_14x12"))["pareto"]) == len(results)


@pytest.mark.parametrize("text", ["speed", "edp,energy,latency", "edp,edp", ""])
def test_unknown_objectives_are_bad_input(text):
    with pytest.raises(InputError, match="objective"):
        Goal.parse(text)


def test_a_pareto_set_is_of_two():
    with pytest.raises(InputError, match="two different objectives"):
        Goal.parse("edp", pareto=True)


@pytest.mark.parametrize(
    ("evaluations", "seconds"), [(0, None), (-1, None), (None, 0.0), (None, None), (None, float("inf"))]
)
def test_an_empty_budget_is_bad_input(evaluations, seconds):
    with pytest.raises(InputError, match="budget"):
        Budget(evaluations, seconds)


def test_a_stopped_search_gives_the_best_so_far():
    stop = Event()
    stop.set()
    found = search(task(), budget=Budget(10**9), stop=stop)
    assert found.stopped == "interrupted"
    assert found.best.result.legal


def test_an_interrupted_search_gives_the_best_so_far():
    def interrupt(done: int, total: int, detail: str) -> None:
        raise KeyboardInterrupt

    assert search(task(), budget=Budget(10**9), progress=interrupt).stopped == "interrupted"


def test_a_time_limit_ends_the_search():
    assert search(task(), budget=Budget(None, 0.2)).stopped == "seconds"


def test_a_time_that_is_over_ends_even_the_first_steps():
    found = search(task("row_stationary_14x12", nest(M=197, C=12)), budget=Budget(None, 1e-9))
    assert found.stopped == "seconds"
    assert found.evaluated < 10_000
    assert found.best.result.legal


def test_a_small_space_is_looked_at_as_far_as_the_time_reaches():
    architecture, limits = two_level()
    own = Task(architecture, nest(M=4, C=3), limits, energy_table(architecture))
    found = search(own, budget=Budget(100_000, 1e-9))
    assert (found.stopped, found.evaluated) == ("seconds", 0)
    assert found.best.result.legal


def test_the_clock_keeps_a_reserve_and_knows_who_stopped_it():
    stop = Event()
    clock = Clock(time.monotonic() - 6.0, 10.0, stop)
    assert not clock.out()
    assert clock.out(reserve_s=5.0)
    assert clock.share(0.5).out()
    assert not clock.interrupted
    stop.set()
    assert clock.interrupted
    assert Clock(0.0, None, stop).out()
    assert not Clock(0.0).out()


@pytest.mark.parametrize("evaluations", [1, 2])
def test_an_interrupt_while_the_engine_ranks_gives_what_is_known(evaluations, monkeypatch):
    calls: list[Mapping] = []

    def evaluate(own: Task, mapping: Mapping) -> Result | Infeasible:
        calls.append(mapping)
        if len(calls) > evaluations:
            raise KeyboardInterrupt
        return engine(own, mapping)

    engine = Task.evaluate
    monkeypatch.setattr(Task, "evaluate", evaluate)
    assert search(task(), budget=SMALL).best.result.legal
    assert len(calls) == evaluations + 1


def test_identical_tasks_are_searched_once_and_in_the_order_given():
    first, second = task(), task(problem=nest(M=4, C=4))
    calls: list[tuple[int, int]] = []
    answers = map_tasks(
        [first, second, first], Goal(), SMALL, progress=lambda done, total, _: calls.append((done, total))
    )
    assert answers[0] is answers[2]
    assert calls[-1] == (2, 2)
    assert isinstance(answers[1], Found)
    assert answers[1].best.result.computes.algorithmic == 16


def test_nothing_legal_is_explained():
    own = task()
    limit = LoopConstraints((FactorLimit(1, "=", 4),))
    levels = list(own.constraints.levels)
    levels[0] = replace(levels[0], temporal=limit)
    levels[-1] = replace(levels[-1], temporal=LoopConstraints((FactorLimit(1, "=", 8),)))
    found = search_mapping(replace(own, constraints=replace(own.constraints, levels=tuple(levels))), budget=SMALL)
    assert isinstance(found, Infeasible)
    assert found.demand > found.capacity
    assert found.levers


# Imperfect factors.


@pytest.mark.parametrize(("larger", "bound"), [(12, 11), (16, 9), (24, 23)])
def test_a_mapping_cut_back_covers_exactly_the_smaller_bound(larger, bound):
    own = task(problem=nest(M=larger, C=8))
    mapping = heuristic_mapping(own.architecture, own.problem, own.constraints, own.energy)
    assert isinstance(mapping, Mapping)
    smaller = nest(M=bound, C=8)
    cut = cut_back(mapping, smaller.bounds)
    cut.check(own.architecture, smaller)
    assert replace(own, problem=smaller).evaluate(cut).legal


def test_a_prime_bound_fills_the_array_with_imperfect_factors():
    own = task("row_stationary_14x12", nest(M=197, C=12))
    found = search(own, budget=SMALL)
    levels = found.best.mapping.levels
    loops = [loop for level in levels for loop in (*level.spatial_x, *level.spatial_y, *level.temporal)]
    assert not all(loop.perfect for loop in loops)
    assert found.best.result.cycles <= -(-197 // 12)


@pytest.mark.parametrize(("bound", "fanouts"), [(64, [8, 16]), (12, [12]), (1, [14])])
def test_bounds_that_divide_well_are_left_alone(bound, fanouts):
    assert padded_bounds(bound, fanouts) == []


def test_padding_is_little_and_fills_the_fan_out():
    assert all(197 < bound <= 1.15 * 197 for bound in padded_bounds(197, [14, 12, 168]))


# Bounds and size.


def test_no_mapping_beats_the_lower_bound():
    legal = 0
    for seed in range(60):
        own = task_of(seed)
        bound, evaluator = lower_bound(own), BatchEvaluator(own)
        answers = evaluator(random_batch(evaluator, 40, seed))
        legal += int(answers.legal.sum())
        assert np.nanmin([np.inf, *answers.energy_pJ]) >= bound.energy_pJ * (1 - 1e-12)
        assert np.nanmin([np.inf, *answers.cycles]) >= bound.cycles
    assert legal > 400


def test_no_mapping_beats_the_lower_bound_where_levels_surely_keep_tensors():
    legal, best = 0, 0.0
    for seed in range(120):
        rng, own = np.random.default_rng(seed), task_of(seed)
        if rng.random() < 0.5:  # without gaps every word of a tensor's box is known to pass
            spaces = [
                replace(
                    space, ranks=tuple(tuple(replace(term, coefficient=1) for term in rank) for rank in space.ranks)
                )
                for space in own.problem.dataspaces
            ]
            own = replace(own, problem=replace(own.problem, dataspaces=tuple(spaces)))
        levels = [
            replace(level, keep=tuple(keep or bool(rng.random() < 0.6) for keep in level.keep))
            if not storage.spatial_dummy
            else level
            for level, storage in zip(own.constraints.levels, own.architecture.storage, strict=True)
        ]
        own = replace(own, constraints=replace(own.constraints, levels=tuple(levels)))
        bound, evaluator = lower_bound(own), BatchEvaluator(own)
        answers = evaluator(random_batch(evaluator, 60, seed))
        if answers.legal.any():
            legal += int(answers.legal.sum())
            best = max(best, float(bound.cycles / np.nanmin(answers.cycles)))
            assert np.nanmin(answers.energy_pJ) >= bound.energy_pJ * (1 - 1e-12)
            assert np.nanmin(answers.cycles) >= bound.cycles
    assert legal > 1000
    assert best > 0.99


def test_the_bound_knows_what_must_be_written_into_a_buffer():
    # Eyeriss' global buffer takes 16 words a cycle: 32 channels of 18 x 18 inputs, and 16 x 16 outputs of each.
    bound = lower_bound(task("row_stationary_14x12", nest(G=32, P=16, Q=16, R=3, S=3)))
    assert bound.cycles == 32 * (18 * 18 + 16 * 16) // 16 == 1160


def test_a_dimension_on_both_axes_of_a_level_is_no_mapping_of_the_real_program():
    own = task("row_stationary_14x12", nest(M=64))
    architecture = own.architecture
    storage = (*architecture.storage[:3], replace(architecture.storage[4], name="mesh"), *architecture.storage[5:])
    flat = replace(architecture, storage=storage)
    limits = replace(own.constraints, levels=(*own.constraints.levels[:3], *own.constraints.levels[4:]))
    evaluator = BatchEvaluator(replace(own, architecture=flat, constraints=limits))
    slots = {slot.axis: index for index, slot in enumerate(evaluator.space.nest.slots) if slot.level == 3}
    both = evaluator.smallest()
    assert not isinstance(both, Infeasible)
    last = evaluator.space.nest.temporal[-1]
    one = both.take(slice(0, 1))
    one.factors[0, last, 0], one.factors[0, slots["X"], 0], one.factors[0, slots["Y"], 0] = 16, 4, 1
    assert evaluator(one).legal.all()
    one.factors[0, last, 0], one.factors[0, slots["Y"], 0] = 4, 4
    assert not evaluator(one).legal.any()


def test_the_size_counts_every_factorisation_order_and_keep():
    architecture, limits = two_level()
    problem = nest(M=4, C=6)
    space = MapSpace(architecture, problem, limits)
    size = size_of(space, choices_of(space))
    # M = 2*2 over two places in 3 ways, C = 2*3 in 4; two loops in 2 orders at 2 levels; the buffer keeps 3 or not.
    assert (size.factorizations, size.orders, size.keeps) == (3 * 4, 2 * 2, 2**3)


# What is said of a mapping.


def test_the_explanation_shows_loops_tiles_and_bandwidths():
    own = task("row_stationary_14x12")
    found = search(own, budget=SMALL)
    text = explain(own, found.best.mapping, found.best.result)
    for storage in own.architecture.storage:
        assert storage.spatial_dummy or f"\n{storage.name}" in f"\n{text}"
    assert "parallel for" in text
    assert "of 16 (" in text
    assert f"{found.best.result.cycles:,} cycles" in text


def test_a_small_space_is_looked_at_as_a_whole():
    architecture, limits = two_level()
    own = Task(architecture, nest(M=4, C=3), limits, energy_table(architecture))
    found = search(own)
    assert found.stopped == "exhausted"
    evaluator = BatchEvaluator(own)
    batch = random_batch(evaluator, 4000, 0)
    result = evaluator(batch)
    assert found.evaluated == found.size.total
    edp = result.energy_pJ * result.cycles
    assert found.best.result.energy_pJ * found.best.result.cycles == pytest.approx(np.nanmin(edp), rel=1e-12)


def test_what_was_found_is_ranked_even_when_the_time_is_up():
    own = task()
    evaluator = BatchEvaluator(own)
    batch = evaluator.smallest()
    assert not isinstance(batch, Infeasible)
    late = Ranking(own, Goal(), Clock(time.monotonic() - 10.0, 5.0))
    late.add([evaluator.space.mapping(batch, 0)])
    better = search(own, budget=SMALL).best
    late.add([better.mapping])
    assert late.best() != (better,)
    late.add([better.mapping], at_least=1)
    assert late.best() == (better,)


def test_neighbours_stand_side_by_side_along_what_a_window_slides_over():
    # Windows of 3 columns on an axis of 12 with 4 channels: with the channels inside, no two would be adjacent.
    own = task("row_stationary_14x12", nest(G=4, P=4, Q=16, S=3))
    evaluator = BatchEvaluator(own)
    batch = evaluator.smallest()
    assert not isinstance(batch, Infeasible)
    names = [own.problem.dimensions[d] for d in evaluator.space.nest.dimensions]
    slots = {(slot.axis, slot.level): index for index, slot in enumerate(evaluator.space.nest.slots)}
    one = batch.take(slice(0, 1))
    for name, slot in (("S", slots["Y", 3]), ("G", slots["Y", 3]), ("Q", slots["T", 5])):
        one.factors[0, :, names.index(name)] = 1
        one.factors[0, slot, names.index(name)] = own.problem.bounds[own.problem.dimensions.index(name)]
    result = own.evaluate(evaluator.space.mapping(one, 0))
    assert isinstance(result, Result)
    assert result.levels["shared_glb"].dataspaces["Inputs"].actual_reads < 1.2 * own.problem.tensor_size(
        own.problem.dataspaces[1]
    )
