"""Every exported file keeps to the written schema of the real front end, and every case reads back strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import FinishedRun
from timeloop_schema import check_file

from codesign.accelerator.engines.timeloop.inputs import check_case
from codesign.accelerator.spec.architecture_writer import architecture_to_yaml
from codesign.accelerator.spec.loader import load_case, load_design
from codesign.resources import arch_specs_dir


def test_every_exported_file_keeps_to_the_schema(finished: FinishedRun) -> None:
    files = sorted((finished.folder / "timeloop").rglob("*.yaml"))
    kinds = {path.name: check_file(path) for path in files}
    assert kinds["arch.yaml"] >= {"architecture"}
    assert kinds["ert.yaml"] == {"ERT", "ART"}
    assert kinds["mapping.yaml"] == {"mapping"}
    assert kinds["problem.clean.yaml"] == {"problem"}


def test_every_exported_case_reads_back_and_timeloop_can_express_it(finished: FinishedRun) -> None:
    mappings = sorted((finished.folder / "timeloop").glob("*/*/*/mapping.yaml"))
    assert mappings
    for mapping in mappings:
        shared = mapping.parents[2]
        for problem in sorted(mapping.parent.glob("problem.*.yaml")):
            case = load_case([shared / "arch.yaml", shared / "ert.yaml", mapping, problem])
            assert case.warnings == ()
            assert case.energy is not None
            case.mapping.check(case.architecture, case.problem)
            check_case(case)


@pytest.mark.parametrize("path", sorted(arch_specs_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_designs_keep_to_the_schema(path: Path, tmp_path: Path) -> None:
    design = load_design([path])
    written = tmp_path / "arch.yaml"
    written.write_text(architecture_to_yaml(design.architecture, design.sparse, limit_unlimited=True))
    assert "architecture" in check_file(written)


@pytest.mark.parametrize(
    "text",
    [
        "architecture: {version: 0.4, nodes: [!Component {name: x, class: SRAM, attributes: {width: 8, depth: 8}}]}",
        "architecture: {version: 0.4, nodes: [!Component {name: m, class: mac, attributes: {datawidth: 8, nodes: 1}}]}",
        "architecture: {version: 0.4, nodes: [!Container {name: c, attributes: {technology: 45nm}}]}",
        "mapping: [{target: x, type: temporal, factors: [C4], permutation: [C]}]",
        "problems: []",
    ],
)
def test_the_schema_is_strict(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises((AssertionError, ValueError)):
        check_file(path)
