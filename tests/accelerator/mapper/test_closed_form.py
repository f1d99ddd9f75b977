"""The closed form against the engine's nest analysis on random mappings, and its costs against the engine's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapper_designs import DESIGNS, energy_table, nest
from random_cases import architectures, mappings, problems

from codesign.accelerator.mapper.closed_form import ClosedForm
from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.mapper.nest import Nest, batch_of
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem
from codesign.errors import InputError


def meets_itself(problem: Problem, mapping: Mapping, dataspace: Dataspace, level: int) -> bool:
    """The documented exception: a window that stands still, or goes on, when a third loop that moves it steps."""
    strides = [1] * len(problem.bounds)
    outside: list[tuple[int, ...]] = []
    for index, own in enumerate(mapping.levels):
        for loop in (*own.spatial_x, *own.spatial_y):
            strides[loop.dimension] *= loop.bound
        for loop in own.temporal:
            coefficients = [
                sum(term.coefficient for term in rank if term.dimension == loop.dimension) for rank in dataspace.ranks
            ]
            step = tuple(coefficient * strides[loop.dimension] for coefficient in coefficients)
            strides[loop.dimension] *= loop.bound
            if index > level and loop.bound > 1:
                outside.append(step)
    while outside and not any(outside[0]):
        outside.pop(0)
    # After the run of each loop the window stands where its second iteration left it.
    for count in range(2, len(outside)):
        back = [sum(steps) for steps in zip(*outside[:count], strict=True)]
        moved = tuple(ahead - behind for ahead, behind in zip(outside[count], back, strict=True))
        if moved == outside[0] or not any(moved):
            return True
    return False


@settings(deadline=None, max_examples=150)
@given(st.data(), st.booleans(), st.booleans())
def test_counts_equal_the_nest_analysis(data, current, flagged):
    problem = data.draw(problems())
    architecture = data.draw(architectures(st.none()))
    mapping = data.draw(mappings(architecture, problem, flagged))
    result = evaluate(
        architecture, problem, mapping, energy_table(architecture), stride_rule="current" if current else "pre_a12fff5"
    )
    assert isinstance(result, Result)
    places = Nest.of(architecture, range(len(problem.bounds)))
    form = ClosedForm(architecture, problem, places, flags=mapping.levels, halo_through_stationary=current)
    counts = form.counts(batch_of(places, [mapping]))
    assert counts.compute_cycles[0] == result.compute_cycles
    for column, dataspace in enumerate(problem.dataspaces):
        assume(not any(meets_itself(problem, mapping, dataspace, level) for level in range(len(mapping.levels))))
        for level, storage in enumerate(architecture.storage):
            if not mapping.levels[level].keep[column]:
                continue
            expected = result.levels[storage.name].dataspaces[dataspace.name]
            found = {
                "reads": counts.reads[0, level, column],
                "fills": counts.fills[0, level, column],
                "updates": counts.updates[0, level, column],
            }
            # The engine shares partial sums out in whole numbers, which may round by one.
            assert found == pytest.approx(
                {kind: getattr(expected, f"algorithmic_{kind}") for kind in found}, abs=0.5
            ), (storage.name, dataspace.name)
            assert counts.tile[0, level, column] == expected.utilized_capacity


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    "problem",
    [
        nest(C=16, M=32, P=16, Q=16, R=3, S=3, stride=2, name="strided"),
        nest(G=32, P=16, Q=16, R=3, S=3, name="depthwise"),
        nest(N=49, C=192, M=64, kind="linear", name="linear"),
    ],
    ids=lambda problem: problem.name,
)
def test_energy_and_cycles_of_good_mappings_are_those_of_the_engine(design, problem):
    architecture, constraints = DESIGNS[design]()
    energy = energy_table(architecture)
    mapping = heuristic_mapping(architecture, problem, constraints, energy)
    assert isinstance(mapping, Mapping)
    result = evaluate(architecture, problem, mapping, energy)
    assert isinstance(result, Result)
    places = Nest.of(architecture, range(len(problem.bounds)))
    batch = batch_of(places, [mapping])
    counts = ClosedForm(architecture, problem, places).counts(batch)
    cost = CostModel(architecture, problem, energy).cost(counts, batch.keep)
    assert cost.fits.all()
    # Transfers over links, which only the engine knows, may save a little.
    assert cost.energy_pJ[0] == pytest.approx(result.energy_pJ, rel=0.02)
    assert cost.cycles[0] == pytest.approx(result.cycles, rel=0.001)


def two_loops(**levels: dict[str, int]) -> tuple[Mapping, Problem]:
    """A mapping of a 1-D window onto two levels: the inner one holds a tile of the given factors."""
    problem = nest(P=8, R=3, M=4)
    inner = levels["inner"]
    order = ["R", "P", "M", "N", "G", "C", "Q", "S"]
    bounds = dict(zip(problem.dimensions, problem.bounds, strict=True))
    blocks = [
        tuple(Loop(problem.dimensions.index(d), f[d], f[d]) for d in order)
        for f in (
            {d: inner.get(d, 1) for d in order},
            {d: bounds[d] // inner.get(d, 1) for d in order},
        )
    ]
    return Mapping(tuple(LevelMapping(block, (), (), (True,) * 3) for block in blocks)), problem


def test_a_sliding_window_fetches_only_what_is_new():
    mapping, problem = two_loops(inner={"R": 3, "M": 4})
    architecture, _ = DESIGNS["two_level_scalar"]()
    places = Nest.of(architecture, range(8))
    counts = ClosedForm(architecture, problem, places).counts(batch_of(places, [mapping]))
    inputs = 1
    # A tile of three rows slides over P = 8: three rows first, then one a step, i.e. each row of the input once.
    assert counts.fills[0, 0, inputs] == 3 + 7 * 1
    assert counts.fills[0, 0, 0] == 3 * 4  # weights stay
    assert counts.updates[0, 1, 2] == 8 * 4  # each output goes out once


def test_a_batch_is_the_same_as_its_mappings_one_by_one():
    architecture, constraints = DESIGNS["pe_vector_4x4x8"]()
    problem = nest(C=16, M=32, P=16, Q=16, R=3, S=3)
    found = [
        heuristic_mapping(architecture, problem, constraints, objective=objective)
        for objective in ("edp", "energy", "latency")
    ]
    several = [mapping for mapping in found if isinstance(mapping, Mapping)]
    places = Nest.of(architecture, range(8))
    form = ClosedForm(architecture, problem, places)
    together = form.counts(batch_of(places, several))
    for row, mapping in enumerate(several):
        alone = form.counts(batch_of(places, [mapping]))
        for name in ("reads", "fills", "updates", "tile", "instances", "compute_cycles"):
            np.testing.assert_array_equal(getattr(together, name)[row], getattr(alone, name)[0])


def test_imperfect_loops_have_no_place_in_a_batch():
    mapping, problem = two_loops(inner={})
    first = mapping.levels[1].temporal
    ragged = Mapping((mapping.levels[0], LevelMapping((Loop(0, 2, 1), *first[1:]), (), (), (True,) * 3)))
    places = Nest.of(DESIGNS["two_level_scalar"]()[0], range(8))
    with pytest.raises(ValueError, match="no place for"):
        batch_of(places, [ragged])
    assert problem.macs == 8 * 3 * 4


def test_a_missing_energy_is_an_error_and_never_a_default():
    architecture, constraints = DESIGNS["two_level_scalar"]()
    table = energy_table(architecture)
    without = EnergyTable(tuple(entry for entry in table if (entry.component, entry.action) != ("buffer", "read")))
    with pytest.raises(InputError, match="buffer: the energy table must give the energy of one of random_read, read"):
        heuristic_mapping(architecture, nest(M=4, C=4), constraints, without)
    no_compute = EnergyTable(tuple(entry for entry in table if entry.component != "mac"))
    with pytest.raises(InputError, match="mac: the energy table"):
        heuristic_mapping(architecture, nest(M=4, C=4), constraints, no_compute)


def test_leakage_counts_the_instances_in_use():
    architecture, constraints = DESIGNS["weight_stationary_16x16"]()
    problem = nest(M=16, C=16, P=4)
    table = energy_table(architecture)
    quiet = EnergyTable(tuple(entry for entry in table if entry.action != "leak"))
    leaking = EnergyTable((*quiet, EnergyEntry("psum_reg", "leak", 2.0, Provenance("made up for a test"))))
    mapping = heuristic_mapping(architecture, problem, constraints, quiet)
    assert isinstance(mapping, Mapping)
    places = Nest.of(architecture, range(8))
    batch = batch_of(places, [mapping])
    counts = ClosedForm(architecture, problem, places).counts(batch)
    costs = [CostModel(architecture, problem, energy).cost(counts, batch.keep) for energy in (quiet, leaking)]
    used = problem.macs / counts.compute_cycles[0]
    assert costs[1].energy_pJ[0] - costs[0].energy_pJ[0] == pytest.approx(2.0 * costs[0].cycles[0] * used)
