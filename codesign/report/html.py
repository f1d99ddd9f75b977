"""The report as one HTML file that needs nothing else: styles, script and figures are inside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codesign.evaluation.record import LayerHardware, LayerRecord, ModelRecord, Record
from codesign.report.checks import inconsistencies
from codesign.report.comparison import Comparison
from codesign.report.defenses import defense_tables, layer_facts
from codesign.report.numbers import accuracy_text, count_text, percent_text, significant
from codesign.report.pruning import pruning_tables
from codesign.report.realised import realised_rows, times_text
from codesign.report.robustness import p_value_text, threat_rows, verdict
from codesign.report.svg import inline_svg
from codesign.report.tables import SUMMARY_COLUMNS, footnotes, summary_rows
from codesign.report.waterfall import layer_waterfalls, losses_text, waterfall_rows

if TYPE_CHECKING:
    from jinja2 import Environment

    from codesign.report.figures import ReportFigure

__all__ = ["LooseTable", "loose_table", "render_html"]

# Headings of rows whose keys the schema leaves open, in reading order; other keys follow as they come.
_KNOWN_KEYS = (
    *("id", "state", "operator", "component", "action", "name", "kind", "count", "treatment", "reason"),
    *("energy_pJ", "words_read", "words_written", "energy_uJ", "source", "scaling", "confidence", "detail"),
    *("attack", "role", "path", "sha256"),
)


class LooseTable:
    """Rows of free keys as a table: ``headings`` in reading order and ``rows`` of cells, None where a key is absent."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        flat = [_flattened(row) for row in rows]
        found = dict.fromkeys(key for row in flat for key in row)
        known = [key for key in _KNOWN_KEYS if key in found]
        self.headings = (*known, *(key for key in found if key not in known))
        self.rows = tuple(tuple(row.get(key) for key in self.headings) for row in flat)


def loose_table(rows: Iterable[Mapping[str, Any]]) -> LooseTable:
    """The template's name for ``LooseTable``."""
    return LooseTable(rows)


def _flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """One level of nesting taken out, so that {"provenance": {"source": ...}} is a column "source"."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat.update({str(inner): item for inner, item in value.items()})
        else:
            flat[str(key)] = value
    return flat


def render_html(comparison: Comparison, figures: Sequence[ReportFigure]) -> str:
    """The whole page. The same records give the same text: it holds no date.

    Args:
        comparison: one run, or several combined (``comparison.combine``).
        figures: what ``figures.build_figures`` made of ``comparison.record``; drawn into the page as SVG.
    """
    record = comparison.record
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            record=record,
            runs=comparison.runs or {"": record},
            not_comparable=comparison.not_comparable,
            remarks=comparison.remarks,
            inconsistencies=inconsistencies(record),
            columns=SUMMARY_COLUMNS,
            rows=summary_rows(record),
            footnotes=footnotes(record),
            threat_rows=threat_rows(record),
            verdict=verdict,
            pruning_tables=pruning_tables(record),
            defense_tables=defense_tables(record),
            layer_facts=layer_facts,
            p_value_text=p_value_text,
            waterfall_rows=waterfall_rows(record),
            waterfall_layers=layer_waterfalls(record),
            losses_text=losses_text,
            realised_rows=realised_rows(record, layers=False),
            realised_layers=realised_rows(record, layers=True),
            times_text=times_text,
            simulation_warnings=_simulation_warnings(record),
            figures=[(figure, _drawn(figure, f"f{index}-")) for index, figure in enumerate(figures)],
        )
    )


def _simulation_warnings(record: Record) -> list[tuple[str, list[str]]]:
    """Every warning once, with the simulations that gave it."""
    places: dict[str, list[str]] = {}
    for model in record.models:
        for entry in model.hardware:
            for warning in entry.warnings:
                places.setdefault(warning, []).append(f"{model.name}, {entry.architecture}, {entry.input_kind}")
    return list(places.items())


def _drawn(figure: ReportFigure, prefix: str) -> str:
    from markupsafe import Markup

    return Markup(inline_svg(figure.svg, prefix=prefix, alt=figure.alt))


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("codesign.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        accuracy=accuracy_text, count=count_text, percent=percent_text, significant=significant, cell=_cell, json=_json
    )
    environment.globals.update(loose_table=loose_table, layer_rows=_layer_rows, sanity_rows=_sanity_rows)
    return environment


def _sanity_rows(model: ModelRecord) -> list[dict[str, Any]]:
    """The checks with the number of their attack in the table above, whose whole configuration stands there."""
    numbers = {attack.name: f"attack {index}" for index, attack in enumerate(model.robustness.attacks, start=1)}
    return [
        {key: numbers.get(value, value) if key == "attack" else value for key, value in row.items()}
        for row in model.robustness.sanity
    ]


def _layer_rows(model: ModelRecord, layers: Sequence[LayerHardware]) -> list[tuple[LayerRecord, LayerHardware]]:
    """Each layer's hardware with its shape and densities, in execution order."""
    known = {layer.name: layer for layer in model.layers}
    return [(known[hardware.layer], hardware) for hardware in layers]


def _cell(value: object) -> str:
    """A value of an open row as text: numbers as everywhere in the report, structures as JSON."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return count_text(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
