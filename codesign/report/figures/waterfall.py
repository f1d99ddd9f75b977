"""The waterfall: how much of the superfluous work is skipped, saves cycles and saves energy; where the rest goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from codesign.evaluation.record import Record
from codesign.report.figures import style
from codesign.report.figures.layers import layer_entries
from codesign.report.numbers import percent_text, short_names, shorten
from codesign.report.waterfall import STAGES, Stage, stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["has_waterfalls", "waterfall_bars"]

_BAR_INCHES = 0.19
_GAP = 0.6  # between models, in bars
_SAVED = style.PALETTE[2]
_LEAST = 0.005  # a loss below this share of the dense run is not drawn


@dataclass(frozen=True, slots=True)
class _Group:
    """The four bars of one model on one architecture."""

    model: str
    stages: tuple[Stage, ...]


def has_waterfalls(record: Record) -> bool:
    """Whether the record has a waterfall to draw."""
    return any(_groups(record).values())


def _groups(record: Record) -> dict[str, list[_Group]]:
    """The bars of each architecture: clean inputs where a model has them, else adversarial ones."""
    groups: dict[str, list[_Group]] = {architecture.name: [] for architecture in record.architectures}
    for model in record.models:
        for entry in layer_entries(model):
            if entry.waterfall is not None:
                groups[entry.architecture].append(_Group(model.name, stages(entry.waterfall)))
    return {name: found for name, found in groups.items() if found}


def waterfall_bars(record: Record) -> Figure:
    """One panel per architecture, four bars per model: saved share, followed by the losses on the way to it."""
    groups = _groups(record)
    heights = [0.38 + _BAR_INCHES * len(found) * (4 + _GAP) for found in groups.values()]
    figure = style.new_figure(0.9 + sum(heights))
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    drawn = [stage for found in groups.values() for group in found for stage in group.stages]
    colour = _colours(drawn)
    short = short_names((model.name for model in record.models), 24)
    for axes, (architecture, found) in zip(panels, groups.items(), strict=True):
        _panel(axes, found, colour, short)
        axes.set_title(shorten(architecture, 60))
    panels[0].set_xlim(min(0.0, *(100 * stage.saved for stage in drawn)) * 1.1, 100)
    panels[-1].set_xlabel("share of the dense run, %")
    _legend(figure, colour)
    return figure


def _panel(axes: Axes, found: list[_Group], colour: dict[str, str], short: dict[str, str]) -> None:
    places, labels = [], []
    for number, group in enumerate(found):
        top = number * (4 + _GAP)
        for row, stage in enumerate(group.stages):
            _bar(axes, top + row, stage, colour)
            places.append(top + row)
            labels.append(f"{short[group.model]}: {stage.name}" if row == 0 else stage.name)
    axes.set_yticks(places, labels)
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _bar(axes: Axes, position: float, stage: Stage, colour: dict[str, str]) -> None:
    settings: dict[str, Any] = {"height": 0.74, "edgecolor": style.PAPER, "linewidth": 0.5}
    axes.barh(position, 100 * stage.saved, color=style.MUTED if stage.name == STAGES[0] else _SAVED, **settings)
    left = 100 * stage.saved
    for name, share in stage.losses.items():
        if share >= _LEAST:
            axes.barh(position, 100 * share, left=left, color=colour[name], alpha=0.75, **settings)
            left += 100 * share
    axes.annotate(
        f"{percent_text(stage.saved)} %",
        (max(left, 0.0), position),
        (3, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        annotation_clip=False,
    )


def _colours(drawn: list[Stage]) -> dict[str, str]:
    """A colour for each loss that is drawn, in the order of the stages; those of one stage differ."""
    names = dict.fromkeys(
        name
        for title in STAGES
        for stage in drawn
        if stage.name == title
        for name, share in stage.losses.items()
        if share >= _LEAST
    )
    return dict(zip(names, cycle(colour for colour in style.PALETTE if colour != _SAVED), strict=False))


def _legend(figure: Figure, colour: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    entries = [Patch(color=style.MUTED, label="superfluous"), Patch(color=_SAVED, label="saved")]
    entries += [Patch(color=shade, alpha=0.75, label=name) for name, shade in colour.items()]
    style.top_legend(figure, entries, handlelength=0.9, handleheight=0.9, handletextpad=0.6)
