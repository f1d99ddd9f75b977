"""``codesign init`` copies what can be edited and ``codesign doctor`` says what works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli.app import run
from codesign.config import load_config


def test_init_then_the_copied_config_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "study"
    assert run(["init", str(folder)]) == 0
    monkeypatch.chdir(folder)
    config = load_config(Path("run.yaml"), {})
    assert all(Path(name).is_file() for name in config.architectures)


def test_init_never_overwrites_an_edited_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tmp_path)]) == 0
    spec = tmp_path / "run.yaml"
    spec.write_text("edited")
    assert run(["init", str(tmp_path)]) == 2
    assert "never overwrites" in capsys.readouterr().err
    assert spec.read_text() == "edited"
    assert run(["init", str(tmp_path), "--force"]) == 0
    assert spec.read_text() != "edited"


def test_doctor_finds_everything_that_is_required(tmp_path: Path) -> None:
    file = tmp_path / "doctor.json"
    assert run(["doctor", "--json", str(file)]) == 0
    findings = {finding["what"]: finding for finding in json.loads(file.read_text())}
    assert findings["engine embedded"]["state"] == "ok"
    assert "1000 images" in findings["bundled data"]["detail"]
    assert not findings["engine timeloop"]["required"]
