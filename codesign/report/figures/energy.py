"""Where the energy goes (components of each architecture) and what becomes of the multiply-accumulates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign.evaluation.record import HardwareRecord, Record
from codesign.report.checks import unattributed_energy_uJ
from codesign.report.figures import style
from codesign.report.numbers import share_text, short_names, shorten, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["UNATTRIBUTED", "common_axis", "components_by_energy", "energy_by_component", "mac_fates"]

# What the components do not carry; see ``checks.unattributed_energy_uJ``.
UNATTRIBUTED = "operators without MACs"
_BAR_INCHES = 0.235
_FURTHEST_APART = 5.0  # ratio of totals up to which panels share an axis
# Field of ``Totals``, word, colour of the bar, colour of the text on it.
_FATES = (
    ("actual_macs", "actual", style.PALETTE[0], style.PAPER),
    ("gated_macs", "gated", style.PALETTE[4], style.DARK),
    ("skipped_macs", "skipped", style.PALETTE[2], style.DARK),
)


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    entry: HardwareRecord


def _bars(record: Record) -> dict[str, list[_Bar]]:
    """The bars of each architecture: grouped by model, clean before adversarial as in the record."""
    bars: dict[str, list[_Bar]] = {architecture.name: [] for architecture in record.architectures}
    short = short_names((model.name for model in record.models), 24)
    for model in record.models:
        for entry in model.hardware:
            word = "clean" if entry.input_kind == "clean" else "attacked"
            bars[entry.architecture].append(_Bar(f"{short[model.name]}, {word}", entry))
    return {name: found for name, found in bars.items() if found}


def components_by_energy(entries: Sequence[HardwareRecord]) -> dict[str, float]:
    """Energy in uJ of every component over ``entries``, largest first; what no component carries comes last."""
    energy: defaultdict[str, float] = defaultdict(float)
    for entry in entries:
        for component, value in entry.energy_by_component_uJ.items():
            energy[component] += value
    ordered = dict(sorted(energy.items(), key=lambda item: (-item[1], item[0])))
    rest = sum(unattributed_energy_uJ(entry) for entry in entries)
    return ordered | ({UNATTRIBUTED: rest} if rest > 0 else {})


def common_axis(record: Record) -> bool:
    """Whether the panels can share an axis of energy without the bars of one of them becoming too short to read."""
    return max(_longest(record).values()) <= _FURTHEST_APART * min(_longest(record).values())


def _longest(record: Record) -> dict[str, float]:
    """The largest total energy of each architecture, uJ."""
    return {name: max(bar.entry.totals.energy_uJ for bar in found) for name, found in _bars(record).items()}


def energy_by_component(record: Record) -> Figure:
    """One panel per architecture; one stacked bar per model and input kind. See ``common_axis``."""
    bars = _bars(record)
    shared = common_axis(record)
    heights = [_panel_inches(found) + (0.0 if shared else 0.15) for found in bars.values()]
    figure = style.new_figure(0.5 + sum(heights))
    panels = figure.subplots(len(bars), 1, sharex=shared, squeeze=False, height_ratios=heights)[:, 0]
    colour = style.distinct_colours(
        [components_by_energy([bar.entry for bar in found]) for found in bars.values()],
        components_by_energy([bar.entry for found in bars.values() for bar in found]),
    )
    longest = _longest(record)
    for axes, (architecture, found) in zip(panels, bars.items(), strict=True):
        components = components_by_energy([bar.entry for bar in found])
        for position, bar in enumerate(found):
            _stack(axes, position, bar.entry, components, colour)
        _bar_axis(axes, found, shorten(architecture, 60))
        _component_legend(axes, components, colour)
        axes.set_xlim(0, 1.14 * (max(longest.values()) if shared else longest[architecture]) or 1.0)
    panels[-1].set_xlabel("energy per inference, µJ" + ("" if shared else " (each panel has its own axis)"))
    return figure


def _panel_inches(bars: Sequence[_Bar]) -> float:
    """Room for the bars and for the legend beside them, whichever is taller."""
    lines = len(components_by_energy([bar.entry for bar in bars]))
    return 0.38 + max(_BAR_INCHES * len(bars), 0.165 * lines)


def _stack(
    axes: Axes, position: int, entry: HardwareRecord, components: dict[str, float], colour: dict[str, str]
) -> None:
    left = 0.0
    for component in components:
        missing = unattributed_energy_uJ(entry) if component == UNATTRIBUTED else 0.0
        width = entry.energy_by_component_uJ.get(component, missing)
        axes.barh(
            position, width, left=left, height=0.72, color=colour[component], edgecolor=style.PAPER, linewidth=0.5
        )
        left += width
    total = entry.totals.energy_uJ
    axes.annotate(
        significant(total), (max(left, total), position), (4, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def _bar_axis(axes: Axes, bars: Sequence[_Bar], title: str) -> None:
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)


def _component_legend(axes: Axes, components: dict[str, float], colour: dict[str, str]) -> None:
    """Names beside the bars in stacking order, each with its share over the panel."""
    from matplotlib.patches import Patch

    whole = sum(components.values()) or 1.0
    entries = [
        Patch(color=colour[name], label=f"{shorten(name, 28)} {share_text(value / whole)}")
        for name, value in components.items()
    ]
    axes.legend(
        handles=entries,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.04),
        borderaxespad=0.0,
        handlelength=0.9,
        handleheight=0.9,
        handletextpad=0.5,
        labelspacing=0.25,
        fontsize=8,
    )


def mac_fates(record: Record) -> Figure:
    """One panel per architecture: shares of the multiply-accumulates that are actual, gated and skipped."""
    bars = _bars(record)
    heights = [0.38 + _BAR_INCHES * len(found) for found in bars.values()]
    figure = style.new_figure(0.8 + sum(heights))
    panels = figure.subplots(len(bars), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (architecture, found) in zip(panels, bars.items(), strict=True):
        for position, bar in enumerate(found):
            _fate_bar(axes, position, bar.entry)
        _bar_axis(axes, found, shorten(architecture, 60))
    panels[0].set_xlim(0, 100)
    panels[-1].set_xlabel("multiply-accumulates of all layers, %")
    _fate_legend(figure)
    return figure


def _fate_bar(axes: Axes, position: int, entry: HardwareRecord) -> None:
    totals = entry.totals
    left = 0.0
    for key, _word, colour, ink in _FATES:
        width = 100 * getattr(totals, key) / totals.macs if totals.macs else 0.0
        axes.barh(position, width, left=left, height=0.72, color=colour, edgecolor=style.PAPER, linewidth=0.5)
        if width >= 5:
            axes.text(left + width / 2, position, f"{width:.0f} %", ha="center", va="center", fontsize=8, color=ink)
        left += width
    axes.annotate(
        f"{significant(totals.macs / 1e6)} M",
        (1.0, position),
        (4, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        annotation_clip=False,
    )


def _fate_legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    entries = [Patch(color=colour, label=word) for _key, word, colour, _ink in _FATES]
    style.top_legend(figure, entries, handlelength=0.9, handleheight=0.9, handletextpad=0.6)
