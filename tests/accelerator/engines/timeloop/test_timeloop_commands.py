"""``simulate --engine timeloop``, ``crosscheck`` and ``doctor`` with stand-ins, and with the real programs if found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from timeloop_cases import ARCHITECTURE, dense_case, tables, write_files
from timeloop_stand_ins import StandIns

from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.engines.selftest import known_case
from codesign.accelerator.engines.timeloop import TimeloopEngine, find_installation
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import case_files, load_case
from codesign.cli.app import run

REFERENCE = Path(__file__).parents[4] / ".." / "shared" / "reference" / "cases"
INSTALLED = find_installation()
needs_timeloop = pytest.mark.skipif(
    not INSTALLED.works, reason=f"the real programs are not installed: {', '.join(INSTALLED.missing)}"
)


def answered(folder: Path) -> Result:
    result = simulate(load_case(case_files(folder)), semantics="compat")
    assert isinstance(result, Result)
    return result


@pytest.fixture
def folder(tmp_path: Path, stand_ins: StandIns) -> Path:
    """A case's folder, whose answer a stand-in of timeloop-model gives."""
    case = dense_case(tmp_path)
    path = tmp_path / "dense"
    stand_ins.answering(case, answered(path))
    return path


def test_simulate_with_the_engine_timeloop(folder: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    assert run(["simulate", str(folder), "--engine", "timeloop", "--json", str(out), "--keep-files", str(kept)]) == 0
    (entry,) = json.loads(out.read_text())
    assert entry["case"] == "dense"
    assert entry["result"]["cycles"] == answered(folder).cycles
    assert any("real Timeloop" in warning for warning in entry["result"]["warnings"])
    assert len(list(kept.iterdir())) == 1


def test_simulate_asks_accelergy_where_there_is_no_ert(
    folder: Path, tmp_path: Path, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    want = answered(folder)
    ert, _, art = tables().partition("ART:\n")
    (stand_ins.folder / "ERT.yaml").write_text(ert)
    (stand_ins.folder / "ART.yaml").write_text(f"ART:\n{art}")
    stand_ins.program("accelergy", f"cp '{stand_ins.folder}'/ERT.yaml '{stand_ins.folder}'/ART.yaml \"$4\"")
    (folder / "ert.yaml").unlink()
    out = tmp_path / "out.json"
    assert run(["simulate", str(folder), "--engine", "timeloop", "--json", str(out), "--quiet"]) == 0
    (entry,) = json.loads(out.read_text())
    assert entry["result"]["computes"]["energy_pJ"] == want.computes.energy_pJ
    assert (tmp_path / "cache" / "codesign" / "accelergy").is_dir()


def test_a_failing_program_is_exit_1_among_several_cases(
    folder: Path, tmp_path: Path, stand_ins: StandIns, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_ins.model("echo 'Assertion failed' >&2; kill -ABRT $$")
    write_files(tmp_path / "other")
    out = tmp_path / "out.json"
    assert run(["simulate", str(folder), str(tmp_path / "other"), "--engine", "timeloop", "--json", str(out)]) == 1
    assert "Assertion failed" in capsys.readouterr().err
    assert [entry["result"]["bad_input"] for entry in json.loads(out.read_text())] == [False, False]


def test_an_illegal_mapping_is_exit_3(folder: Path, stand_ins: StandIns) -> None:
    stand_ins.model(
        'echo "ERROR: couldn\'t map level spad: mapped tile size 80 exceeds buffer capacity 64" >&2; exit 1'
    )
    assert run(["simulate", str(folder), "--engine", "timeloop"]) == 3


def test_crosscheck_of_engines_that_agree(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert run(["crosscheck", str(folder), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 1 cases agree" in printed
    assert "algorithmic_reads" in printed
    told = json.loads(out.read_text())
    assert told["agree"] == 1
    assert "timeloop-model sha256" in told["against"]
    row = next(row for row in told["quantities"] if row["quantity"] == "actual_reads")
    # Three levels that keep three dataspaces each.
    assert (row["compared"], row["different"]) == (9, 0)


def test_crosscheck_shows_what_differs(
    folder: Path, tmp_path: Path, stand_ins: StandIns, capsys: pytest.CaptureFixture[str]
) -> None:
    spare = tmp_path / "spare"
    write_files(spare)
    # The stand-in answers for another design: the energies of the buffer differ.
    ert = (folder / "ert.yaml").read_text().replace("energy: 12.5", "energy: 25.0")
    (spare / "ert.yaml").write_text(ert)
    out = tmp_path / "out.json"
    assert run(["crosscheck", str(spare), "--json", str(out)]) == 1
    told = json.loads(out.read_text())
    assert told["agree"] == 0
    different = {row["quantity"] for row in told["quantities"] if row["different"]}
    assert different == {"energy_pJ", "access energy_pJ"}
    assert all(
        difference["place"] in ("", "buffer.A", "buffer.B", "buffer.Z")
        for difference in told["cases"][0]["differences"]
    )
    assert "0 of 1 cases agree" in capsys.readouterr().out


def test_crosscheck_with_recorded_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "cases" / "one")
    answer = answered(tmp_path / "cases" / "one").to_json()
    recorded = tmp_path / "cases" / "one" / "expected.json"
    recorded.write_text(json.dumps(answer))
    assert run(["crosscheck", "--recorded", str(tmp_path / "cases")]) == 0
    answer["levels"]["buffer"]["dataspaces"]["A"]["actual_reads"] += 1
    recorded.write_text(json.dumps(answer))
    assert run(["crosscheck", "--recorded", str(tmp_path / "cases")]) == 1
    assert "one: buffer.A: actual_reads: embedded" in capsys.readouterr().out
    recorded.write_text(json.dumps({"legal": False, "message": "no"}))
    assert run(["crosscheck", "--recorded", str(tmp_path / "cases")]) == 1
    assert "only the second calls the mapping illegal: no" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[1]", '{"legal": true}', "{"])
def test_recorded_answers_that_are_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path / "cases" / "one")
    (tmp_path / "cases" / "one" / "expected.json").write_text(text)
    assert run(["crosscheck", "--recorded", str(tmp_path / "cases")]) == 1
    assert "recorded answer" in capsys.readouterr().out


def test_crosscheck_needs_cases_of_one_kind(tmp_path: Path) -> None:
    assert run(["crosscheck"]) == 2
    assert run(["crosscheck", str(tmp_path), "--recorded", str(tmp_path)]) == 2
    assert run(["crosscheck", "--recorded", str(tmp_path)]) == 2


def test_doctor_of_a_working_installation(tmp_path: Path, stand_ins: StandIns) -> None:
    case = known_case()
    result = simulate(case)
    assert isinstance(result, Result)
    stand_ins.answering(case, result)
    findings = doctor(tmp_path)
    assert findings["engine timeloop"]["state"] == "ok"
    assert "known 88 accesses" in findings["engine timeloop"]["detail"]
    assert "without accelergy" in findings["engine timeloop"]["detail"]
    assert findings["timeloop-model"]["detail"].startswith("sha256 ")
    assert findings["pytimeloop"]["detail"].startswith("unknown version")


def test_doctor_of_a_broken_installation(tmp_path: Path, stand_ins: StandIns) -> None:
    stand_ins.model("echo 'GLIBCXX_3.4.32 not found' >&2; exit 127")
    findings = doctor(tmp_path)
    assert findings["engine timeloop"]["state"] == "broken"
    assert "GLIBCXX_3.4.32 not found" in findings["engine timeloop"]["detail"]
    stand_ins.front_end(at_import="raise ImportError('no libbarvinok')")
    findings = doctor(tmp_path)
    assert findings["pytimeloop"]["state"] == "broken"
    assert "no libbarvinok" in findings["pytimeloop"]["detail"]


def test_doctor_without_timeloop_names_upstreams_routes(tmp_path: Path, stand_ins: StandIns) -> None:
    finding = doctor(tmp_path)["engine timeloop"]
    assert finding["state"] == "absent"
    assert "timeloopaccelergy/timeloop-accelergy-pytorch" in finding["detail"]


def doctor(folder: Path) -> dict[str, dict[str, str]]:
    out = folder / "doctor.json"
    assert run(["doctor", "--json", str(out)]) == 0
    return {finding["what"]: finding for finding in json.loads(out.read_text())}


@needs_timeloop
def test_the_real_timeloop_agrees_on_a_small_case(tmp_path: Path) -> None:
    write_files(tmp_path / "dense")
    write_files(tmp_path / "sparse", sparse=True)
    assert run(["crosscheck", str(tmp_path / "dense"), str(tmp_path / "sparse")]) == 0


@needs_timeloop
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded cases are not part of the repository")
def test_the_real_timeloop_agrees_on_recorded_cases() -> None:
    folders = sorted(path.parent for path in REFERENCE.rglob("expected.json"))[::27]
    assert run(["crosscheck", *map(str, folders)]) == 0


@pytest.mark.skipif(INSTALLED.accelergy is None, reason="accelergy is not installed")
@needs_timeloop
def test_the_real_accelergy_makes_tables(tmp_path: Path) -> None:
    from codesign.accelerator.engines.timeloop.accelergy import Accelergy

    path = tmp_path / "arch.yaml"
    path.write_text(ARCHITECTURE.replace('type: "LPDDR4"', 'type: "LPDDR4", depth: 1048576'))
    table = Accelergy.found(cache=tmp_path / "cache").tables((path,))
    # LPDDR4: 8 pJ a bit.
    assert table.actions("dram")["read"] == pytest.approx(8 * 64)


@needs_timeloop
def test_the_real_timeloop_knows_the_known_case() -> None:
    assert isinstance(TimeloopEngine.found()(known_case()), Result)
