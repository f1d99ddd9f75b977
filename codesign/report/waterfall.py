"""What becomes of superfluous work, model by model: the four stages of the waterfall as shares, losses by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.evaluation.record import HardwareRecord, Record, WaterfallRecord
from codesign.report.numbers import percent_text, share_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "STAGES",
    "Stage",
    "WaterfallRow",
    "layer_waterfalls",
    "losses_text",
    "show_waterfall",
    "stages",
    "waterfall_rows",
    "waterfall_table",
]

STAGES = ("MACs superfluous", "MACs skipped", "cycles saved", "energy saved")
"""The stages in order; what one has less than the one before is lost."""

# A loss below this share of the dense run is left to results.json.
_WORTH_NAMING = 0.005


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what is saved, and what is lost on the way to it, as shares of the dense run.

    A loss may be negative: something then costs less than its share of the work.
    """

    name: str
    saved: float
    losses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class WaterfallRow:
    """One model, or one ``layer`` of it, on one architecture for one input kind."""

    model: str
    architecture: str
    input_kind: str
    stages: tuple[Stage, Stage, Stage, Stage]
    not_modelled: tuple[str, ...]
    layer: str = ""


def stages(waterfall: WaterfallRecord) -> tuple[Stage, Stage, Stage, Stage]:
    """The four stages in the order of ``STAGES``."""
    macs, cycles, energy = (waterfall.macs or 1, waterfall.dense_cycles or 1, waterfall.dense_energy_uJ or 1.0)
    return (
        Stage(STAGES[0], waterfall.removable_macs / macs, {}),
        Stage(STAGES[1], waterfall.skipped_macs / macs, _shares(waterfall.lost_macs, macs)),
        Stage(STAGES[2], 1 - waterfall.cycles / cycles, _shares(waterfall.lost_cycles, cycles)),
        Stage(STAGES[3], 1 - waterfall.energy_uJ / energy, _shares(waterfall.lost_energy_uJ, energy)),
    )


def _shares(losses: Mapping[str, float], whole: float) -> dict[str, float]:
    return {name: value / whole for name, value in losses.items()}


def waterfall_rows(record: Record) -> tuple[WaterfallRow, ...]:
    """One row per model, architecture and input kind that has a waterfall, in the order of the record."""
    return tuple(
        WaterfallRow(model.name, entry.architecture, entry.input_kind, stages(found), found.not_modelled)
        for model in record.models
        for entry, found in _found(model.hardware)
    )


def layer_waterfalls(record: Record) -> tuple[WaterfallRow, ...]:
    """One row per layer that has a waterfall, in the order of the record."""
    return tuple(
        WaterfallRow(model.name, entry.architecture, entry.input_kind, stages(found), found.not_modelled, row.layer)
        for model in record.models
        for entry in model.hardware
        for row in entry.layers
        if (found := row.waterfall) is not None
    )


def _found(entries: tuple[HardwareRecord, ...]) -> list[tuple[HardwareRecord, WaterfallRecord]]:
    return [(entry, entry.waterfall) for entry in entries if entry.waterfall is not None]


def losses_text(stage: Stage) -> str:
    """Losses worth naming with their shares, largest first: "bandwidth 62 %, imbalance 3 %"; empty without any."""
    named = sorted(stage.losses.items(), key=lambda item: -abs(item[1]))
    return ", ".join(
        f"{name} {'−' if share < 0 else ''}{share_text(abs(share))}"
        for name, share in named
        if abs(share) >= _WORTH_NAMING
    )


def waterfall_table(record: Record) -> Table | None:
    """The stages for ``rich.console.Console.print``, fit for 80 columns; None if the record has no waterfall.

    The last column names the largest loss.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from codesign.report.terminal import Name

    rows = waterfall_rows(record)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title="What becomes of superfluous work, % of dense")
    table.add_column("model and\narchitecture", overflow="fold", min_width=13)
    table.add_column("inputs", no_wrap=True)
    for heading in ("MACs\nuseless", "MACs\nskipped", "cycles\nsaved", "energy\nsaved"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("largest loss", overflow="ellipsis", no_wrap=True)
    for model in dict.fromkeys(row.model for row in rows):
        table.add_row(Name(model, style="bold"))
        own = [row for row in rows if row.model == model]
        for architecture in dict.fromkeys(row.architecture for row in own):
            lines = [row for row in own if row.architecture == architecture]
            shares = (
                Text("\n".join(percent_text(row.stages[number].saved) for row in lines))
                for number in range(len(STAGES))
            )
            kinds = Text("\n".join(row.input_kind for row in lines))
            losses = Text("\n".join(_largest(row) for row in lines))
            table.add_row(Name(architecture), kinds, *shares, losses)
        table.add_section()
    return table


def show_waterfall(console: Console, record: Record) -> None:
    """Print the table, if the record has a waterfall."""
    table = waterfall_table(record)
    if table is not None:
        console.print(table)


def _largest(row: WaterfallRow) -> str:
    """The largest loss of all stages."""
    stage = max(row.stages[1:], key=lambda stage: max(stage.losses.values(), default=0.0))
    return losses_text(stage).split(", ")[0]
