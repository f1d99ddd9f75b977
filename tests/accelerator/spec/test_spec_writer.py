"""What is written reads back as it was: random problems, random mappings, energy tables."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_text import ARCHITECTURE, PROBLEM, design, nodes, problem, write

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import DENSE, Banded, Density, FixedStructured, Hypergeometric
from codesign.accelerator.spec.energy_table import AreaEntry, EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.loader import Design, load_design, load_problem, parse_mapping
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.accelerator.spec.writer import energy_table_to_yaml, mapping_to_yaml, problem_to_yaml

SHARED = Path(__file__).parents[3] / ".." / "shared" / "reference" / "arch"

names = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=1, max_size=12)
shares = st.floats(0, 1, allow_nan=False)
densities: st.SearchStrategy[Density] = st.one_of(
    st.just(DENSE), shares.map(FixedStructured), shares.map(Hypergeometric)
)
bands: st.SearchStrategy[Density] = st.integers(0, 9).map(Banded)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    dimensions = draw(st.lists(st.sampled_from("CKMNPQRSXYnty"), min_size=1, max_size=6, unique=True))
    terms = st.builds(Term, st.integers(0, len(dimensions) - 1), st.integers(-5, 5).filter(bool))
    ranks = st.lists(st.lists(terms, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple)
    spaces = draw(
        st.lists(st.builds(Dataspace, names, ranks, st.booleans()), min_size=1, max_size=4, unique_by=lambda d: d.name)
    )
    bounds = tuple(draw(st.integers(1, 10**6)) for _ in dimensions)

    def square(space: Dataspace) -> bool:
        extents = [high - low for low, high in space.tile([0] * len(bounds), [bound - 1 for bound in bounds])]
        return len(extents) == 2 and extents[0] == extents[1]

    return Problem(
        name=draw(names),
        dimensions=tuple(dimensions),
        bounds=bounds,
        dataspaces=tuple(spaces),
        densities=tuple(draw(densities | bands if square(space) else densities) for space in spaces),
    )


def read_problem(text: str) -> Problem:
    with tempfile.TemporaryDirectory() as folder:
        return load_problem([write(Path(folder), text)])


@given(problems())
def test_problems_read_back(want: Problem) -> None:
    assert read_problem(problem_to_yaml(want)) == want


def test_dimensions_that_the_format_cannot_express() -> None:
    odd = Problem("x", ("1",), (2,), (Dataspace("A", ((Term(0),),)),))
    with pytest.raises(ValueError, match="must be letters"):
        problem_to_yaml(odd)


@cache
def designs() -> tuple[Design, ...]:
    """Designs with nothing, one and several fan-outs, parallel branches and awkward names."""
    spads = ", ".join(
        f"!Component {{name: {name}, class: regfile, attributes: {{depth: 1, width: 8, datawidth: 8}},"
        f" constraints: {{dataspace: {{keep: [{keep}]}}}}}}"
        for name, keep in (("w", "Weights"), ("i", "Inputs"), ("o", "Outputs"))
    )
    dram = "!Component {name: 'main memory', class: DRAM, attributes: {width: 8, datawidth: 8}}"
    many = nodes(
        dram,
        "!Container {name: 'column: 1', spatial: {meshX: 3}}",
        "!Container {name: on, spatial: {meshY: 2}}",
        f"!Parallel {{nodes: [{spads}]}}",
        "!Component {name: mac, class: mac, spatial: {meshX: 2}}",
    )
    with tempfile.TemporaryDirectory() as folder:
        found = [design(Path(folder), ARCHITECTURE), design(Path(folder), many)]
        found.append(design(Path(folder), nodes(dram, "!Component {name: mac, class: mac}")))
    if SHARED.is_dir():
        found += [load_design([path]) for path in sorted(SHARED.glob("*.yaml"))]
    return tuple(found)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Design, Problem, Mapping]:
    """A random mapping with imperfect factors that the design's constraints allow.

    The bounds follow from the loops: from the outermost in, ``last = last * bound + residual - 1``.
    """
    chosen = draw(st.sampled_from(designs()))
    architecture = chosen.architecture
    shape = read_problem(PROBLEM)
    count = len(shape.dimensions)
    fixed = chosen.constraints(shape)
    levels: list[LevelMapping] = []
    last = [0] * count
    for index in reversed(range(len(architecture.storage))):
        bounds = [draw(st.integers(1, 3)) for _ in range(count)]
        loops = [Loop(d, bound, draw(st.integers(1, bound))) for d, bound in enumerate(bounds)]
        loops = draw(st.permutations(loops))
        flags = st.frozensets(st.integers(0, 2))
        dummy = architecture.storage[index].spatial_dummy
        split = draw(st.integers(0, count)) if dummy else 0
        ones = tuple(Loop(d, 1, 1) for d in range(count))
        keep = [draw(st.booleans()) if free is None else free for free in fixed.levels[index].keep]
        levels.insert(
            0,
            LevelMapping(
                temporal=ones if dummy else tuple(loops),
                spatial_x=tuple(loops[:split]) if dummy else (),
                spatial_y=tuple(loops[split:]) if dummy else (),
                keep=tuple(keep),
                no_temporal_reuse=frozenset() if dummy else draw(flags),
                no_multicast=draw(flags) if dummy else frozenset(),
                no_link_transfer=draw(flags) if dummy else frozenset(),
                no_coalesce=frozenset() if dummy else draw(flags),
                rmw_first_update=frozenset() if dummy else draw(flags),
            ),
        )
        for loop in loops:
            last[loop.dimension] = last[loop.dimension] * loop.bound + loop.residual - 1
    of = Problem(shape.name, shape.dimensions, tuple(value + 1 for value in last), shape.dataspaces)
    return chosen, of, Mapping(tuple(levels))


@given(cases())
def test_mappings_read_back(sample: tuple[Design, Problem, Mapping]) -> None:
    chosen, of, want = sample
    text = mapping_to_yaml(want, chosen.architecture, of)
    assert parse_mapping(text, chosen, of) == want
    if not any(level.keep.count(False) for level in want.levels):
        assert parse_mapping(text, chosen.architecture, of) == want
    assert ("imperfect" in text) is not all(loop.perfect for level in want.levels for loop in _loops(level))


def _loops(level: LevelMapping) -> tuple[Loop, ...]:
    return level.temporal + level.spatial_x + level.spatial_y


def test_mappings_that_no_directive_can_express(tmp_path: Path) -> None:
    loaded, of = design(tmp_path, ARCHITECTURE), problem(tmp_path)
    text = "mapping:\n- {target: dram, type: temporal, factors: [C=0, M=0, P=0, R=0]}\n"
    spad, dummy, *outer = parse_mapping(text, loaded, of).levels
    ones = spad.temporal
    spatial = LevelMapping(spad.temporal, ones, (), spad.keep)
    reused = LevelMapping(
        dummy.temporal, dummy.spatial_x, dummy.spatial_y, dummy.keep, no_temporal_reuse=frozenset({0})
    )
    with pytest.raises(ValueError, match="only a node with a fan-out"):
        mapping_to_yaml(Mapping((spatial, dummy, *outer)), loaded.architecture, of)
    with pytest.raises(ValueError, match="loops in space only"):
        mapping_to_yaml(Mapping((spad, reused, *outer)), loaded.architecture, of)


energies = st.floats(0, 1e9, allow_nan=False)
sources = st.builds(Provenance, names, st.sampled_from(["none", "x 0.8"]), st.sampled_from(["user", "published"]))


@given(
    st.lists(st.builds(EnergyEntry, st.sampled_from(["dram", "spad", "mac"]), names, energies, sources), max_size=6),
    st.lists(
        st.builds(AreaEntry, st.sampled_from(["dram", "mac"]), energies, sources),
        max_size=2,
        unique_by=lambda entry: entry.component,
    ),
)
def test_energy_tables_read_back(entries: list[EnergyEntry], areas: list[AreaEntry]) -> None:
    order = ["dram", "spad", "mac"]
    table = EnergyTable(
        tuple(sorted(entries, key=lambda entry: order.index(entry.component))),
        tuple(sorted(areas, key=lambda entry: order.index(entry.component))),
    )
    architecture = designs()[0].architecture
    text = energy_table_to_yaml(table, architecture)
    with tempfile.TemporaryDirectory() as folder:
        back = design(Path(folder), ARCHITECTURE, text).energy
    assert back is not None
    assert [(e.component, e.action, e.energy_pJ) for e in back] == [(e.component, e.action, e.energy_pJ) for e in table]
    assert [(a.component, a.area_um2) for a in back.areas] == [(a.component, a.area_um2) for a in table.areas]


def test_energy_tables_name_instances_and_sources(tmp_path: Path) -> None:
    architecture: Architecture = design(tmp_path, ARCHITECTURE).architecture
    source = Provenance("Horowitz 2014, table 1", "45 to 65 nm", "published")
    table = EnergyTable((EnergyEntry("spad", "read", 0.25, source),), (AreaEntry("spad", 7.0, source),))
    text = energy_table_to_yaml(table, architecture)
    assert '"chip.spad[1..8]"' in text
    assert "# Horowitz 2014, table 1; 45 to 65 nm (published)" in text
    with pytest.raises(ValueError, match="not in the architecture"):
        energy_table_to_yaml(EnergyTable((EnergyEntry("other", "read", 1.0, source),)), architecture)
