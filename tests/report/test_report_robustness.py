"""Threats side by side, who is better and when nobody is, on the page, the terminal and in CSV."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from made_records import accuracy, build_record
from rich.console import Console

from codesign.evaluation.accuracies import ThreatRecord
from codesign.evaluation.paired import bits_of, compare_models
from codesign.evaluation.record import ModelRecord, Record
from codesign.report.comparison import Comparison, combine
from codesign.report.figures import build_figures
from codesign.report.html import render_html
from codesign.report.robustness import (
    comparison_lines,
    robustness_csv,
    show_robustness,
    threat_rows,
    threat_table,
)

IMAGES = 1000


def outcomes(correct: int, seed: int) -> str:
    right = np.zeros(IMAGES, np.bool_)
    right[Random(seed).sample(range(IMAGES), correct)] = True
    return bits_of(right)


def threat(norm: str, eps: float, correct: dict[str, int], seed: int, doubts: int = 0) -> ThreatRecord:
    attacks = tuple(accuracy(f"{name}(eps={eps:g})", count) for name, count in correct.items())
    least = min(correct.values())
    rows = tuple({"id": "ZERO_GRAD", "state": "raised", "detail": "why"} for _ in range(doubts))
    return ThreatRecord(norm, eps, attacks, accuracy("robust", least), outcomes(least, seed), rows)


def with_threats(model: ModelRecord, *threats: ThreatRecord) -> ModelRecord:
    clean_right = outcomes(int(model.robustness.clean.correct), 99)
    return replace(model, robustness=replace(model.robustness, threats=threats, clean_right=clean_right))


@pytest.fixture
def record() -> Record:
    plain = build_record()
    weak, strong = plain.models
    weak = with_threats(
        weak,
        threat("linf", 8 / 255, {"PGD": 300}, 1),
        threat("l2", 0.25, {"PGD": 500, "AutoAttack": 480}, 2, doubts=1),
    )
    strong = with_threats(
        strong,
        threat("linf", 8 / 255, {"Adaptive": 700}, 3),
        threat("l2", 0.25, {"PGD": 505, "AutoAttack": 481}, 4),
    )
    models = (weak, strong)
    return replace(plain, models=models, comparisons=compare_models(models))


def test_rows_are_attacks_and_the_worst_case_where_there_are_several(record: Record) -> None:
    rows = {
        (row.inputs, row.attack): [cell and cell.accuracy.correct for cell in row.cells] for row in threat_rows(record)
    }
    assert rows == {
        ("clean", ""): [912, 874],
        ("Linf 8/255", "PGD / Adaptive"): [300, 700],
        ("L2 0.25", "PGD"): [500, 505],
        ("L2 0.25", "AutoAttack"): [480, 481],
        ("L2 0.25", "worst case"): [480, 481],
    }


def test_one_attack_for_all_has_no_row_for_the_worst_case(record: Record) -> None:
    one = replace(record, models=record.models[:1], comparisons=())
    assert [row.attack for row in threat_rows(one)] == ["", "PGD", "PGD", "AutoAttack", "worst case"]


def test_better_is_said_only_where_the_images_say_so(record: Record) -> None:
    verdicts = {test.inputs: test.better for test in record.comparisons}
    assert verdicts["Linf 8/255"] == record.models[1].name
    assert verdicts["L2 0.25"] is None
    lines = dict(zip((test.inputs for test in record.comparisons), comparison_lines(record), strict=True))
    assert "is better" in lines["Linf 8/255"]
    assert "not told apart" in lines["L2 0.25"]


def test_page(record: Record) -> None:
    html = render_html(Comparison(record), build_figures(record))
    assert "Linf 8/255" in html
    assert "not told apart" in html
    assert f"{record.models[1].name} is better" in html
    assert html.count("†") > render_html(Comparison(_without_doubts(record)), build_figures(record)).count("†")


def _without_doubts(record: Record) -> Record:
    models = tuple(
        replace(
            model,
            robustness=replace(
                model.robustness, threats=tuple(replace(threat, doubts=()) for threat in model.robustness.threats)
            ),
        )
        for model in record.models
    )
    return replace(record, models=models)


def test_a_page_of_an_old_record_has_no_threats() -> None:
    record = build_record()
    html = render_html(Comparison(record), build_figures(record))
    assert "Which model is better" not in html
    assert "under every threat" not in html


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal(record: Record, width: int) -> None:
    console = Console(width=width, record=True, file=StringIO())
    show_robustness(console, record)
    text = console.export_text()
    for shown in ("30.0", "70.0", "48.0", "0.25"):
        assert shown in text


def test_terminal_says_nothing_of_a_single_threat() -> None:
    assert threat_table(build_record()) is None


def test_many_models_are_compared_in_the_report_only(record: Record) -> None:
    models = tuple(replace(model, name=f"{model.name} {n}") for model in record.models for n in range(2))
    many = replace(record, models=models, comparisons=compare_models(models))
    console = Console(width=100, record=True, quiet=False, file=StringIO())
    show_robustness(console, many)
    assert f"{6 * 3} comparisons" in console.export_text()


def test_csv_has_every_accuracy(record: Record, tmp_path: Path) -> None:
    robustness_csv(record, tmp_path / "robustness.csv")
    rows = list(csv.DictReader(StringIO((tmp_path / "robustness.csv").read_text(encoding="utf-8"))))
    expected = sum(1 + sum(len(t.attacks) + 1 for t in model.robustness.threats) for model in record.models)
    assert len(rows) == expected
    worst = [row for row in rows if row["attack"] == "worst case" and row["norm"] == "l2"]
    assert [(int(row["correct"]), row["doubtful"]) for row in worst] == [(480, "True"), (481, "False")]
    for row in rows:
        assert float(row["low"]) <= int(row["correct"]) / int(row["total"]) <= float(row["high"])


def test_runs_on_the_same_images_are_compared(record: Record) -> None:
    first = replace(record, models=record.models[:1], comparisons=())
    second = replace(record, models=record.models[1:], comparisons=())
    same = tuple(
        replace(model, robustness=replace(model.robustness, attacks=())) for model in (*first.models, *second.models)
    )
    both = combine({"a": replace(first, models=same[:1]), "b": replace(second, models=same[1:])})
    assert not both.not_comparable
    assert {test.inputs for test in both.record.comparisons} == {"clean", "Linf 8/255", "L2 0.25"}


def test_runs_on_other_images_are_not(record: Record) -> None:
    other = replace(record, inputs=({"role": "data", "path": "other.npz", "sha256": "00" * 32},))
    both = combine({"a": record, "b": other})
    assert both.not_comparable
    assert both.record.comparisons == ()


def test_a_record_keeps_its_threats(record: Record) -> None:
    assert Record.from_json(record.to_json()).models[0].robustness == record.models[0].robustness
    assert Record.from_json(record.to_json()).comparisons == record.comparisons
