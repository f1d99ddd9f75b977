"""Accuracy against what it costs: energy or latency per inference, with the Pareto front of robust accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from codesign.evaluation.record import AccuracyRecord, Record
from codesign.report.figures import style
from codesign.report.numbers import percent_text, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CostPoint", "accuracy_against_cost", "cost_points", "pareto_front"]

Cost = Literal["energy_uJ", "latency_ms"]
_COST_LABELS: dict[Cost, str] = {"energy_uJ": "energy per inference, µJ", "latency_ms": "latency per inference, ms"}
_LABEL_INCHES = 0.19  # height of one line beside the plot
_PLOT_INCHES = 3.55  # the least height of the axes, and what title, legend and axis labels take
_FRAME_INCHES = 0.75
_TOP, _BOTTOM = 104.0, -4.0  # of the accuracy axis, per cent


@dataclass(frozen=True, slots=True)
class CostPoint:
    """One marker: clean accuracy at the cost on clean inputs, or robust accuracy at the cost under attack."""

    model: str
    architecture: str
    robust: bool
    cost: float
    accuracy: AccuracyRecord


def cost_points(record: Record, cost: Cost) -> tuple[CostPoint, ...]:
    """One point per model, architecture and input kind that the record has."""
    return tuple(
        CostPoint(
            model=model.name,
            architecture=entry.architecture,
            robust=entry.input_kind == "adversarial",
            cost=getattr(entry.totals, cost),
            accuracy=model.robustness.robust if entry.input_kind == "adversarial" else model.robustness.clean,
        )
        for model in record.models
        for entry in model.hardware
    )


def pareto_front(points: Sequence[CostPoint]) -> tuple[CostPoint, ...]:
    """The points that no other beats in both cost and accuracy, by rising cost; of equal points the first stays."""
    front: list[CostPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy.value)):
        if not front or point.accuracy.value > front[-1].accuracy.value:
            front.append(point)
    return tuple(front)


def accuracy_against_cost(record: Record, cost: Cost) -> Figure:
    """Filled markers: robust accuracy; hollow: clean accuracy. Colour: model; shape: architecture. 95 % error bars."""
    points = cost_points(record, cost)
    labels = _model_labels(record, points)
    plot_inches = max(_PLOT_INCHES, _LABEL_INCHES * (len(labels) + 1))
    figure = style.new_figure(plot_inches + _FRAME_INCHES)
    axes = figure.add_subplot()
    colour = style.colours(model.name for model in record.models)
    shape = style.shapes(architecture.name for architecture in record.architectures)
    front = pareto_front([point for point in points if point.robust])
    _draw_front(axes, front)
    for point in points:
        _draw_point(axes, point, colour[point.model], shape[point.architecture])
    _scale(axes, [point.cost for point in points])
    _label_models(axes, labels, colour, gap=(_TOP - _BOTTOM) * _LABEL_INCHES / plot_inches)
    _label_front(axes, front, short_names(shape, 24))
    axes.set_xlabel(_COST_LABELS[cost])
    axes.set_ylabel("accuracy, %  (hollow: clean, filled: robust)")
    axes.set_ylim(_BOTTOM, _TOP)
    axes.set_yticks(range(0, 101, 20))
    _legend(figure, shape, points, front)
    return figure


def _draw_point(axes: Axes, point: CostPoint, colour: str, shape: str) -> None:
    accuracy = point.accuracy
    axes.errorbar(
        point.cost,
        100 * accuracy.value,
        yerr=[[100 * (accuracy.value - accuracy.low)], [100 * (accuracy.high - accuracy.value)]],
        fmt=shape,
        color=colour,
        markersize=7.5,
        markerfacecolor=colour if point.robust else style.PAPER,
        markeredgewidth=1.4,
        elinewidth=1.1,
        capsize=2.5,
        zorder=4 if point.robust else 3,
    )


def _draw_front(axes: Axes, front: Sequence[CostPoint]) -> None:
    """Steps: between two points of the front, the cheaper one is the best that the cost allows."""
    if front:
        axes.step(
            [point.cost for point in front],
            [100 * point.accuracy.value for point in front],
            where="post",
            color=style.MUTED,
            linewidth=1.2,
            linestyle=(0, (4, 2)),
            zorder=2,
        )


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """Room for labels on both sides; logarithmic where the costs are far apart."""
    low, high = min(costs), max(costs)
    if low > 0 and high > 5 * low:
        style.plain_log_ticks(axes, costs)
    else:
        margin = 0.14 * max(high - low, 0.25 * high) or 1.0
        axes.set_xlim(max(0.0, low - margin), high + margin)


@dataclass(frozen=True, slots=True)
class _Label:
    """A text beside the plot that belongs to the accuracy ``value``, per cent."""

    model: str
    value: float
    text: str


def _model_labels(record: Record, points: Sequence[CostPoint]) -> list[_Label]:
    """One label for each accuracy that is drawn, by rising accuracy."""
    drawn = {(point.model, point.robust): point.accuracy for point in points}
    short = short_names((model.name for model in record.models), 24)
    labels = [
        _Label(
            model,
            100 * accuracy.value,
            f"{short[model]}, {'robust' if robust else 'clean'} {percent_text(accuracy.value)} %",
        )
        for (model, robust), accuracy in drawn.items()
    ]
    return sorted(labels, key=lambda label: label.value)


def _label_models(axes: Axes, labels: Sequence[_Label], colour: dict[str, str], gap: float) -> None:
    """Labels at the height of their accuracies, moved apart to ``gap`` where they would overlap."""
    for height, label in zip(_spread([label.value for label in labels], gap), labels, strict=True):
        axes.annotate(
            label.text,
            xy=(1.0, label.value),
            xytext=(1.05, height),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=colour[label.model],
            fontsize=8.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour[label.model],
                "linewidth": 0.7,
                "shrinkA": 2,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Rising ``heights`` moved as little as possible (least squares) so that neighbours are ``gap`` apart.

    Pool adjacent violators on the heights less their rank times ``gap``; then the whole stays inside the axis.
    """
    pools: list[tuple[float, int]] = []
    for rank, height in enumerate(heights):
        pools.append((height - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, n), (other, m) = pools[-2:]
            pools[-2:] = [((one * n + other * m) / (n + m), n + m)]
    bases = [mean for mean, size in pools for _ in range(size)]
    ceiling = _TOP - gap * max(0, len(heights) - 1)
    return [max(_BOTTOM, min(base, ceiling)) + rank * gap for rank, base in enumerate(bases)]


def _label_front(axes: Axes, front: Sequence[CostPoint], short: dict[str, str]) -> None:
    for point in front:
        axes.annotate(
            short[point.architecture],
            xy=(point.cost, 100 * point.accuracy.high),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=style.INK,
            bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.0},
            zorder=2.5,  # over the front's line, under the markers
        )


def _legend(figure: Figure, shape: dict[str, str], points: Sequence[CostPoint], front: Sequence[CostPoint]) -> None:
    from matplotlib.lines import Line2D

    used = {point.architecture for point in points}
    short = short_names(shape, 28)
    entries = [
        Line2D([], [], marker=marker, linestyle="", color=style.MUTED, markersize=6.5, label=short[name])
        for name, marker in shape.items()
        if name in used
    ]
    if len(front) > 1:
        entries.append(
            Line2D([], [], linestyle=(0, (4, 2)), color=style.MUTED, linewidth=1.2, label="Pareto front, robust")
        )
    style.top_legend(figure, entries)
