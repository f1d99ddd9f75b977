"""What ``codesign simulate`` says beyond the result of a case: the waterfall, and realised latency with real masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from codesign.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from codesign.accelerator.model.imbalance import RealisedLatency
    from codesign.accelerator.spec.case import Case
    from codesign.accelerator.waterfall import Waterfall

__all__ = ["Findings", "Questions", "findings"]


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked for beside the result."""

    waterfall: bool = False
    realised: bool = False
    reorder_channels: bool = False

    def check(self, *, engine: str, semantics: str) -> None:
        """Raise InputError unless the embedded engine answers with clean semantics, which alone knows masks."""
        asked = [
            flag
            for flag, wanted in (
                ("--waterfall", self.waterfall),
                ("--realised", self.realised),
                ("--reorder-channels", self.reorder_channels),
            )
            if wanted
        ]
        if self.reorder_channels and not self.realised:
            raise InputError("channels are re-ordered to see what it wins back", key=asked[-1], fix="add --realised")
        if asked and (engine, semantics) != ("embedded", "clean"):
            raise InputError(
                f"{asked[0]} needs the embedded engine with clean semantics",
                got=f"--engine {engine} --semantics {semantics}",
                key=asked[0],
            )


@dataclass(frozen=True, slots=True)
class Findings:
    """The answers; None where nothing was asked, or, for the order, where none can change."""

    waterfall: Waterfall | None = None
    realised: RealisedLatency | None = None
    reordered: tuple[str, RealisedLatency] | None = None

    def to_json(self) -> dict[str, Any]:
        """Further keys of a result; energies in pJ, cycles of every sample as lists."""
        found: dict[str, Any] = {}
        if self.waterfall is not None:
            found["waterfall"] = self.waterfall.to_json()
        if self.realised is not None:
            found["realised"] = self.realised.to_json()
            if self.reordered is not None:
                dimension, latency = self.reordered
                found["realised"]["reordered"] = {"dimension": dimension, **latency.to_json()}
        return found

    def tables(self) -> Iterator[Table]:
        """For ``rich.console.Console.print``."""
        if self.waterfall is not None:
            yield _waterfall_table(self.waterfall)
        if self.realised is not None:
            yield _realised_table(self.realised, self.reordered)


def findings(case: Case, questions: Questions) -> Findings:
    """Answer for a case whose mapping is legal.

    Raises:
        InputError: realised latency where a mask that matters is not actual data, or something is not modelled.
    """
    from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
    from codesign.accelerator.model.reordering import best_order
    from codesign.accelerator.waterfall import Waterfall, waterfall

    assert case.energy is not None
    given = (case.architecture, case.problem, case.mapping, case.energy, case.sparse)
    found = Findings()
    if questions.realised:
        latency = realised_latency(*given)
        assert isinstance(latency, RealisedLatency)  # the mapping is legal
        order = best_order(*given, latency) if questions.reorder_channels else None
        found = Findings(None, latency, order)
    if questions.waterfall:
        fall = waterfall(*given, realised=found.realised)
        assert isinstance(fall, Waterfall)
        found = replace(found, waterfall=fall)
    return found


def _waterfall_table(found: Waterfall) -> Table:
    from rich.table import Table

    table = Table("waterfall", box=None, title_justify="left")
    for heading in ("saved", "of dense", "lost to"):
        table.add_column(heading, justify="left" if heading == "lost to" else "right")
    lost: tuple[dict[str, float], ...] = (
        {},
        {name: value / found.macs for name, value in found.lost_macs.items()},
        {name: value / found.dense_cycles for name, value in found.lost_cycles.items()},
        {name: value / (found.dense_energy_pJ or 1.0) for name, value in found.lost_energy_pJ.items()},
    )
    totals = (
        f"{found.removable_macs:,}",
        f"{found.skipped_macs:,}",
        f"{found.dense_cycles - found.cycles:,.0f}",
        f"{found.dense_energy_pJ - found.energy_pJ:,.2f} pJ",
    )
    for (stage, share), total, losses in zip(found.stages.items(), totals, lost, strict=True):
        named = ", ".join(f"{name} {value:.1%}" for name, value in losses.items() if abs(value) >= 0.0005)
        table.add_row(stage, total, f"{share:.1%}", named)
    if found.not_modelled:
        table.caption, table.caption_justify = f"not modelled: {', '.join(found.not_modelled)}", "left"
    return table


def _realised_table(found: RealisedLatency, reordered: tuple[str, RealisedLatency] | None) -> Table:
    from rich.table import Table

    table = Table("cycles of the compute units, mean of the samples", box=None)
    for heading in ("cycles", "of expected"):
        table.add_column(heading, justify="right")
    count = len(found.realised_cycles)
    table.add_row("expected: work spread evenly", f"{sum(found.expected_cycles) / count:,.1f}", "")
    rows = [("realised: every step waits for its busiest instance", found)]
    if reordered is not None:
        rows.append((f"realised, channels re-ordered along {reordered[0]}", reordered[1]))
    for name, latency in rows:
        table.add_row(name, f"{sum(latency.realised_cycles) / count:,.1f}", f"x {latency.imbalance:.3f}")
    steps = f"samples: {count}   instances: {found.instances}   steps: {found.steps}"
    table.caption, table.caption_justify = steps, "left"
    return table
