"""The waterfall in the report: shares of the record, in the table, on the page and in the figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from codesign.evaluation.record import Record, WaterfallRecord
from codesign.report.comparison import Comparison
from codesign.report.figures import build_figures
from codesign.report.figures.style import drawing
from codesign.report.figures.waterfall import waterfall_bars
from codesign.report.html import render_html
from codesign.report.waterfall import layer_waterfalls, losses_text, stages, waterfall_rows, waterfall_table

FALL = WaterfallRecord(
    macs=1000,
    removable_macs=600,
    skipped_macs=500,
    lost_macs={"computed in vain": 20, "gated": 80},
    dense_cycles=200,
    cycles=150.0,
    lost_cycles={"imbalance": 10.0, "bandwidth": 40.0},
    dense_energy_uJ=10.0,
    energy_uJ=6.0,
    lost_energy_uJ={"metadata": 0.5, "computes": -0.25, "operands moved in vain": 1.75, "dense outputs": 0.0},
    not_modelled=("predictor",),
)


@pytest.fixture
def fallen(make_record: Callable[..., Record]) -> Record:
    """Every simulation of the usual record with the same waterfall."""
    record = make_record()
    models = tuple(
        replace(
            model,
            hardware=tuple(
                replace(entry, waterfall=FALL, layers=tuple(replace(layer, waterfall=FALL) for layer in entry.layers))
                for entry in model.hardware
            ),
        )
        for model in record.models
    )
    return replace(record, models=models)


def test_stages_are_shares_of_the_dense_run() -> None:
    useless, skipped, cycles, energy = stages(FALL)
    assert [stage.saved for stage in (useless, skipped, cycles, energy)] == pytest.approx([0.6, 0.5, 0.25, 0.4])
    assert skipped.saved + sum(skipped.losses.values()) == pytest.approx(useless.saved)
    assert cycles.saved + sum(cycles.losses.values()) == pytest.approx(skipped.saved)
    assert energy.saved + sum(energy.losses.values()) == pytest.approx(useless.saved)


def test_losses_are_named_largest_first_and_small_ones_left_out() -> None:
    assert losses_text(stages(FALL)[1]) == "gated 8 %, computed in vain 2 %"
    assert losses_text(stages(FALL)[3]) == "operands moved in vain 18 %, metadata 5 %, computes −2 %"
    assert losses_text(stages(FALL)[0]) == ""


def test_a_row_for_every_simulation_that_has_one(fallen: Record, record: Record) -> None:
    rows = waterfall_rows(fallen)
    wanted = [(m.name, e.architecture, e.input_kind) for m in fallen.models for e in m.hardware]
    assert [(row.model, row.architecture, row.input_kind) for row in rows] == wanted
    assert waterfall_rows(record) == ()
    assert waterfall_table(record) is None


def test_the_table_fits_a_terminal(fallen: Record) -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(waterfall_table(fallen))
    text = captured.get()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    line = next(line for line in text.splitlines() if "clean" in line)
    assert [word for word in line.split() if word.replace(".", "").isdigit()][:4] == ["60.0", "50.0", "25.0", "40.0"]
    assert "bandwidth 20 %" in text


def test_the_page_has_the_table_and_says_what_is_not_modelled(fallen: Record, record: Record) -> None:
    page = render_html(Comparison(fallen), ())
    assert 'href="#waterfall"' in page
    assert "operands moved in vain 18 %, metadata 5 %" in page
    layers = layer_waterfalls(fallen)
    assert len(layers) == sum(len(entry.layers) for model in fallen.models for entry in model.hardware)
    assert layers[0].layer == fallen.models[0].layers[0].name
    assert page.count('<td class="text">predictor</td>') == len(waterfall_rows(fallen)) + len(layers)
    assert page.count("layer by layer</caption>") == 1
    assert 'id="waterfall"' not in render_html(Comparison(record), ())


def test_bars_are_the_shares_and_end_at_the_stage_before(fallen: Record) -> None:
    with drawing():
        figure = waterfall_bars(fallen)
    assert len(figure.axes) == len(fallen.architectures)
    bars = figure.axes[0].patches
    ends: dict[float, float] = {}
    for bar in bars:
        row = round(bar.get_y() + bar.get_height() / 2, 6)
        ends[row] = max(ends.get(row, 0.0), bar.get_x() + bar.get_width())
    # Useless; skipped and lost MACs; saved and lost cycles; saved energy with the losses that are above zero.
    assert [ends[row] for row in range(4)] == pytest.approx([60, 60, 50, 62.5])
    assert [label.get_text().split(": ")[-1] for label in figure.axes[0].get_yticklabels()][:2] == [
        "MACs superfluous",
        "MACs skipped",
    ]


def test_the_figure_stands_where_the_record_has_a_waterfall(fallen: Record, record: Record) -> None:
    found = {figure.name: figure for figure in build_figures(fallen)}
    assert "of 60.0 % superfluous MACs, 50.0 % are skipped" in found["waterfall"].caption
    assert found["waterfall"].caption.endswith("Not modelled: predictor.")
    assert "waterfall" not in {figure.name for figure in build_figures(record)}


def test_more_energy_than_the_dense_run_is_drawn_to_the_left(fallen: Record) -> None:
    worse = replace(FALL, energy_uJ=12.0, lost_energy_uJ={"metadata": 8.0})
    first = fallen.models[0]
    models = (replace(first, hardware=(replace(first.hardware[0], waterfall=worse),)),)
    with drawing():
        figure = waterfall_bars(replace(fallen, models=models))
    assert figure.axes[0].get_xlim()[0] == pytest.approx(-22)
    assert min(bar.get_width() for bar in figure.axes[0].patches) == pytest.approx(-20)
