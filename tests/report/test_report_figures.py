from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codesign.evaluation.record import AccuracyRecord, Record
from codesign.report import save_figures
from codesign.report.figures import build_figures, captions
from codesign.report.figures.accuracy import CostPoint, _spread, accuracy_against_cost, cost_points, pareto_front
from codesign.report.figures.energy import UNATTRIBUTED, components_by_energy, energy_by_component, mac_fates
from codesign.report.figures.layers import input_densities, layer_costs
from codesign.report.figures.style import PALETTE, PAPER, WIDTH_INCHES, distinct_colours, drawing

Maker = Callable[..., Record]


@pytest.fixture(scope="module")
def files(record: Record, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return save_figures(record, tmp_path_factory.mktemp("figures") / "new")


def test_every_figure_is_written_as_png_and_svg(files: tuple[Path, ...]) -> None:
    stems = ["accuracy_energy", "accuracy_latency", "energy_components", "macs", "input_density"]
    stems += ["layers_1_natural", "layers_2_pgd-adversarial"]
    assert [path.name for path in files] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]
    for path in files:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == round(WIDTH_INCHES * 150)
                assert image.height > 300
        else:
            root = ElementTree.parse(path).getroot()
            assert root.tag.endswith("svg")
            text = "".join(root.itertext())
            assert "natural" in text or "pgd-adversarial" in text


def test_same_record_gives_the_same_bytes(record: Record, files: tuple[Path, ...], tmp_path: Path) -> None:
    again = save_figures(Record.from_json(record.to_json()), tmp_path)
    for one, other in zip(files, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_files_carry_no_date_and_no_program_version(files: tuple[Path, ...]) -> None:
    for path in files:
        content = path.read_bytes()
        assert mpl.__version__.encode() not in content
        assert b"<dc:date>" not in content
        assert b"tEXtSoftware" not in content


def test_the_users_matplotlib_settings_are_neither_used_nor_changed(record: Record, files: tuple[Path, ...]) -> None:
    with mpl.rc_context({"font.size": 20.0, "lines.linewidth": 9.0, "axes.facecolor": "black"}):
        first = build_figures(record)[0]
        assert first.png == files[0].read_bytes()
        assert mpl.rcParams["font.size"] == 20.0


def test_accuracy_figure_draws_each_model_on_each_architecture_twice(record: Record) -> None:
    with drawing():
        axes = accuracy_against_cost(record, "energy_uJ").axes[0]
    drawn = {}
    for container in axes.containers:
        line = container.lines[0]
        (x,), (y,) = line.get_data()
        drawn[float(x), round(float(y), 9)] = line.get_markerfacecolor()
    expected = {}
    for model in record.models:
        for entry in model.hardware:
            robust = entry.input_kind == "adversarial"
            accuracy = model.robustness.robust if robust else model.robustness.clean
            expected[entry.totals.energy_uJ, round(100 * accuracy.correct / accuracy.total, 9)] = robust
    assert {point: face != PAPER for point, face in drawn.items()} == expected
    assert len(drawn) == 2 * 3 * 2


def test_error_bars_are_the_intervals(record: Record) -> None:
    with drawing():
        axes = accuracy_against_cost(record, "latency_ms").axes[0]
    first = axes.containers[0]
    segment = first.lines[2][0].get_segments()[0]
    clean = record.models[0].robustness.clean
    assert sorted(segment[:, 1]) == pytest.approx([100 * clean.low, 100 * clean.high])


@given(
    st.lists(
        st.tuples(st.floats(0.1, 100), st.integers(0, 50)),
        min_size=1,
        max_size=12,
    )
)
def test_pareto_front_against_brute_force(values: list[tuple[float, int]]) -> None:
    points = [
        CostPoint(f"m{i}", "a", True, cost, AccuracyRecord("attack", correct, 50, 0, 1))
        for i, (cost, correct) in enumerate(values)
    ]
    front = pareto_front(points)
    for one, other in pairwise(front):
        assert one.cost < other.cost
        assert one.accuracy.correct < other.accuracy.correct
    undominated = {
        (cost, correct)
        for cost, correct in values
        if not any((c <= cost and k >= correct) and (c < cost or k > correct) for c, k in values)
    }
    assert {(point.cost, point.accuracy.correct) for point in front} == undominated


@given(st.lists(st.floats(0, 100), max_size=15).map(sorted), st.floats(1, 6))
def test_labels_are_moved_apart_and_stay_beside_the_plot(heights: list[float], gap: float) -> None:
    placed = _spread(heights, gap)
    assert len(placed) == len(heights)
    assert all(upper - lower >= gap - 1e-6 for lower, upper in pairwise(placed))
    assert all(-4.0 - 1e-6 <= height <= 104.0 + 1e-6 for height in placed)


def test_labels_that_do_not_overlap_stay_where_they_are() -> None:
    assert _spread([2.0, 45.0, 91.0], 5.0) == [2.0, 45.0, 91.0]


def test_stacked_bars_add_up_to_the_total_energy(record: Record) -> None:
    with drawing():
        figure = energy_by_component(record)
    for architecture, axes in zip(record.architectures, figure.axes, strict=True):
        widths: dict[int, float] = {}
        for bar in axes.patches:
            row = round(bar.get_y() + bar.get_height() / 2)
            widths[row] = widths.get(row, 0.0) + bar.get_width()
        totals = [e.totals.energy_uJ for m in record.models for e in m.hardware if e.architecture == architecture.name]
        assert [widths[row] for row in range(len(totals))] == pytest.approx(totals)


def test_energy_that_no_component_carries_is_shown_as_such(record: Record) -> None:
    entry = record.models[0].hardware[0]
    components = {k: v for k, v in entry.energy_by_component_uJ.items() if "non-MAC" not in k}
    partly = replace(entry, energy_by_component_uJ=components)
    assert components_by_energy([partly])[UNATTRIBUTED] == pytest.approx(entry.totals.traffic_energy_uJ)
    assert UNATTRIBUTED not in components_by_energy([entry])


def test_mac_bars_are_the_shares_of_the_record(record: Record) -> None:
    with drawing():
        figure = mac_fates(record)
    totals = record.models[0].hardware[0].totals
    widths = [bar.get_width() for bar in figure.axes[0].patches[:3]]
    assert widths == pytest.approx(
        [100 * n / totals.macs for n in (totals.actual_macs, totals.gated_macs, totals.skipped_macs)]
    )


def test_layer_figure_has_a_row_for_each_layer_and_shares_of_the_total(record: Record) -> None:
    model = record.models[0]
    with drawing():
        figure = layer_costs(record, model)
    energy, latency, utilisation = figure.axes
    assert [label.get_text() for label in energy.get_yticklabels()] == [layer.name for layer in model.layers]
    entry = model.hardware[0]
    shares = energy.lines[0].get_xdata()
    assert shares == pytest.approx([100 * layer.energy_uJ / entry.totals.energy_uJ for layer in entry.layers])
    assert sum(latency.lines[0].get_xdata()) == pytest.approx(100)
    assert utilisation.lines[0].get_xdata() == pytest.approx([100 * layer.utilization for layer in entry.layers])


def test_density_figure_shows_clean_and_adversarial_of_each_layer(record: Record) -> None:
    with drawing():
        figure = input_densities(record)
    drawn = {round(float(line.get_xdata()[0]), 9) for line in figure.axes[1].lines if len(line.get_xdata()) == 1}
    assert drawn == {
        round(100 * share, 9) for layer in record.models[1].layers for share in layer.input_density.values()
    }


def test_captions_state_numbers_of_the_record(record: Record) -> None:
    captions = {figure.name: figure.caption for figure in build_figures(record)}
    best = max(
        (point for point in cost_points(record, "energy_uJ") if point.robust),
        key=lambda point: (point.accuracy.value, -point.cost),
    )
    assert captions["accuracy_energy"].startswith(
        f"{best.model} on {best.architecture} is the most robust choice: 45.7"
    )
    assert "eyeriss_row_stationary: DRAM, 39 %" in captions["energy_components"]
    assert "vector_pe_edge" in captions["macs"]


def test_a_record_without_hardware_has_the_density_figure_only(make_record: Maker) -> None:
    record = make_record()
    record = replace(record, models=tuple(replace(model, hardware=()) for model in record.models), architectures=())
    assert [figure.name for figure in build_figures(record)] == ["input_density"]


def test_clean_inputs_alone_are_drawn_without_a_front(make_record: Maker) -> None:
    record = make_record()
    record = replace(
        record,
        models=tuple(
            replace(model, hardware=tuple(e for e in model.hardware if e.input_kind == "clean"))
            for model in record.models
        ),
    )
    first = build_figures(record)[0]
    assert first.caption.startswith("The record has no cost under attack")
    assert b"Pareto" not in first.svg


def test_names_are_never_read_as_mathematics_or_markup(make_record: Maker) -> None:
    names = ("a$b$c^2", "<script>alert(1)</script>")
    svg = build_figures(make_record(names=names))[0].svg
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert "a$b$c^2, clean" in text
    assert b"<script" not in svg


@given(st.lists(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=8, unique=True), min_size=1, max_size=4))
def test_components_of_one_panel_have_different_colours_while_there_are_enough(groups: list[list[str]]) -> None:
    names = list(dict.fromkeys(name for group in groups for name in group))
    chosen = distinct_colours(groups, names)
    assert set(chosen) == set(names)
    neighbours = {name: {o for group in groups if name in group for o in group} for name in names}
    for group in groups:
        if all(len(neighbours[name]) <= len(PALETTE) for name in group):
            assert len({chosen[name] for name in group}) == len(group)


def test_panels_far_apart_get_their_own_axes(make_record: Maker) -> None:
    record = make_record(names=("only",))
    model = record.models[0]
    large = [
        replace(
            entry,
            totals=replace(entry.totals, energy_uJ=20 * entry.totals.energy_uJ),
            energy_by_component_uJ={name: 20 * value for name, value in entry.energy_by_component_uJ.items()},
        )
        for entry in model.hardware[:2]
    ]
    apart = replace(record, models=(replace(model, hardware=(*large, *model.hardware[2:])),))
    with drawing():
        near, far = energy_by_component(record), energy_by_component(apart)
    assert len({axes.get_xlim() for axes in near.axes}) == 1
    assert len({axes.get_xlim() for axes in far.axes}) == 3
    assert "own axis" not in captions.components(record)
    assert "own axis" in captions.components(apart)
