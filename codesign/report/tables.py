"""The summary of a record as rows, and those rows on the terminal, in Markdown and (see ``html``) on the page.

Formatting lives in ``SUMMARY_COLUMNS``, once, so that the three never disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.evaluation.record import AccuracyRecord, HardwareRecord, ModelRecord, Record
from codesign.report.csv_export import layers_csv
from codesign.report.numbers import accuracy_text, count_text, percent_text, significant

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "SUMMARY_COLUMNS",
    "Column",
    "SummaryRow",
    "doubts",
    "footnotes",
    "layers_csv",
    "markdown_table",
    "summary_rows",
    "terminal_table",
    "write_summary_json",
]

# Shown behind an accuracy that the record itself casts doubt on.
_DOUBT = "†"


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One model on one architecture for one input kind; energy, latency and MACs are of one sample.

    ``accuracy`` is measured on just these inputs. ``doubtful`` marks accuracies under attack of a model with a raised
    flag or a failed sanity check.
    """

    model: str
    architecture: str
    input_kind: str
    accuracy: AccuracyRecord
    doubtful: bool
    energy_uJ: float
    latency_ms: float
    latency_cycles: int
    utilization: float
    macs: int
    actual_macs: int
    skipped_macs: int
    gated_macs: int
    area_mm2: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the summary: heading with unit, how a cell reads, and the value that it sorts by."""

    heading: str
    text: Callable[[SummaryRow], str]
    value: Callable[[SummaryRow], float | str]
    numeric: bool = True
    terminal: bool = False


def _share_of_macs(count: int, row: SummaryRow) -> str:
    return percent_text(count / row.macs if row.macs else 0.0)


def _accuracy_cell(row: SummaryRow) -> str:
    return accuracy_text(row.accuracy) + (_DOUBT if row.doubtful else "")


def _area_cell(row: SummaryRow) -> str:
    return "–" if row.area_mm2 is None else significant(row.area_mm2)


SUMMARY_COLUMNS: tuple[Column, ...] = (
    Column("model", lambda row: row.model, lambda row: row.model, numeric=False),
    Column("architecture", lambda row: row.architecture, lambda row: row.architecture, numeric=False),
    Column("inputs", lambda row: row.input_kind, lambda row: row.input_kind, numeric=False, terminal=True),
    Column("accuracy %", _accuracy_cell, lambda row: row.accuracy.value, terminal=True),
    Column("images", lambda row: count_text(row.accuracy.total), lambda row: row.accuracy.total),
    Column("energy µJ", lambda row: significant(row.energy_uJ), lambda row: row.energy_uJ, terminal=True),
    Column("latency ms", lambda row: significant(row.latency_ms), lambda row: row.latency_ms, terminal=True),
    Column("cycles", lambda row: count_text(row.latency_cycles), lambda row: row.latency_cycles),
    Column("MACs", lambda row: count_text(row.macs), lambda row: row.macs),
    Column("skipped %", lambda row: _share_of_macs(row.skipped_macs, row), lambda row: row.skipped_macs, terminal=True),
    Column("gated %", lambda row: _share_of_macs(row.gated_macs, row), lambda row: row.gated_macs, terminal=True),
    Column("utilisation %", lambda row: percent_text(row.utilization), lambda row: row.utilization),
    Column("area mm²", _area_cell, lambda row: -1.0 if row.area_mm2 is None else row.area_mm2, terminal=True),
)


def summary_rows(record: Record) -> tuple[SummaryRow, ...]:
    """One row per model, architecture and input kind, in the order of the record."""
    return tuple(_summary_row(model, entry) for model in record.models for entry in model.hardware)


def _summary_row(model: ModelRecord, entry: HardwareRecord) -> SummaryRow:
    totals = entry.totals
    return SummaryRow(
        model=model.name,
        architecture=entry.architecture,
        input_kind=entry.input_kind,
        accuracy=entry.accuracy,
        doubtful=entry.input_kind == "adversarial" and doubts(model) > 0,
        energy_uJ=totals.energy_uJ,
        latency_ms=totals.latency_ms,
        latency_cycles=totals.latency_cycles,
        utilization=totals.utilization,
        macs=totals.macs,
        actual_macs=totals.actual_macs,
        skipped_macs=totals.skipped_macs,
        gated_macs=totals.gated_macs,
        area_mm2=totals.area_mm2,
    )


def doubts(model: ModelRecord) -> int:
    """How many flags are raised and sanity checks failed: reasons to doubt the accuracy under attack."""
    rows = (*model.robustness.flags, *model.robustness.sanity)
    return sum(row.get("state") in {"raised", "failed"} for row in rows)


def footnotes(record: Record) -> tuple[str, ...]:
    """What a reader of the summary must know: the kind of interval, the worst case over all attacks, and doubts."""
    intervals = sorted(
        {
            f"{percent_text(accuracy.level, 0)} % {accuracy.method}"
            for model in record.models
            for accuracy in (model.robustness.clean, model.robustness.robust, *(e.accuracy for e in model.hardware))
        }
    )
    notes = [
        f"Accuracy with its interval in brackets ({', '.join(intervals)}). Energy, latency and MACs of one sample."
    ]
    for model in record.models:
        attacks = len(model.robustness.attacks)
        worst = f"worst case over {attacks} attack{'s' if attacks != 1 else ''}" if attacks else "no attack was run"
        notes.append(
            f"{model.name}: robust accuracy {accuracy_text(model.robustness.robust)} % ({worst}, "
            f"{count_text(model.robustness.robust.total)} images)."
        )
    doubtful = [model.name for model in record.models if doubts(model)]
    if doubtful:
        notes.append(
            f"{_DOUBT} {', '.join(doubtful)}: a flag is raised or a sanity check failed, so the accuracy under attack "
            "may be an artefact of a weak attack; see the robustness section of the report."
        )
    return tuple(notes)


# What a narrower terminal does without, in this order, before a name or a number is cut.
_DISPENSABLE = ("area mm²", "gated %", "skipped %", "latency ms")
_NAME_WIDTH = 13


def terminal_table(record: Record, width: int = 80) -> Table:
    """The summary for ``rich.console.Console.print``, fit for ``width`` columns; names are never read as markup.

    One row per architecture under the name of its model, one line per input kind. Cycles, MACs and utilisation are left
    to the other forms, and below 80 columns area, gated, skipped and latency too. Print ``footnotes`` below it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from codesign.report.terminal import Name

    columns = _fitting([column for column in SUMMARY_COLUMNS if column.terminal], summary_rows(record), width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column("model and\narchitecture", overflow="fold")
    for column in columns:
        table.add_column(
            column.heading.replace(" ", "\n", 1), justify="right" if column.numeric else "left", no_wrap=True
        )
    for model in record.models:
        table.add_row(Name(model.name, style="bold"))
        groups: dict[str, list[SummaryRow]] = {}
        for entry in model.hardware:
            groups.setdefault(entry.architecture, []).append(_summary_row(model, entry))
        for architecture, rows in groups.items():
            cells = (Text("\n".join(column.text(row) for row in rows)) for column in columns)
            table.add_row(Name(architecture), *cells)
        table.add_section()
    return table


def _fitting(columns: Sequence[Column], rows: Sequence[SummaryRow], width: int) -> list[Column]:
    """The columns that fit beside a column of names."""

    def taken(column: Column) -> int:
        heading = max(column.heading.split(" ", 1), key=len)
        return 1 + max(len(heading), *(len(column.text(row)) for row in rows)) if rows else 0

    left = list(columns)
    for heading in _DISPENSABLE:
        if _NAME_WIDTH + 2 + sum(taken(column) for column in left) <= width:
            break
        left = [column for column in left if column.heading != heading]
    return left


def markdown_table(record: Record) -> str:
    """The summary as a GitHub table with its footnotes; ends with a newline."""
    lines = [
        _markdown_row(column.heading for column in SUMMARY_COLUMNS),
        _markdown_row("---:" if column.numeric else "---" for column in SUMMARY_COLUMNS),
        *(_markdown_row(_escape(column.text(row)) for column in SUMMARY_COLUMNS) for row in summary_rows(record)),
    ]
    notes = "\n\n".join(_escape(note) for note in footnotes(record))
    return "\n".join(lines) + f"\n\n{notes}\n"


def write_summary_json(record: Record, path: Path) -> None:
    """Write the rows as a JSON list of objects: the fields of ``SummaryRow``, the accuracy with its ``value``."""
    rows = [
        asdict(row) | {"accuracy": asdict(row.accuracy) | {"value": row.accuracy.value}} for row in summary_rows(record)
    ]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no link, no HTML, no end of cell or line."""
    line = re.sub(r"([\\`*<>|])", r"\\\1", " ".join(text.split()))
    line = re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line)  # within a word, GitHub takes an underscore as it is
    return line.replace("](", "]\\(")
