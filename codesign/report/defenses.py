"""A defended network beside its base, on every architecture: what the defence costs or saves, and what broke it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codesign.evaluation.record import (
    AccuracyRecord,
    DefenseRecord,
    HardwareRecord,
    ModelRecord,
    Record,
    SpreadRecord,
)
from codesign.report.numbers import accuracy_text, percent_text, significant

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DefenseRow", "DefenseTable", "defense_tables", "layer_facts", "show_defenses"]

DENSE = "exact, dense"
EXACT = "exact, zeros saved"
ARRAY = "NENI, one array"
DUAL = "NENI, dual module"


@dataclass(frozen=True, slots=True)
class DefenseRow:
    """One way to compute the network on one architecture, one inference.

    ``energy_ratio`` and ``latency_ratio`` are over the exact network with its zeros saved on the same architecture.
    """

    architecture: str
    variant: str
    input_kind: str
    accuracy: AccuracyRecord
    energy_uJ: float
    energy_ratio: float
    latency_ms: float
    latency_ratio: float


@dataclass(frozen=True, slots=True)
class DefenseTable:
    """One defended model; no rows where its base was not evaluated in the same run, or it was not simulated."""

    model: str
    defense: DefenseRecord
    rows: tuple[DefenseRow, ...]

    @property
    def bitops_ratio(self) -> float:
        """BitOPs of the defended network over those of its base, all layers."""
        return self.defense.bitops["network_defended"] / self.defense.bitops["network_undefended"]

    @property
    def layers_bitops_ratio(self) -> float:
        """The same over the defended layers alone, as published figures count."""
        return self.defense.bitops["defended"] / self.defense.bitops["undefended"]

    @property
    def calibration_text(self) -> str:
        """What the approximation was fitted to."""
        known = self.defense.calibration
        if "name" in known:
            return f"fitted to {known['images']:,} images of {known['name']} that are not evaluated"
        if "images" in known:
            return f"fitted to {known['images']:,} images when it was saved"
        return "fitted when it was saved, to images that its file does not name"

    @property
    def work_text(self) -> str:
        """What an attack on the executed work found, or why there was none."""
        work = self.defense.work
        if not work:
            return "Top-K and N:M compute the same number of neurons for every image: there is no work to raise."
        return (
            f"An attack on the work at the same eps raises the executed share of the defended layers from "
            f"{percent_text(work['clean_mean'])} to {percent_text(work['attacked_mean'])} % "
            f"(95th percentile {percent_text(work['clean_p95'])} to {percent_text(work['attacked_p95'])} %) "
            f"over {work['images']:g} images."
        )


def defense_tables(record: Record) -> tuple[DefenseTable, ...]:
    """A table of every model with a defence around it."""
    by_name = {model.name: model for model in record.models}
    return tuple(
        DefenseTable(model.name, model.defense, tuple(_rows(by_name.get(model.defense.base), model)))
        for model in record.models
        if model.defense is not None
    )


def _rows(base: ModelRecord | None, model: ModelRecord) -> Iterator[DefenseRow]:
    if base is None:
        return
    before = {(entry.architecture, entry.input_kind): entry for entry in base.hardware}
    for entry in model.hardware:
        exact = before.get((entry.architecture, entry.input_kind))
        if exact is None:
            continue
        dense = exact.waterfall
        if dense is not None:
            # What moves without multiply-accumulates moves in every variant.
            energy_uJ = dense.dense_energy_uJ + exact.totals.traffic_energy_uJ
            latency_ms = dense.dense_cycles * exact.totals.latency_ms / exact.totals.latency_cycles
            yield _row(exact, exact, DENSE, energy_uJ, latency_ms)
        yield _row(exact, exact, EXACT, exact.totals.energy_uJ, exact.totals.latency_ms)
        variant = DUAL if any(spread.architecture == entry.architecture for spread in _spreads(model)) else ARRAY
        yield _row(entry, exact, variant, entry.totals.energy_uJ, entry.totals.latency_ms)


def _spreads(model: ModelRecord) -> tuple[SpreadRecord, ...]:
    return () if model.defense is None else model.defense.spreads


def _row(entry: HardwareRecord, exact: HardwareRecord, variant: str, energy_uJ: float, latency_ms: float) -> DefenseRow:
    return DefenseRow(
        architecture=entry.architecture,
        variant=variant,
        input_kind=entry.input_kind,
        accuracy=entry.accuracy,
        energy_uJ=energy_uJ,
        energy_ratio=energy_uJ / exact.totals.energy_uJ,
        latency_ms=latency_ms,
        latency_ratio=latency_ms / exact.totals.latency_ms,
    )


def layer_facts(defense: DefenseRecord) -> list[Mapping[str, Any]]:
    """What is known of each defended layer, as rows of one table."""
    return [
        {
            "name": layer["name"],
            "kind": layer["kind"],
            "n": layer["outputs"],
            "d": layer["inputs"],
            "k": layer["dimension"],
            "essential share": None if not layer["quality"] else layer["quality"]["essential_share"],
            "relative error": None if not layer["quality"] else layer["quality"]["relative_error"],
            "recall of large neurons": None if not layer["quality"] else layer["quality"]["recall"],
            "condition number": layer["condition"],
            "BitOPs over exact": sum(layer["bitops"][part] for part in ("exact", "approximate", "projection"))
            / layer["bitops"]["undefended"],
        }
        for layer in defense.layers
    ]


def show_defenses(console: Console, record: Record) -> None:
    """A short comparison on the terminal: adversarial inputs, energy and latency over the exact network's."""
    from rich import box
    from rich.table import Table

    from codesign.report.terminal import Name

    for table in defense_tables(record):
        shown = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            title=f"{table.model}: BitOPs x {significant(table.bitops_ratio)} over the whole network; in brackets the "
            "ratio to the exact network with its zeros saved",
            title_justify="left",
        )
        shown.add_column("architecture", overflow="fold")
        shown.add_column("computed as", no_wrap=True)
        for heading in ("accuracy %", "energy µJ", "latency ms"):
            shown.add_column(heading, justify="right", no_wrap=True)
        for row in table.rows:
            if row.input_kind == "adversarial":
                shown.add_row(
                    Name(row.architecture),
                    row.variant,
                    accuracy_text(row.accuracy).split(" ")[0],
                    f"{significant(row.energy_uJ)} ({row.energy_ratio:.2f})",
                    f"{significant(row.latency_ms)} ({row.latency_ratio:.2f})",
                )
        if table.rows:
            console.print(shown)
