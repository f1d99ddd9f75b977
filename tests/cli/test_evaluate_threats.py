"""Further threats through the command: what a run leaves, and that an interrupted one attacks nothing twice."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest
from small_run import SMALL

from codesign.cli.app import run
from codesign.evaluation import one_model
from codesign.evaluation.record import Record

COMMAND = [
    "evaluate", "fmnist_resnet8_adversarial", "fmnist_resnet8_natural", *SMALL[2:], "--images", "4", "--steps", "1",
    "--arch", "systolic_weight_stationary", "--threat", "l2:0.5", "--threat", "linf:0.05:fgsm; pgd:steps=1",
]  # fmt: skip


def test_threats_in_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(one_model, "measure_masks", interrupted)
        assert run([*COMMAND, "--out", str(out), "--quiet"]) == 130
    batches = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("batch_*.npz")}
    assert len(batches) == 3  # one model under three threats, in one batch each
    # What is finished is taken over as it is: what the folders hold decides.
    assert run([*COMMAND, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    record = Record.load(out)
    for model in record.models:
        assert [threat.label for threat in model.robustness.threats] == ["Linf 0.1", "L2 0.5", "Linf 0.05"]
        assert [len(threat.attacks) for threat in model.robustness.threats] == [1, 1, 2]
        assert model.robustness.threats[0].robust == model.robustness.robust
    assert [test.inputs for test in record.comparisons] == ["clean", "Linf 0.1", "L2 0.5", "Linf 0.05"]
    rows = list(csv.DictReader(StringIO((out / "robustness.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 2 * (1 + 2 + 2 + 3)
    assert "under every threat" in shown
    assert "under every threat" in (out / "report.html").read_text(encoding="utf-8")


def test_a_bad_threat_costs_no_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--threat", "l2:0.5:autoatack", "--out", str(tmp_path / "run")]) == 2
    assert "autoattack" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
