"""A pruned network beside the one that it was pruned from: filters, work, energy and cycles, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.evaluation.pruning import PruningRecord
from codesign.evaluation.record import HardwareRecord, LayerHardware, ModelRecord, Record
from codesign.report.numbers import count_text, significant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Change", "PruningRow", "PruningTable", "pruning_tables", "show_pruning"]


@dataclass(frozen=True, slots=True)
class Change:
    """A quantity before (None: not known) and after (None: not simulated) pruning."""

    before: float | None
    after: float | None

    @property
    def text(self) -> str:
        """``192,013 → 149,703 (−22.0 %)``, or what is known of it."""
        if self.after is None:
            return "–" if self.before is None else _number(self.before)
        if self.before is None:
            return _number(self.after)
        if self.before == self.after:
            return f"{_number(self.after)} (same)"
        return f"{_number(self.before)} → {_number(self.after)}{_share(self.before, self.after)}"


def _share(before: float, after: float) -> str:
    """The change in per cent with its sign; none where it rounds to nothing or there is nothing to compare with."""
    if before == 0:
        return ""
    text = f"{100 * (after / before - 1):+.1f}"
    return f" ({text if float(text) else '0.0'} %)".replace("-", "−")


def _number(value: float) -> str:
    return count_text(value) if isinstance(value, int) else significant(value)


@dataclass(frozen=True, slots=True)
class PruningRow:
    """A layer, or the whole network; ``parts`` are filters or weights that are not zero.

    ``costs`` holds energy in µJ and cycles for clean inputs by architecture, one inference.
    """

    layer: str
    parts: Change
    macs: Change
    costs: tuple[tuple[Change, Change], ...]


@dataclass(frozen=True, slots=True)
class PruningTable:
    """One pruned model.

    ``kind`` is what its rows' ``parts`` are; ``parent`` is None where the network that it was pruned from was not
    evaluated in the same run.
    """

    model: str
    parent: str | None
    settings: str
    kind: str
    architectures: tuple[str, ...]
    rows: tuple[PruningRow, ...]
    total: PruningRow
    left_out: tuple[tuple[str, str], ...]


def pruning_tables(record: Record) -> tuple[PruningTable, ...]:
    """A table of every model that was pruned and has no defence around it, whose layers would be others."""
    by_name = {model.name: model for model in record.models}
    return tuple(
        _table(model, model.pruning, by_name.get(model.pruning.parent_model or ""))
        for model in record.models
        if model.pruning is not None and model.defense is None
    )


def _table(model: ModelRecord, pruning: PruningRecord, parent: ModelRecord | None) -> PruningTable:
    entries = [entry for entry in model.hardware if entry.input_kind == "clean"]
    parents = {} if parent is None else {e.architecture: e for e in parent.hardware if e.input_kind == "clean"}
    pairs = [(parents.get(entry.architecture), entry) for entry in entries]
    return PruningTable(
        model=model.name,
        parent=None if parent is None else parent.name,
        settings=_settings(pruning),
        kind=pruning.layers[0].kind if pruning.layers else "filters",
        architectures=tuple(entry.architecture for entry in entries),
        rows=tuple(_rows(model, pruning, parent, pairs)),
        total=_total(model, pruning, parent, pairs),
        left_out=tuple((pruning.left_out or {}).items()),
    )


_Pairs = list[tuple[HardwareRecord | None, HardwareRecord]]


def _rows(
    model: ModelRecord, pruning: PruningRecord, parent: ModelRecord | None, pairs: _Pairs
) -> Iterator[PruningRow]:
    parts = {layer.layer: Change(layer.before, layer.after) for layer in pruning.layers}
    macs = _parent_macs(pruning, parent)
    costs = [(_by_layer(before), _by_layer(after)) for before, after in pairs]
    for layer in model.layers:
        # The second use of a layer, conv#2, has the filters of the first.
        filters = parts.get(layer.name.partition("#")[0], Change(None, None))
        changes = tuple(
            (_change(before, after, layer.name, "energy_uJ"), _change(before, after, layer.name, "latency_cycles"))
            for before, after in costs
        )
        yield PruningRow(layer.name, filters, Change(macs.get(layer.name), layer.macs), changes)


def _total(model: ModelRecord, pruning: PruningRecord, parent: ModelRecord | None, pairs: _Pairs) -> PruningRow:
    macs = _parent_macs(pruning, parent)
    return PruningRow(
        "all layers",
        Change(sum(layer.before for layer in pruning.layers), sum(layer.after for layer in pruning.layers)),
        Change(sum(macs.values()) if macs else None, model.macs),
        tuple(
            (
                Change(None if before is None else before.totals.energy_uJ, after.totals.energy_uJ),
                Change(None if before is None else before.totals.latency_cycles, after.totals.latency_cycles),
            )
            for before, after in pairs
        ),
    )


def _parent_macs(pruning: PruningRecord, parent: ModelRecord | None) -> dict[str, int]:
    if parent is not None:
        return {layer.name: layer.macs for layer in parent.layers}
    return dict(pruning.parent_macs or {})


def _by_layer(entry: HardwareRecord | None) -> dict[str, LayerHardware]:
    return {} if entry is None else {row.layer: row for row in entry.layers}


def _change(before: dict[str, LayerHardware], after: dict[str, LayerHardware], layer: str, name: str) -> Change:
    return Change(*(getattr(side[layer], name) if layer in side else None for side in (before, after)))


def _settings(pruning: PruningRecord) -> str:
    """The pruning in one line."""
    config = pruning.config
    what = f"{config.get('granularity', 'filters')} by {config.get('criterion')}, ratio {config.get('ratio'):g}"
    if config.get("scope") == "global":
        what += " over all layers"
    tuning = pruning.finetuning
    if tuning is None:
        return f"{what}; not fine-tuned"
    how = f"{tuning.get('method')} training on {tuning.get('on')} images"
    return f"{what}; fine-tuned {tuning.get('epochs')} epochs, {how}"


def show_pruning(console: Console, record: Record) -> None:
    """Print every pruned model beside its parent: filters and MACs by layer, energy and cycles in total."""
    for table in pruning_tables(record):
        console.print(_terminal(table))
        for name, costs in zip(table.architectures, table.total.costs, strict=True):
            energy, cycles = costs
            console.print(f"{name}: {energy.text} µJ, {cycles.text} cycles", highlight=False, markup=False)


def _terminal(table: PruningTable) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from codesign.report.terminal import Name

    beside = "" if table.parent is None else f" beside {table.parent}"
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=Text(f"{table.model}{beside}"))
    shown.caption = Text(table.settings)
    for heading in ("layer", table.kind, "MACs"):
        shown.add_column(heading, justify="left" if heading == "layer" else "right")
    for row in table.rows:
        if row.parts.after is not None or row.macs.before != row.macs.after:
            shown.add_row(Name(row.layer), Text(row.parts.text), Text(row.macs.text))
    shown.add_section()
    shown.add_row(table.total.layer, Text(table.total.parts.text), Text(table.total.macs.text))
    return shown
