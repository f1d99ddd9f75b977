"""Mappings: loops, orders, splits, keeps, and how constraints and mapping add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import ARCHITECTURE, MAPPING, PROBLEM, case, design, problem

from codesign.accelerator.spec.loader import load_mapping, parse_mapping
from codesign.accelerator.spec.mapping import LevelMapping, Loop
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError


def names(loops: tuple[Loop, ...], of: Problem) -> str:
    """Loops from the innermost outwards as "C4 M1"; imperfect ones as "P4,2"."""
    return " ".join(
        f"{of.dimensions[loop.dimension]}{loop.bound}" + ("" if loop.perfect else f",{loop.residual}") for loop in loops
    )


def levels(folder: Path, *texts: str) -> dict[str, LevelMapping]:
    loaded = case(folder, *texts)
    loaded.mapping.check(loaded.architecture, loaded.problem)
    return {
        storage.name: level for storage, level in zip(loaded.architecture.storage, loaded.mapping.levels, strict=True)
    }


def test_every_loop_of_every_level(tmp_path: Path) -> None:
    of = problem(tmp_path)
    found = levels(tmp_path, ARCHITECTURE, PROBLEM, MAPPING)
    # Dimensions whose factor or bound is 1 and that a permutation leaves out go to its front; the rest to its end.
    assert names(found["dram"].temporal, of) == "P3 M2 C1 R1"
    assert names(found["buffer"].temporal, of) == "R3 C1 M1 P1"
    assert names(found["spad"].temporal, of) == "C2 P2 M1 R1"
    pe = found["inter_pe_spatial"]
    assert (names(pe.spatial_x, of), names(pe.spatial_y, of)) == ("M4", "C2 P1 R1")
    assert names(pe.temporal, of) == "C1 M1 P1 R1"
    assert pe.keep == (False, False, False)
    assert found["spad"].keep == (True, True, True)


def test_the_split_counts_the_loops_that_are_put_in_front(tmp_path: Path) -> None:
    """A permutation of two with split 1 and ones for the rest: both listed loops end on Y, as in the real front end."""
    of = problem(tmp_path)
    spatial = "{target: pe, type: spatial, factors: [P=1, R=1, C=2, M=1], permutation: [C, M], split: 1}"
    mapping = f"mapping:\n- {spatial}\n- {{target: dram, type: temporal, factors: [C=2, M=8, P=6, R=3]}}\n"
    pe = levels(tmp_path, ARCHITECTURE, PROBLEM, mapping)["inter_pe_spatial"]
    assert (names(pe.spatial_x, of), names(pe.spatial_y, of)) == ("R1", "P1 C2 M1")


def test_a_bound_of_one_goes_to_the_front_too(tmp_path: Path) -> None:
    text = PROBLEM.replace("R: 3", "R: 1")
    of = problem(tmp_path, text)
    mapping = "mapping:\n- {target: dram, type: temporal, factors: [C=4, M=8, P=6], permutation: [P]}\n"
    assert names(levels(tmp_path, ARCHITECTURE, text, mapping)["dram"].temporal, of) == "R1 P6 C4 M8"


def test_without_a_split_all_loops_lie_on_x(tmp_path: Path) -> None:
    of = problem(tmp_path)
    mapping = MAPPING.replace(", split: 1", "")
    pe = levels(tmp_path, ARCHITECTURE, PROBLEM, mapping)["inter_pe_spatial"]
    assert (names(pe.spatial_x, of), pe.spatial_y) == ("M4 C2 P1 R1", ())


@pytest.mark.parametrize(
    "factors",
    [
        "[C=4, M=8, P=6, R=3]",
        "C=4 M=8 P=6 R=3",
        "C=4,M=8,P=6,R=3",
        "C4 M8 P6 R3",
        "[C=0, M=0, P=0, R=0]",
        '["C = 4", "M=8,8", "P =6", R=3]',
    ],
)
def test_forms_of_factors(tmp_path: Path, factors: str) -> None:
    of = problem(tmp_path)
    mapping = f"mapping:\n- {{target: dram, type: temporal, factors: {factors}, permutation: RPMC}}\n"
    if "," in factors and "[" not in factors:
        mapping = mapping.replace(factors, f'"{factors}"')
    assert names(levels(tmp_path, ARCHITECTURE, PROBLEM, mapping)["dram"].temporal, of) == "R3 P6 M8 C4"


@pytest.mark.parametrize("factors", ['["P=4,2", C=4, M=8, R=3]', "[P=4,2, C=4, M=8, R=3]", '"P=4,2 C=4,M=8 R=3"'])
def test_imperfect_factors(tmp_path: Path, factors: str) -> None:
    """6 iterations as 4 and a last run of 2: (residual outer 2 - 1) * 4 + 2 = 6."""
    of = problem(tmp_path)
    mapping = (
        f"mapping:\n- {{target: buffer, type: temporal, factors: {factors}}}\n"
        "- {target: dram, type: temporal, factors: [P=2]}\n"
    )
    found = levels(tmp_path, ARCHITECTURE, PROBLEM, mapping)
    assert "P4,2" in names(found["buffer"].temporal, of)


def test_flags_and_keeps(tmp_path: Path) -> None:
    mapping = MAPPING + (
        "- {target: spad, type: temporal, no_reuse: [Weights], rmw_first_update: [Outputs]}\n"
        "- {target: pe, type: spatial, no_reuse: ['*'], no_link_transfer: [Inputs]}\n"
        "- {target: buffer, type: dataspace, bypass: [Weights], no_coalesce: [Outputs]}\n"
        "- {target: spad, type: bypass, keep_only: [Inputs]}\n"
        "- {target: dram, type: datatype, bypass_only: []}\n"
    )
    found = levels(tmp_path, ARCHITECTURE, PROBLEM, mapping)
    assert (found["spad"].no_temporal_reuse, found["spad"].rmw_first_update) == ({0}, {2})
    pe = found["inter_pe_spatial"]
    assert (pe.no_multicast, pe.no_link_transfer) == ({0, 1, 2}, {1})
    assert (found["buffer"].keep, found["buffer"].no_coalesce) == ((False, True, True), {2})
    assert found["spad"].keep == (False, True, False)
    assert found["dram"].keep == (True, True, True)


def test_constraints_at_nodes_and_at_the_top_are_part_of_the_mapping(tmp_path: Path) -> None:
    of = problem(tmp_path)
    constrained = ARCHITECTURE.replace(
        "attributes: {depth: 16, width: 16, datawidth: 16}",
        "attributes: {depth: 16, width: 16, datawidth: 16}\n    constraints: {temporal: {factors: [C=2, P=2, Z=1]}}",
    )
    top = "constraints_extra: {version: 0.4, targets: [{target: spad, type: temporal, permutation: [P, C]}]}\n"
    mapping = "\n".join(line for line in MAPPING.splitlines() if "spad" not in line)
    found = levels(tmp_path, constrained, PROBLEM, mapping, top)
    assert names(found["spad"].temporal, of) == "P2 C2 M1 R1"


def parallel(*rest: str) -> str:
    spads = [
        f"      - !Component {{name: {name}, class: regfile, attributes: {{depth: 9, width: 8, datawidth: 8}},"
        f" constraints: {{dataspace: {{keep: [{keep}]}}}}}}\n"
        for name, keep in (("w", "Weights"), ("i", "Inputs"), ("o", "Outputs"))[: 3 - len(rest)]
    ]
    tail = "".join(f"      - {line}\n" for line in rest)
    branch = "  - !Parallel\n    nodes:\n" + "".join(line.replace("      -", "    -", 1) for line in spads)
    head, mac = ARCHITECTURE.split("  - !Component\n    name: mac")
    return f"{head}{branch}{tail.replace('      -', '    -')}  - !Component\n    name: mac{mac}"


def test_each_branch_of_a_parallel_keeps_its_own(tmp_path: Path) -> None:
    found = levels(tmp_path, parallel(), PROBLEM, MAPPING)
    assert [found[name].keep for name in "wio"] == [(True, False, False), (False, True, False), (False, False, True)]
    bypassed = levels(tmp_path, parallel("!Nothing {constraints: {dataspace: {keep: [Outputs]}}}"), PROBLEM, MAPPING)
    assert [bypassed[name].keep for name in "wi"] == [(True, False, False), (False, True, False)]


def test_branches_inside_branches(tmp_path: Path) -> None:
    inner = (
        "!Hierarchical {nodes: [{tag}{name: p, class: regfile, attributes: {depth: 9, width: 8, datawidth: 8},"
        " constraints: {dataspace: {keep: [Outputs]}}}, {tag}{name: q, class: regfile,"
        " attributes: {depth: 9, width: 8, datawidth: 8}}]}"
    ).replace("{tag}", "!Component ")
    found = levels(tmp_path, parallel(inner), PROBLEM, MAPPING)
    assert [found[name].keep for name in "pq"] == [(False, False, True), (False, False, True)]


@pytest.mark.parametrize("rest", ["!Nothing {constraints: {dataspace: {keep: [Weights]}}}", "!Nothing {}"])
def test_a_dataspace_needs_one_branch(tmp_path: Path, rest: str) -> None:
    with pytest.raises(InputError, match="exactly one branch"):
        case(tmp_path, parallel(rest), PROBLEM, MAPPING)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("R=3", "R=2", "the factors of R must multiply to its bound 3"),
        ("R=3", "R=2", "2: 2 at buffer"),
        ("target: buffer", "target: bufer", "did you mean buffer"),
        ("target: buffer", "target: pe", "must be for a storage"),
        ("target: buffer", "target: mac", "must be for a storage"),
        ("type: spatial", "type: spacial", "did you mean spatial"),
        ("permutation: [R, C, M, P]", "permutation: [R, X]", "must name a dimension"),
        ("permutation: [R, C, M, P]", "permutation: [R, R]", "may name a dimension once"),
        ("factors: [R=3]", "factors: [Z=3]", "must name a dimension"),
        ("factors: [R=3]", "factors: [R]", "a factor is a dimension"),
        ("factors: [R=3]", "factors: [R=-3]", "a factor is a dimension"),
        ("factors: [R=3]", "factors: [R=3, R=1]", "contradict each other"),
        ("factors: [R=3]", "factors: [R=3, R<=2]", "contradict each other"),
        ("factors: [R=3]", "factors: [R=3, M>=2]", "breaks a limit"),
        ("factors: [R=3]", "factors: ['R=3,4']", "residual"),
        ("factors: [R=3]", "factor: [R=3]", "did you mean factors"),
        ("split: 1", "split: -1", "at least 0"),
        ("target: pe, type: spatial", "target: spad, type: spatial", "has no fan-out"),
        ("split: 1}", "split: 1, remainders: 2}", "ruby"),
        ("split: 1}", "split: 1, no_reuse: [Weight]}", "did you mean Weights"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in MAPPING
    with pytest.raises(InputError) as caught:
        case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING.replace(old, new, 1))
    assert words in str(caught.value)
    assert caught.value.path == tmp_path / "part2.yaml"
    assert caught.value.line is not None


def test_the_same_in_other_words_is_no_contradiction(tmp_path: Path) -> None:
    """Only loops of more than one iteration have an order; a later permutation may refine an earlier one."""
    of = problem(tmp_path)
    top = "constraints: {targets: [{target: dram, type: temporal, permutation: [P]}]}\n"
    same = "- {target: buffer, type: temporal, factors: [R=3], permutation: [C, R]}\n"
    found = levels(tmp_path, ARCHITECTURE, PROBLEM, MAPPING + same, top)
    assert names(found["dram"].temporal, of) == "P3 M2 C1 R1"
    assert names(found["buffer"].temporal, of) == "C1 R3 M1 P1"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("- {target: buffer, type: temporal, factors: [R=1]}", "R=1 and R=3"),
        ("- {target: dram, type: temporal, permutation: [M, P]}", "different loop order"),
        ("- {target: pe, type: spatial, split: 2}", "different split"),
        ("- {target: dram, type: dataspace, keep: [Weights], bypass: [Weights]}", "both kept and bypassed"),
        ("- {target: '*', type: temporal}", "must be a node"),
    ],
)
def test_two_directives_may_not_contradict(tmp_path: Path, extra: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        case(tmp_path, ARCHITECTURE, PROBLEM, f"{MAPPING}{extra}\n")


def test_every_dataspace_is_kept_somewhere(tmp_path: Path) -> None:
    lines = [f"- {{target: {name}, type: dataspace, bypass: [Inputs]}}\n" for name in ("dram", "buffer", "spad")]
    with pytest.raises(InputError, match="Inputs is kept at none"):
        case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING + "".join(lines))


def test_no_mapping_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="codesign map"):
        case(tmp_path, ARCHITECTURE, PROBLEM)
    with pytest.raises(InputError, match="`mapping` is missing"):
        load_mapping([tmp_path / "part1.yaml"], design(tmp_path, ARCHITECTURE), problem(tmp_path))


def test_the_real_mappers_own_form(tmp_path: Path) -> None:
    """It targets the dummies by name, writes "C4" for "C=4", and lists the dummies' loops in time."""
    own = """
mapping:
- {target: spad, type: datatype, keep: [Weights, Inputs, Outputs], bypass: []}
- {target: inter_pe_spatial, type: datatype, keep: [], bypass: [Weights, Inputs, Outputs]}
- {target: dram, type: temporal, factors: C1 M2 P3 R1, permutation: PMCR}
- {target: buffer, type: temporal, factors: C1 M1 P1 R3, permutation: RCMP}
- {target: inter_pe_spatial, type: spatial, factors: C2 M4 P1 R1, permutation: MCPR, split: 1}
- {target: inter_pe_spatial, type: temporal, factors: C1 M1 P1 R1, permutation: CMPR}
- {target: spad, type: temporal, factors: C2 M1 P2 R1, permutation: CPMR}
"""
    got, want = case(tmp_path, ARCHITECTURE, PROBLEM, own), case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING)
    assert got.mapping == want.mapping
    wrong = own.replace(
        "inter_pe_spatial, type: temporal, factors: C1", "inter_pe_spatial, type: temporal, factors: C4"
    )
    with pytest.raises(InputError, match="loops in space only"):
        case(tmp_path, ARCHITECTURE, PROBLEM, wrong)


def test_a_mapping_alone_for_an_architecture_without_constraints(tmp_path: Path) -> None:
    loaded, of = design(tmp_path, ARCHITECTURE), problem(tmp_path)
    assert parse_mapping(MAPPING, loaded.architecture, of) == parse_mapping(MAPPING, loaded, of)


def test_constraints_above_the_bound_yield_to_the_mapping(tmp_path: Path) -> None:
    """The real mapper ignores them, so a mapping that it finds says otherwise."""
    top = "constraints: {targets: [{target: pe, type: spatial, factors: [M=16]}]}\n"
    got = case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING, top).mapping
    assert got == case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING).mapping
    without = MAPPING.replace("[C=2, M=4]", "[C=2]")
    with pytest.raises(InputError, match="the factors of M"):
        case(tmp_path, ARCHITECTURE, PROBLEM, without, top)
