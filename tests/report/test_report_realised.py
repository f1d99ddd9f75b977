"""Realised latency in the report: totals and layers of the record, in the terminal, on the page and in layers.csv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from codesign.evaluation.record import RealisedRecord, Record
from codesign.report import layers_frame
from codesign.report.comparison import Comparison
from codesign.report.html import render_html
from codesign.report.realised import realised_rows, realised_table, times_text

LAYER = RealisedRecord(4, 100.0, 150.0, 160.0, "C", 110.0, 125.0)
WHOLE = RealisedRecord(4, 1000.0, 1360.0, 2000.0, "C", 1040.0, 1900.0)


@pytest.fixture
def simulated(make_record: Callable[..., Record]) -> Record:
    """Every simulation with masks; the last layer of each without."""
    record = make_record()
    models = tuple(
        replace(
            model,
            hardware=tuple(
                replace(
                    entry,
                    realised=WHOLE,
                    layers=(*(replace(layer, realised=LAYER) for layer in entry.layers[:-1]), entry.layers[-1]),
                )
                for entry in model.hardware
            ),
        )
        for model in record.models
    )
    return replace(record, models=models)


def test_rows_of_models_and_of_layers(simulated: Record, record: Record) -> None:
    rows = realised_rows(simulated, layers=False)
    assert len(rows) == sum(len(model.hardware) for model in simulated.models)
    assert {row.layer for row in rows} == {""}
    layers = realised_rows(simulated, layers=True)
    assert len(layers) == len(rows) * (len(simulated.models[0].layers) - 1)
    entry = simulated.models[0].hardware[0]
    assert rows[0].latency_cycles == entry.totals.latency_cycles
    assert (layers[0].layer, layers[0].latency_cycles) == (entry.layers[0].layer, entry.layers[0].latency_cycles)
    assert realised_rows(record, layers=True) == ()
    assert realised_table(record) is None


def test_multiples_of_the_expected_cycles() -> None:
    assert times_text(136.0, 100.0) == "1.36 ×"
    assert times_text(None, 100.0) == "–"
    assert times_text(0.0, 0.0) == "1.00 ×"


def test_the_table_fits_a_terminal(simulated: Record) -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(realised_table(simulated))
    text = captured.get()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert text.count("1.36 ×") == text.count("1.04 ×") == len(realised_rows(simulated, layers=False))


def test_the_page_has_models_and_layers(simulated: Record, record: Record) -> None:
    page = render_html(Comparison(simulated), ())
    assert 'href="#realised"' in page
    assert "Realised latency, all layers" in page
    assert "Realised latency, layer by layer" in page
    assert page.count("1.50 ×") == len(realised_rows(simulated, layers=True))
    assert 'id="realised"' not in render_html(Comparison(record), ())


def test_columns_of_layers_csv(simulated: Record, record: Record) -> None:
    frame = layers_frame(simulated)
    known = frame[frame["layer"] != simulated.models[0].layers[-1].name]
    assert set(known["realised_latency_cycles"]) == {160.0}
    assert set(known["reordered_by"]) == {"C"}
    assert frame["realised_compute_cycles"].isna().sum() == len(frame) - len(known)
    assert "realised_latency_cycles" not in layers_frame(record).columns
