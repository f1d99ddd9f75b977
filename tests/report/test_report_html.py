from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from codesign.evaluation.record import Record
from codesign.report import combine
from codesign.report.figures import build_figures
from codesign.report.html import LooseTable, render_html
from codesign.report.tables import SUMMARY_COLUMNS, summary_rows

Maker = Callable[..., Record]

VOID = {"meta", "br", "hr", "img", "input", "link", "col", "wbr"}
SECTIONS = ("summary", "robustness", "figures", "layers", "coverage", "architectures", "assumptions", "inputs")


class Page(HTMLParser):
    """Well-formedness by a stack of open elements; gathers what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == [], f"left open: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        opened = self.stack.pop()
        assert opened == tag, f"</{tag}> closes <{opened}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rendered(record: Record, figures: int | None = 0) -> str:
    """The page with its first ``figures`` figures; None: all. Figures are what takes time."""
    drawn = build_figures(record)[:figures] if figures != 0 else ()
    return render_html(combine({"run": record}), drawn)


@pytest.fixture(scope="module")
def html(record: Record) -> str:
    return rendered(record, None)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_it_is_one_well_formed_page_with_every_section(page: Page) -> None:
    ids = [attributes["id"] for _tag, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    links = [attributes["href"] for attributes in page.having("a")]
    assert links == [f"#{section}" for section in SECTIONS]


def test_it_needs_nothing_from_elsewhere(html: str, page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "data", "srcset", "poster", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), f"{tag} {name}={value}"
    for target in re.findall(r"url\(([^)]*)\)", html):
        assert target.startswith("#")
    assert "@import" not in html
    assert "fetch(" not in html


def test_references_inside_the_drawings_resolve(html: str, page: Page) -> None:
    ids = {attributes["id"] for _tag, attributes in page.elements if attributes.get("id")}
    used = set(re.findall(r"url\(#([^)]*)\)", html)) | set(re.findall(r'xlink:href="#([^"]*)"', html))
    assert used
    assert used <= ids


def test_summary_holds_every_cell(record: Record, page: Page) -> None:
    for row in summary_rows(record):
        for column in SUMMARY_COLUMNS:
            assert column.text(row) in page.text


def test_robustness_gives_full_attacks_images_and_every_state(record: Record, page: Page) -> None:
    for model in record.models:
        for attack in model.robustness.attacks:
            assert attack.name in page.text
            assert f"{attack.correct} of 1,000" in page.text
    states = [a for a in page.having("span") if (a.get("class") or "").startswith("state")]
    assert len(states) == 2 * (3 + 1)
    for word in ("clear", "raised", "not checked", "passed"):
        assert word in page.text


def test_every_energy_is_traceable(record: Record, page: Page) -> None:
    for architecture in record.architectures:
        for row in architecture.energy_table:
            for value in (row["component"], row["action"], row["source"], row["scaling"], row["confidence"]):
                assert value in page.text
    for item in record.inputs:
        assert item["sha256"] in page.text
    for note in record.notes:
        assert note in page.text
    for version in record.versions.values():
        assert version in page.text


def test_coverage_and_layers_are_there(record: Record, page: Page) -> None:
    assert "aten.relu" in page.text
    assert "fused into the layer before it" in page.text
    tables = [a["aria-label"] or "" for a in page.having("div") if a.get("role") == "region"]
    assert sum(label.startswith("Layers of") and " on " in label for label in tables) == 2 * 3 * 2
    for layer in record.models[0].layers:
        assert layer.name in page.text


def test_it_is_accessible(page: Page) -> None:
    assert page.having("html")[0]["lang"] == "en"
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.having("th"))
    assert len(page.having("caption")) == len(page.having("table"))
    drawings = page.having("svg")
    assert len(drawings) == 7
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert len(page.having("figcaption")) == len(page.having("figure")) == 7


def test_numeric_cells_of_sortable_tables_carry_their_value(record: Record, page: Page) -> None:
    values = {float(a["data-value"]) for a in page.having("td") if a.get("data-value") is not None}  # type: ignore[arg-type]
    for model in record.models:
        for entry in model.hardware:
            assert entry.totals.energy_uJ in values
            assert {layer.energy_uJ for layer in entry.layers} <= values


def test_names_are_escaped(make_record: Maker) -> None:
    name = '<script>alert("x")</script> & "q" $a$'
    html = rendered(make_record(names=(name, "other --> name")), figures=1)
    page = Page(html)
    assert len(page.having("script")) == 1
    assert name in page.text


def test_the_same_record_gives_the_same_page(record: Record, html: str) -> None:
    assert rendered(Record.from_json(record.to_json()), None) == html


def test_flags_that_were_never_recorded_are_not_checked(make_record: Maker) -> None:
    record = make_record(names=("only",))
    robustness = replace(record.models[0].robustness, flags=(), sanity=())
    page = Page(rendered(replace(record, models=(replace(record.models[0], robustness=robustness),))))
    assert "signs of gradient masking were not checked" in page.text
    assert "No sanity check was recorded: not checked" in page.text


def test_sums_that_do_not_hold_are_said(make_record: Maker) -> None:
    record = make_record(names=("only",))
    entry = record.models[0].hardware[0]
    wrong = replace(entry, totals=replace(entry.totals, skipped_macs=entry.totals.macs))
    page = Page(rendered(replace(record, models=(replace(record.models[0], hardware=(wrong,)),))))
    assert "Sums that do not hold" in page.text
    assert "only on eyeriss_row_stationary, clean inputs: actual + gated + skipped MACs are" in page.text


def test_a_record_without_hardware_is_a_page_too(make_record: Maker) -> None:
    record = make_record(names=("only",))
    record = replace(record, models=(replace(record.models[0], hardware=()),), architectures=())
    assert "No architecture was simulated in this run." in Page(rendered(record)).text


def test_open_rows_become_a_table_with_known_columns_first() -> None:
    table = LooseTable([{"zeta": 1, "component": "MAC", "provenance": {"source": "paper"}}, {"action": "read"}])
    assert table.headings == ("component", "action", "source", "zeta")
    assert table.rows == (("MAC", None, "paper", 1), (None, "read", None, None))
