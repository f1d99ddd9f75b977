"""``codesign report``: figures, HTML and CSV from one run or several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codesign.cli.options import UnusedSeedOption, check_output_file
from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.evaluation.record import Record

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that `codesign evaluate --out` wrote, or their results.json."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into. (default: the run itself, if there is only one)")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table and no list of files.")] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the summary rows as JSON too.")] = None,
    seed: UnusedSeedOption = 0,
) -> None:
    """Write report.html, layers.csv and figures/ of one run, or of several runs side by side.

    Example: codesign report runs/natural runs/robust --out reports/both
    """
    del seed
    check_output_file(json, "--json")
    folder = _destination(runs, out)
    from codesign.evaluation.record import Record
    from codesign.report import combine, run_labels, write_comparison

    comparison = combine(dict(zip(run_labels(runs), (Record.load(run) for run in runs), strict=True)))
    written = write_comparison(comparison, folder)
    if json is not None:
        from codesign.report.tables import write_summary_json

        write_summary_json(comparison.record, json)
    for reason in comparison.not_comparable:
        typer.echo(f"codesign: warning: not comparable: {reason}", err=True)
    for remark in comparison.remarks:
        typer.echo(f"codesign: warning: {remark}", err=True)
    if not quiet:
        _show(comparison.record)
        typer.echo(f"wrote {len(written)} files; open {folder / 'report.html'}")


def _show(record: Record) -> None:
    from rich.console import Console

    from codesign.report.realised import show_realised
    from codesign.report.tables import footnotes, terminal_table
    from codesign.report.waterfall import show_waterfall

    console = Console()
    console.print(terminal_table(record, console.width))
    show_waterfall(console, record)
    show_realised(console, record)
    for note in footnotes(record):
        console.print(note, style="dim", markup=False, highlight=False)


def _destination(runs: list[Path], out: Path | None) -> Path:
    if out is not None:
        return out
    if len(runs) > 1:
        raise InputError("several runs need a folder of their own", got="none", key="--out", fix="give --out DIR")
    return runs[0] if runs[0].is_dir() else runs[0].parent
