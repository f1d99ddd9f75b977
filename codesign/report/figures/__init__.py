"""The figures of a report: functions from a record to matplotlib figures, without pyplot or a display."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.evaluation.record import Record
from codesign.report.checks import require_reportable
from codesign.report.figures import captions
from codesign.report.figures.accuracy import accuracy_against_cost
from codesign.report.figures.energy import energy_by_component, mac_fates
from codesign.report.figures.layers import input_densities, layer_costs, models_with_densities
from codesign.report.figures.style import drawing, file_bytes
from codesign.report.figures.waterfall import has_waterfalls, waterfall_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ReportFigure", "build_figures", "save_figures"]


@dataclass(frozen=True)
class ReportFigure:
    """One figure: ``name`` is its file name without suffix, ``caption`` says what to see, ``alt`` what it shows.

    ``png`` (150 dpi) and ``svg`` are the contents of its files; the same record gives the same bytes.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """Drawn on first use."""
        return file_bytes(self.figure, "png")

    @cached_property
    def svg(self) -> bytes:
        """Drawn on first use; text is text."""
        return file_bytes(self.figure, "svg")


def build_figures(record: Record) -> tuple[ReportFigure, ...]:
    """Every figure that the record has data for: without hardware no cost figures, without masks no densities.

    Raises:
        InputError: the record cannot be reported (see ``checks.require_reportable``).
    """
    require_reportable(record)
    figures: list[ReportFigure] = []
    with drawing():
        if any(model.hardware for model in record.models):
            figures += _hardware_figures(record)
        if has_waterfalls(record):
            figures.append(
                ReportFigure(
                    name="waterfall",
                    title="From superfluous multiply-accumulates to saved energy",
                    caption=captions.waterfall(record),
                    alt="Bars by architecture and model: MACs superfluous and skipped, cycles and energy saved.",
                    figure=waterfall_bars(record),
                )
            )
        if models_with_densities(record):
            figures.append(
                ReportFigure(
                    name="input_density",
                    title="Nonzero inputs per layer, clean and under attack",
                    caption=captions.densities(record),
                    alt="Dot plot, one panel per model, one row per layer: nonzero inputs, clean and adversarial.",
                    figure=input_densities(record),
                )
            )
        figures += _layer_figures(record)
    return tuple(figures)


def save_figures(record: Record, folder: Path) -> tuple[Path, ...]:
    """Write every figure as PNG (150 dpi) and SVG into ``folder``, which is made if need be; returns the files.

    Raises:
        InputError: the record cannot be reported (see ``checks.require_reportable``).
    """
    return write_figures(build_figures(record), folder)


def write_figures(figures: tuple[ReportFigure, ...], folder: Path) -> tuple[Path, ...]:
    """The files of figures that are drawn already."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for figure in figures:
        for kind, content in (("png", figure.png), ("svg", figure.svg)):
            path = folder / f"{figure.name}.{kind}"
            path.write_bytes(content)
            paths.append(path)
    return tuple(paths)


def _hardware_figures(record: Record) -> list[ReportFigure]:
    return [
        ReportFigure(
            name="accuracy_energy",
            title="Accuracy against energy",
            caption=captions.accuracy(record, "energy_uJ"),
            alt="Scatter plot of accuracy in per cent against energy per inference in microjoules.",
            figure=accuracy_against_cost(record, "energy_uJ"),
        ),
        ReportFigure(
            name="accuracy_latency",
            title="Accuracy against latency",
            caption=captions.accuracy(record, "latency_ms"),
            alt="Scatter plot of accuracy in per cent against latency per inference in milliseconds.",
            figure=accuracy_against_cost(record, "latency_ms"),
        ),
        ReportFigure(
            name="energy_components",
            title="Energy by component",
            caption=captions.components(record),
            alt="Stacked bars of energy per inference by component, one panel per architecture.",
            figure=energy_by_component(record),
        ),
        ReportFigure(
            name="macs",
            title="Multiply-accumulates: actual, gated and skipped",
            caption=captions.macs(record),
            alt="Stacked bars by architecture: shares of multiply-accumulates that are actual, gated and skipped.",
            figure=mac_fates(record),
        ),
    ]


def _layer_figures(record: Record) -> list[ReportFigure]:
    return [
        ReportFigure(
            name=f"layers_{index}_{_slug(model.name)}",
            title=f"Layers of {model.name}",
            caption=captions.layers(model),
            alt=f"Dot plots by layer of {model.name}: share of energy, share of latency and utilisation.",
            figure=layer_costs(record, model),
        )
        for index, model in enumerate(record.models, start=1)
        if model.hardware
    ]


def _slug(name: str) -> str:
    """A model's name as a part of a file name; the index before it keeps names apart that differ in other signs."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "model"
