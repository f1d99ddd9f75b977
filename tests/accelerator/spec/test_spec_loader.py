"""Whole cases: the reference cases load, files merge, folders, and other designs than those."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import ARCHITECTURE, MAPPING, PROBLEM, case, design, problem, write

from codesign.accelerator.spec.loader import case_files, load_case, load_design, load_mapping
from codesign.errors import InputError

REFERENCE = Path(__file__).parents[3] / ".." / "shared" / "reference" / "cases"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference cases are not beside the checkout")


@needs_reference
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_reference_cases_load(kind: str) -> None:
    folders = sorted(REFERENCE.glob(f"{kind}/*"))
    assert folders
    for folder in folders:
        loaded = load_case(case_files(folder))
        assert loaded.name == folder.name
        assert loaded.energy is not None
        assert bool(loaded.sparse) is (kind == "sparse")
        loaded.mapping.check(loaded.architecture, loaded.problem)


def test_one_file_or_several_are_the_same_case(tmp_path: Path) -> None:
    many = case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING)
    one = load_case([write(tmp_path, PROBLEM + MAPPING + ARCHITECTURE, "all.yaml")])
    assert (one.architecture, one.problem, one.mapping) == (many.architecture, many.problem, many.mapping)
    assert one.name == tmp_path.name
    assert load_case([tmp_path / "all.yaml"] * 2, name="mine").name == "mine"


def test_the_problem_of_a_design_is_left_alone(tmp_path: Path) -> None:
    loaded = design(tmp_path, ARCHITECTURE, "problem: {nonsense: 1}\n", "mapper: {timeout: 3}\n", "ignore_me: [1]\n")
    assert loaded.architecture.compute.name == "mac"
    assert loaded.paths[0] == tmp_path / "part0.yaml"


def test_the_hash_follows_names_and_contents(tmp_path: Path) -> None:
    first = load_design([write(tmp_path, ARCHITECTURE, "a.yaml")])
    assert first.sha256 == load_design([tmp_path / "a.yaml"]).sha256
    assert first.sha256 != load_design([write(tmp_path, ARCHITECTURE, "b.yaml")]).sha256
    assert first.sha256 != load_design([write(tmp_path, ARCHITECTURE + "\n", "a.yaml")]).sha256


def test_case_folders(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "expected.json", "notes.txt"):
        write(tmp_path, "x", name)
    assert [path.name for path in case_files(tmp_path)] == ["a.yml", "b.yaml"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="must hold YAML files"):
        case_files(empty)
    with pytest.raises(InputError, match="at least one YAML file"):
        load_case([])


def test_a_mapping_file_with_its_own_constraints(tmp_path: Path) -> None:
    loaded, of = design(tmp_path, ARCHITECTURE), problem(tmp_path)
    mapping = MAPPING.replace(", permutation: [R, C, M, P]", "")
    top = "constraints: {targets: [{target: buffer, type: temporal, permutation: [R, C, M, P]}]}\n"
    path = write(tmp_path, mapping + top, "m.yaml")
    assert load_mapping([path], loaded, of) == case(tmp_path, ARCHITECTURE, PROBLEM, MAPPING).mapping


def test_bandwidth_scales_name_dataspaces(tmp_path: Path) -> None:
    scale = "per_dataspace_bandwidth_consumption_scale: {Weight: 2}, read_bandwidth: 8"
    with pytest.raises(InputError, match="known: Inputs, Outputs, Weights"):
        case(tmp_path, ARCHITECTURE.replace("read_bandwidth: 8", scale), PROBLEM, MAPPING)


@pytest.mark.parametrize("missing", ["architecture", "problem"])
def test_a_missing_section_is_named(tmp_path: Path, missing: str) -> None:
    texts = {"architecture": ARCHITECTURE, "problem": PROBLEM, "mapping": MAPPING}
    del texts[missing]
    with pytest.raises(InputError, match=f"`{missing}` is missing"):
        case(tmp_path, *texts.values())
