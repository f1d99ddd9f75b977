"""``codesign energy``: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from codesign.accelerator.energy import estimate
from codesign.accelerator.spec.loader import load_design
from codesign.cli.energy import energy
from codesign.errors import InputError
from codesign.resources import arch_specs_dir

SPEC = arch_specs_dir() / "vector_pe_edge.yaml"


def run(*arguments: str) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(energy)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.output


def test_it_prints_every_action_with_its_source() -> None:
    shown = run("vector_pe_edge")
    for word in ("skipped_read", "compute_skipped", "leak", "CACTI 7", "Aladdin", "pJ/bit x 64 bits", "um2"):
        assert word in shown
    assert run(str(SPEC)) == shown
    assert run(str(SPEC), "--quiet") == ""


def test_the_yaml_is_read_back_as_the_same_table(tmp_path: Path) -> None:
    run("vector_pe_edge", "--quiet", "--out", str(tmp_path / "ert.yaml"))
    design = load_design([SPEC])
    again = load_design([SPEC, tmp_path / "ert.yaml"]).energy
    assert again is not None
    table = estimate(design.architecture, design.sparse)
    for component in {entry.component for entry in table}:
        assert again.actions(component) == pytest.approx(table.actions(component))
        assert again.area_um2(component) == pytest.approx(table.area_um2(component))
    assert "CACTI 7" in (tmp_path / "ert.yaml").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ert.yaml"]


def test_the_json_holds_values_with_provenance(tmp_path: Path) -> None:
    run("vector_pe_edge", "--quiet", "--json", str(tmp_path / "energy.json"))
    data = json.loads((tmp_path / "energy.json").read_text(encoding="utf-8"))
    design = load_design([SPEC])
    table = estimate(design.architecture, design.sparse)
    assert len(data["energies"]) == len(table.energies)
    assert len(data["areas"]) == len(table.areas)
    for entry in (*data["energies"], *data["areas"]):
        assert entry["source"]
        assert entry["scaling"]
        assert entry["confidence"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vector_pe"], "did you mean vector_pe_edge"),
        (["vector_pe_edge", "--out", "no/such/folder/ert.yaml"], "the folder of the file must exist"),
        (["no_such.yaml"], "no_such.yaml"),
    ],
)
def test_bad_input(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)
