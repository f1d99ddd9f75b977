from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from codesign.evaluation.record import Record
from codesign.report import layers_csv, markdown_table, summary_rows, terminal_table
from codesign.report.tables import SUMMARY_COLUMNS, footnotes, write_summary_json
from codesign.report.terminal import Name

Maker = Callable[..., Record]


def printed(record: Record, width: int) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(terminal_table(record, width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [60, 70, 80, 100, 200])
def test_no_name_and_no_number_is_cut_at_any_width(record: Record, width: int) -> None:
    text = printed(record, width)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    squeezed = "".join(line[: text.splitlines()[2].find("inputs")].strip() for line in text.splitlines()[4:])
    for model in record.models:
        assert model.name in squeezed
        assert all(entry.architecture in squeezed for entry in model.hardware)
    for row in summary_rows(record):
        assert SUMMARY_COLUMNS[3].text(row) in text


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("systolic_weight_stationary", 26, ["systolic_weight_stationary"]),
        ("systolic_weight_stationary", 16, ["systolic_weight_", "stationary"]),
        ("systolic_weight_stationary", 5, ["systolic_", "weight_", "stationary"]),
        ("my_models.py:build", 13, ["my_models.py:", "build"]),
        ("[red]x", 3, ["[red]x"]),
        ("", 3, [""]),
    ],
)
def test_names_break_between_their_words(name: str, width: int, lines: list[str]) -> None:
    assert Name(name).lines(width) == lines


def test_summary_rows_are_the_totals_of_the_record(record: Record) -> None:
    rows = iter(summary_rows(record))
    for model in record.models:
        for entry in model.hardware:
            row = next(rows)
            assert (row.model, row.architecture, row.input_kind) == (model.name, entry.architecture, entry.input_kind)
            assert row.accuracy is entry.accuracy
            for name in ("energy_uJ", "latency_ms", "latency_cycles", "utilization", "macs", "area_mm2"):
                assert getattr(row, name) == getattr(entry.totals, name)
            assert row.actual_macs + row.skipped_macs + row.gated_macs == row.macs
    assert next(rows, None) is None


def test_a_raised_flag_marks_the_accuracy_under_attack_only(record: Record) -> None:
    marked = {(row.model, row.input_kind) for row in summary_rows(record) if row.doubtful}
    assert marked == {("natural", "adversarial")}
    assert any(note.startswith("† natural:") for note in footnotes(record))


def test_a_failed_sanity_check_marks_it_too(make_record: Maker) -> None:
    record = make_record(names=("only",))
    clear = replace(
        record.models[0].robustness,
        flags=(),
        sanity=({"id": "monotone", "state": "failed", "detail": "accuracy rises with eps"},),
    )
    record = replace(record, models=(replace(record.models[0], robustness=clear),))
    assert {row.input_kind for row in summary_rows(record) if row.doubtful} == {"adversarial"}


def test_cells_carry_the_record_to_three_digits(record: Record) -> None:
    row = summary_rows(record)[-1]
    cells = {column.heading: column.text(row) for column in SUMMARY_COLUMNS}
    totals = record.models[-1].hardware[-1].totals
    assert float(cells["energy µJ"]) == pytest.approx(totals.energy_uJ, rel=5e-3)
    assert float(cells["latency ms"]) == pytest.approx(totals.latency_ms, rel=5e-3)
    assert int(cells["cycles"].replace(",", "")) == totals.latency_cycles
    assert int(cells["MACs"].replace(",", "")) == totals.macs
    assert float(cells["skipped %"]) == pytest.approx(100 * totals.skipped_macs / totals.macs, abs=0.05)
    assert cells["accuracy %"] == "46.1 [43.6, 48.6]"
    assert cells["images"] == "1,000"
    assert cells["area mm²"] == "–"


@pytest.mark.parametrize("width", [80, 100, 160])
def test_terminal_table_loses_no_number(record: Record, width: int) -> None:
    text = printed(record, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for row in summary_rows(record):
        for column in SUMMARY_COLUMNS:
            if column.terminal:
                assert column.text(row) in text


def test_terminal_table_shows_names_as_they_are(make_record: Maker) -> None:
    assert "[red]x[/red]" in printed(make_record(names=("[red]x[/red]",)), 100)


def test_markdown_table_has_the_same_cells(record: Record) -> None:
    lines = [line for line in markdown_table(record).splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [column.heading for column in SUMMARY_COLUMNS]
    assert len(lines) == 2 + len(summary_rows(record))
    for line, row in zip(lines[2:], summary_rows(record), strict=True):
        assert [cell.strip() for cell in line.strip("|").split("|")] == [column.text(row) for column in SUMMARY_COLUMNS]


def test_markdown_escapes_names(make_record: Maker) -> None:
    text = markdown_table(make_record(names=("a|b\n<script> `x` [y](z) _e_ s_n",)))
    assert r"a\|b \<script\> \`x\` [y]\(z) \_e\_ s_n" in text
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert columns == {len(SUMMARY_COLUMNS) + 1}


def test_footnotes_give_the_worst_case_not_the_last_attack(record: Record) -> None:
    assert any(
        "natural: robust accuracy 2.1 [0.0, 4.6] % (worst case over 2 attacks, 1,000 images)" in note
        for note in footnotes(record)
    )


def test_summary_json_holds_full_numbers(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_summary_json(record, path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [row["energy_uJ"] for row in rows] == [row.energy_uJ for row in summary_rows(record)]
    assert rows[0]["accuracy"]["value"] == rows[0]["accuracy"]["correct"] / rows[0]["accuracy"]["total"]
    assert list(tmp_path.iterdir()) == [path]


def test_layers_csv_equals_the_record(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "layers.csv"
    layers_csv(record, path)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = [(model, entry, layer) for model in record.models for entry in model.hardware for layer in entry.layers]
    assert len(rows) == len(expected) == 2 * 3 * 2 * 10
    cycle = {architecture.name: architecture.cycle_seconds for architecture in record.architectures}
    for row, (model, entry, layer) in zip(rows, expected, strict=True):
        traced = next(item for item in model.layers if item.name == layer.layer)
        assert (row["model"], row["architecture"], row["input_kind"], row["layer"], row["kind"]) == (
            *(model.name, entry.architecture, entry.input_kind),
            *(traced.name, traced.kind),
        )
        for name in ("energy_uJ", "latency_cycles", "utilization", "macs", "actual_macs", "gated_macs", "skipped_macs"):
            assert float(row[name]) == getattr(layer, name)
        assert float(row["latency_ms"]) == pytest.approx(layer.latency_cycles * cycle[entry.architecture] * 1e3)
        assert float(row["weight_density"]) == traced.weight_density
        assert float(row["input_density"]) == traced.input_density[entry.input_kind]
        assert {key: int(row[f"bound_{key}"]) for key in traced.bounds} == dict(traced.bounds)
        assert float(row["nonzero_input_mac_share"]) == traced.nonzero_input_mac_share[entry.input_kind]
        found = {key[7:-3]: value for key, value in row.items() if re.fullmatch(r"energy_.+_uJ", key) and value}
        assert {key: float(value) for key, value in found.items()} == dict(layer.energy_by_component_uJ)
        assert (row["bound_by"], row["mapping"]) == (layer.bound_by, layer.mapping)


def test_layers_csv_leaves_unknown_values_empty(make_record: Maker, tmp_path: Path) -> None:
    record = make_record(names=("only",))
    layers = tuple(replace(layer, weight_density=None, input_density={}) for layer in record.models[0].layers)
    record = replace(record, models=(replace(record.models[0], layers=layers),))
    layers_csv(record, tmp_path / "layers.csv")
    with (tmp_path / "layers.csv").open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream))
    assert row["weight_density"] == row["input_density"] == ""
