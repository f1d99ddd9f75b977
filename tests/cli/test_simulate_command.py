"""``codesign simulate`` and ``codesign explain``: the contract of the JSON, exit codes, messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from codesign.cli.explain import explain
from codesign.cli.simulate import simulate
from codesign.errors import InputError

ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Component {name: dram, class: DRAM, attributes: {width: 8, datawidth: 8}}
  - !Component {name: buffer, class: SRAM, attributes: {depth: 4, width: 8, datawidth: 8}}
  - !Component {name: mac, class: intmac, attributes: {width: 8}}
"""
PROBLEM = """
problem:
  shape:
    dimensions: [M, N, K]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 2, N: 2, K: 2}
"""
ERT = """
ERT:
  version: 0.4
  tables:
  - {name: "top.dram[1..1]", actions: [{name: read, energy: 8}, {name: write, energy: 9}, {name: update, energy: 10},
     {name: leak, energy: 0}]}
  - {name: "top.buffer[1..1]", actions: [{name: read, energy: 1}, {name: write, energy: 2}, {name: update, energy: 3},
     {name: leak, energy: 0}]}
  - {name: "top.mac[1..1]", actions: [{name: compute, energy: 0.5}]}
"""
ALL_OUTSIDE = "mapping:\n- {target: dram, type: temporal, factors: [M=2, N=2, K=2], permutation: [K, N, M]}\n"
ALL_INSIDE = "mapping:\n- {target: buffer, type: temporal, factors: [M=2, N=2, K=2], permutation: [K, N, M]}\n"

app = typer.Typer(pretty_exceptions_enable=False)
app.command("simulate")(simulate)
app.command("explain")(explain)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def folder(root: Path, name: str, mapping: str, *, ert: str = ERT) -> Path:
    path = root / name
    path.mkdir()
    for part, text in (("arch", ARCHITECTURE), ("problem", PROBLEM), ("mapping", mapping), ("ert", ert)):
        (path / f"{part}.yaml").write_text(text, encoding="utf-8")
    (path / "expected.json").write_text("{}", encoding="utf-8")
    return path


def test_a_legal_case(tmp_path: Path) -> None:
    """Every operand is one word in the buffer; K is innermost, so Z stays there over each K loop of 2."""
    out = tmp_path / "result.json"
    result = run("simulate", folder(tmp_path, "outside", ALL_OUTSIDE), "--json", out)
    assert result.exit_code == 0, result.output
    (entry,) = json.loads(out.read_text())
    assert entry["case"] == "outside"
    answer = entry["result"]
    assert answer["legal"] is True
    assert answer["cycles"] == 8
    computes = {key: value for key, value in answer["computes"].items() if value}
    assert computes == {"algorithmic": 8, "actual": 8, "energy_pJ": 4.0}
    dram = answer["levels"]["dram"]["dataspaces"]
    assert [dram[name]["algorithmic_reads"] for name in "ABZ"] == [8, 8, 0]
    assert dram["Z"]["algorithmic_updates"] == 4
    # 8 + 8 reads at 8 pJ and 4 updates at 10 pJ.
    assert sum(dram[name]["energy_pJ"] for name in "ABZ") == pytest.approx(168.0)
    assert 0 < answer["utilization"] <= 1
    assert answer["warnings"] == []
    assert "cycles 8" in result.output


def test_loose_files_make_one_case(tmp_path: Path) -> None:
    path = folder(tmp_path, "outside", ALL_OUTSIDE)
    out = tmp_path / "loose.json"
    assert run("simulate", *sorted(path.glob("*.yaml")), "--json", out, "--quiet").exit_code == 0
    assert run("simulate", path, "--json", tmp_path / "folder.json", "--quiet").output == ""
    assert json.loads(out.read_text()) == json.loads((tmp_path / "folder.json").read_text())


def test_an_illegal_mapping_alone_is_exit_code_3(tmp_path: Path) -> None:
    """12 words in a buffer of 4."""
    out = tmp_path / "result.json"
    result = run("simulate", folder(tmp_path, "inside", ALL_INSIDE), "--json", out)
    assert result.exit_code == 3
    (entry,) = json.loads(out.read_text())
    answer = entry["result"]
    assert (answer["legal"], answer["level"], answer["demand"], answer["capacity"]) == (False, "buffer", 12, 4)
    assert "illegal mapping" in result.output


def test_bad_input_in_one_of_several_cases_does_not_lose_the_others(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    cases = [
        folder(tmp_path, "outside", ALL_OUTSIDE),
        folder(tmp_path, "bad", ALL_OUTSIDE.replace("K=2", "K=3")),
        folder(tmp_path, "inside", ALL_INSIDE),
    ]
    result = run("simulate", *cases, "--json", out)
    assert result.exit_code == 2
    outside, bad, inside = (entry["result"] for entry in json.loads(out.read_text()))
    assert (outside["legal"], bad["legal"], inside["legal"]) == (True, False, False)
    assert bad["bad_input"] is True
    assert "the factors of K must multiply to its bound 2" in bad["message"]
    assert "codesign: error: bad: " in result.stderr
    assert "mapping.yaml:2" in result.stderr


def test_bad_input_alone_is_the_error_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    result = run("simulate", folder(tmp_path, "bad", ALL_OUTSIDE.replace("[M=2", "[X=2")), "--json", out)
    assert isinstance(result.exception, InputError)
    assert "must name a dimension" in str(result.exception)
    assert not out.exists()


def test_energies_that_the_files_lack_are_estimated(tmp_path: Path) -> None:
    variables = 'variables: {version: 0.4, technology: "45nm", global_cycle_seconds: 1e-9}\n'
    out = tmp_path / "result.json"
    dram = ARCHITECTURE.replace("class: DRAM, attributes: {", 'class: DRAM, attributes: {type: "LPDDR4", ')
    path = tmp_path / "estimated"
    path.mkdir()
    (path / "all.yaml").write_text(dram + PROBLEM + ALL_OUTSIDE + variables, encoding="utf-8")
    assert run("simulate", path, "--json", out, "--quiet").exit_code == 0
    (entry,) = json.loads(out.read_text())
    # LPDDR4 costs 8 pJ a bit in Accelergy's table: 20 accesses of 8 bits.
    dataspaces = entry["result"]["levels"]["dram"]["dataspaces"]
    assert sum(stats["energy_pJ"] for stats in dataspaces.values()) == pytest.approx(20 * 8 * 8)


def test_the_folder_of_the_json_file_must_exist(tmp_path: Path) -> None:
    result = run("simulate", folder(tmp_path, "outside", ALL_OUTSIDE), "--json", tmp_path / "no" / "result.json")
    assert isinstance(result.exception, InputError)


def test_without_timeloop_its_engine_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("simulate", folder(tmp_path, "outside", ALL_OUTSIDE), "--engine", "timeloop")
    assert isinstance(result.exception, InputError)
    assert "accelergy-timeloop-infrastructure" in str(result.exception)


def test_torch_is_not_imported() -> None:
    needed = "codesign.cli.simulate, codesign.accelerator.spec.loader, codesign.accelerator.engines.embedded"
    code = f"import sys, {needed}; sys.exit(bool({{'torch', 'pydantic', 'pandas'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("key", "words"), [("meshX", "X axis"), ("attributes", "multiple_buffering"), ("name", "Name")]
)
def test_explain(key: str, words: str) -> None:
    result = run("explain", key)
    assert result.exit_code == 0
    assert words in result.output


def test_explain_an_unknown_key() -> None:
    result = run("explain", "meshx")
    assert isinstance(result.exception, InputError)
    assert "did you mean mesh" in str(result.exception)
