"""The report on disk: made in a temporary folder beside the target, then moved into place file by file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from codesign.errors import InputError
from codesign.evaluation.record import Record
from codesign.report.checks import require_reportable
from codesign.report.comparison import Comparison
from codesign.report.csv_export import layers_csv
from codesign.report.figures import build_figures, write_figures
from codesign.report.html import render_html
from codesign.report.robustness import robustness_csv

__all__ = ["write_comparison", "write_report"]

# Which model had which per-layer figure changes from report to report; the other names are fixed and overwritten.
_STALE_PATTERNS = ("layers_*.png", "layers_*.svg")


def write_report(record: Record, folder: Path) -> tuple[Path, ...]:
    """Write report.html, layers.csv, robustness.csv and figures/ (PNG and SVG) into ``folder``; returns the files.

    ``folder`` may hold other files, such as the run itself; an older report in it is replaced. Nothing is changed
    there unless the whole report could be made.

    Raises:
        InputError: the record cannot be reported (see ``checks.require_reportable``), or ``folder`` is no folder.
    """
    return write_comparison(Comparison(record), folder)


def write_comparison(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """``write_report`` of several runs side by side, with a warning where they are not comparable.

    Args:
        comparison: what ``combine`` made of them.
        folder: where to write; made if need be.
    """
    require_reportable(comparison.record)
    if folder.exists() and not folder.is_dir():
        raise InputError("a report is written into a folder", got="a file", path=folder, key="--out")
    folder.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
    try:
        _make(comparison, workshop)
        return _move(workshop, folder)
    finally:
        shutil.rmtree(workshop)


def _make(comparison: Comparison, folder: Path) -> None:
    figures = build_figures(comparison.record)
    write_figures(figures, folder / "figures")
    layers_csv(comparison.record, folder / "layers.csv")
    robustness_csv(comparison.record, folder / "robustness.csv")
    (folder / "report.html").write_text(render_html(comparison, figures), encoding="utf-8", newline="\n")


def _move(made: Path, folder: Path) -> tuple[Path, ...]:
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    for pattern in _STALE_PATTERNS:
        for stale in figures.glob(pattern):
            stale.unlink()
    names = [path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()]
    return tuple((made / name).replace(folder / name) for name in names)
