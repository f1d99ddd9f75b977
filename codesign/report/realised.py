"""Realised against expected latency, model by model and layer by layer, where recorded masks were simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.evaluation.record import RealisedRecord, Record
from codesign.report.numbers import count_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["RealisedRow", "realised_rows", "realised_table", "show_realised", "times_text"]


@dataclass(frozen=True, slots=True)
class RealisedRow:
    """One layer, or all of a model (``layer`` is empty), on one architecture for one input kind.

    ``latency_cycles`` is the expected latency with bandwidth, to which that of ``realised`` compares.
    """

    model: str
    architecture: str
    input_kind: str
    layer: str
    latency_cycles: int
    realised: RealisedRecord


def realised_rows(record: Record, *, layers: bool) -> tuple[RealisedRow, ...]:
    """One row per simulation that has one; with ``layers`` one per layer instead."""
    found: list[RealisedRow] = []
    for model in record.models:
        for entry in model.hardware:
            place = (model.name, entry.architecture, entry.input_kind)
            if layers:
                found += [
                    RealisedRow(*place, row.layer, row.latency_cycles, row.realised)
                    for row in entry.layers
                    if row.realised is not None
                ]
            elif entry.realised is not None:
                found.append(RealisedRow(*place, "", entry.totals.latency_cycles, entry.realised))
    return tuple(found)


def times_text(cycles: float | None, expected: float) -> str:
    """Cycles as a multiple of the expected ones: "1.36 ×"; a dash where there are none."""
    return "–" if cycles is None else f"{cycles / expected if expected else 1.0:.2f} ×"


def realised_table(record: Record) -> Table | None:
    """The totals for ``rich.console.Console.print``, fit for 80 columns; None if no masks were simulated."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from codesign.report.terminal import Name

    rows = realised_rows(record, layers=False)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title="Cycles with the recorded masks")
    table.add_column("model and\narchitecture", overflow="fold", min_width=13)
    table.add_column("inputs", no_wrap=True)
    for heading in (
        "work spread\nevenly",
        "imba-\nlance",
        "re-\nordered",
        "latency\nexpected",
        "realised",
        "re-\nordered",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in dict.fromkeys(row.model for row in rows):
        table.add_row(Name(model, style="bold"))
        own = [row for row in rows if row.model == model]
        for architecture in dict.fromkeys(row.architecture for row in own):
            lines = [_cells(row) for row in own if row.architecture == architecture]
            cells = (Text("\n".join(line[number] for line in lines)) for number in range(len(lines[0])))
            table.add_row(Name(architecture), *cells)
        table.add_section()
    return table


def _cells(row: RealisedRow) -> tuple[str, ...]:
    found = row.realised
    return (
        row.input_kind,
        count_text(round(found.expected_cycles)),
        times_text(found.realised_cycles, found.expected_cycles),
        times_text(found.reordered_cycles, found.expected_cycles),
        count_text(row.latency_cycles),
        times_text(found.latency_cycles, row.latency_cycles),
        times_text(found.reordered_latency_cycles, row.latency_cycles),
    )


def show_realised(console: Console, record: Record) -> None:
    """Print the table, if masks were simulated."""
    table = realised_table(record)
    if table is not None:
        console.print(table)
