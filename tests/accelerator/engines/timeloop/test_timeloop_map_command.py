"""``codesign map --engine timeloop`` with a stand-in of the real mapper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_timeloop_mapper import install
from timeloop_cases import dense_case, write_files
from timeloop_stand_ins import StandIns

from codesign.cli.app import run


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The files of the case without its mapping."""
    folder = tmp_path / "case"
    write_files(folder)
    return ["map", *(str(path) for path in sorted(folder.glob("*.yaml")) if path.name != "mapping.yaml")]


def test_the_real_mappers_answer_is_written(stand_ins: StandIns, arguments: list[str], tmp_path: Path) -> None:
    want = install(stand_ins, dense_case(tmp_path))
    answer, mapping = tmp_path / "map.json", tmp_path / "found.yaml"
    assert run([*arguments, "--engine", "timeloop", "--json", str(answer), "--out", str(mapping)]) == 0
    found = json.loads(answer.read_text())
    assert found["best"]["cycles"] == want.cycles
    assert found["objective"] == pytest.approx(want.cycles * want.energy_pJ)
    assert found["evaluated"] is None
    out = tmp_path / "again.json"
    assert run(["simulate", *arguments[1:], str(mapping), "--json", str(out), "--quiet"]) == 0
    (again,) = json.loads(out.read_text())
    assert again["result"]["cycles"] == want.cycles


def test_no_mapping_found_is_exit_3(stand_ins: StandIns, arguments: list[str]) -> None:
    stand_ins.model()
    stand_ins.program("timeloop-mapper", "touch timeloop-mapper.stats.txt timeloop-mapper.map+stats.xml")
    assert run([*arguments, "--engine", "timeloop", "--quiet"]) == 3


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--budget", "10"], "--budget"),
        (["--objective", "latency,energy"], "one quantity"),
        (["--engine", "timelop"], "did you mean timeloop"),
    ],
)
def test_settings_that_the_real_mapper_does_not_know(
    stand_ins: StandIns, arguments: list[str], capsys: pytest.CaptureFixture[str], extra: list[str], said: str
) -> None:
    stand_ins.model()
    assert run([*arguments, "--engine", "timeloop", *extra]) == 2
    assert said in capsys.readouterr().err


def test_without_the_programs_it_says_how_to_get_them(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run([*arguments, "--engine", "timeloop"]) == 2
    assert "timeloopaccelergy" in capsys.readouterr().err
