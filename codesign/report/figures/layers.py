"""Layer by layer: cost and utilisation on each architecture, and how an attack moves the nonzero inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from codesign.evaluation.record import HardwareRecord, LayerHardware, LayerRecord, ModelRecord, Record
from codesign.report.figures import style
from codesign.report.numbers import short_names, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["input_densities", "layer_costs", "layer_entries", "models_with_densities"]

_ROW_INCHES = 0.2
# A ring around a dot: both can be seen where they coincide.
_DENSITY_MARKS: dict[str, dict[str, Any]] = {
    "clean": {"linestyle": "", "marker": "o", "markerfacecolor": "none", "markersize": 8.0, "markeredgewidth": 1.2},
    "adversarial": {"linestyle": "", "marker": "o", "markersize": 4.2},
}


def layer_entries(model: ModelRecord) -> tuple[HardwareRecord, ...]:
    """The hardware that ``layer_costs`` shows: clean inputs where the model has them, else adversarial ones."""
    kinds = [entry.input_kind for entry in model.hardware]
    kind = "clean" if "clean" in kinds else "adversarial"
    return tuple(entry for entry in model.hardware if entry.input_kind == kind)


def layer_costs(record: Record, model: ModelRecord) -> Figure:
    """One row per layer; share of energy, share of latency and utilisation, one marker per architecture."""
    from matplotlib.lines import Line2D

    entries = layer_entries(model)
    names = [layer.name for layer in model.layers]
    short = short_names((architecture.name for architecture in record.architectures), 28)
    figure = style.new_figure(1.0 + _ROW_INCHES * len(names))
    panels = figure.subplots(1, 3, sharey=True, squeeze=False)[0]
    architectures = [architecture.name for architecture in record.architectures]
    colour, shape = style.colours(architectures), style.shapes(architectures)
    for axes, title, share in zip(
        panels, ("share of energy, %", "share of latency, %", "utilisation, %"), _SHARES, strict=True
    ):
        for entry in entries:
            axes.plot(
                [100 * share(layer, entry) for layer in entry.layers],
                [names.index(layer.layer) for layer in entry.layers],
                linestyle="",
                marker=shape[entry.architecture],
                color=colour[entry.architecture],
                markersize=5.5,
                alpha=0.9,
            )
        axes.set_title(title)
    widest = max(panels[0].get_xlim()[1], panels[1].get_xlim()[1])
    for axes, limit in zip(panels, (widest, widest, 104), strict=True):
        axes.set_xlim(0, limit)
        axes.tick_params(axis="y", length=0)
    _layer_axis(panels[0], names, 32)
    panels[0].set_ylabel(f"layers of {shorten(model.name, 40)}")
    style.top_legend(
        figure,
        [
            Line2D([], [], linestyle="", marker=shape[name], color=colour[name], markersize=6, label=short[name])
            for name in dict.fromkeys(entry.architecture for entry in entries)
        ],
    )
    return figure


_SHARES: tuple[Callable[[LayerHardware, HardwareRecord], float], ...] = (
    lambda layer, entry: layer.energy_uJ / (entry.totals.energy_uJ or 1.0),
    lambda layer, entry: layer.latency_cycles / (entry.totals.latency_cycles or 1),
    lambda layer, _entry: layer.utilization,
)


def _layer_axis(axes: Axes, names: Sequence[str], width: int) -> None:
    """Layers from top to bottom in execution order; of a long module path the end tells most."""
    short = short_names(names, width, cut="start")
    axes.set_yticks(range(len(names)), [short[name] for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def models_with_densities(record: Record) -> tuple[ModelRecord, ...]:
    """The models that have the share of nonzero inputs of at least one layer."""
    return tuple(model for model in record.models if any(layer.input_density for layer in model.layers))


def input_densities(record: Record) -> Figure:
    """Panels by model, one row per layer: ring clean inputs, dot adversarial inputs.

    Models with the same layers stand two and two, with the names of the layers only once.
    """
    models = models_with_densities(record)
    alike = len({tuple(layer.name for layer in _recorded(model)) for model in models}) == 1
    columns = 2 if len(models) > 1 else 1
    rows = -(-len(models) // columns)
    heights = [
        0.5 + _ROW_INCHES * max(len(_recorded(model)) for model in models[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    figure = style.new_figure(0.7 + sum(heights))
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    colour = style.colours(model.name for model in record.models)
    title = short_names((model.name for model in record.models), 28)
    for axes in grid.flat[len(models) :]:
        axes.set_axis_off()
    for index, (axes, model) in enumerate(zip(grid.flat, models, strict=False)):
        _density_panel(axes, model, colour[model.name])
        _layer_axis(axes, [layer.name for layer in _recorded(model)], 32 if alike else 22)
        if alike and index % columns:
            axes.tick_params(axis="y", labelleft=False)
        axes.set_title(title[model.name], color=colour[model.name])
    for axes in grid[-1]:
        axes.set_xlabel("nonzero inputs of the layer, %")
    _density_legend(figure)
    return figure


def _recorded(model: ModelRecord) -> list[LayerRecord]:
    return [layer for layer in model.layers if layer.input_density]


def _density_panel(axes: Axes, model: ModelRecord, colour: str) -> None:
    for row, layer in enumerate(_recorded(model)):
        shares = {kind: 100 * share for kind, share in layer.input_density.items()}
        if len(shares) > 1:
            axes.plot([shares["clean"], shares["adversarial"]], [row, row], color=colour, linewidth=1.6, alpha=0.45)
        for kind, share in shares.items():
            axes.plot([share], [row], color=colour, zorder=3, **_DENSITY_MARKS[kind])
    axes.set_xlim(0, 103)


def _density_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    style.top_legend(
        figure,
        [Line2D([], [], color=style.MUTED, label=f"{kind} inputs", **marks) for kind, marks in _DENSITY_MARKS.items()],
    )
