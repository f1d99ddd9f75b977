"""The command-line application: registers the subcommands and turns exceptions into messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from codesign.cli.crosscheck import crosscheck
from codesign.cli.doctor import doctor
from codesign.cli.energy import energy
from codesign.cli.evaluate import evaluate
from codesign.cli.explain import explain
from codesign.cli.init import init
from codesign.cli.make_robust_dataset import make_robust_dataset
from codesign.cli.map import map_command
from codesign.cli.prune import prune
from codesign.cli.report import report
from codesign.cli.simulate import simulate
from codesign.cli.train import train
from codesign.errors import InputError

__all__ = ["app", "run"]

# PyTorch's OpenMP threads spin while they wait, which collapses on a machine that does anything else; this must be
# set before torch is imported and yields to the user's own setting.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_INTERRUPTED = 130

app = typer.Typer(
    name="codesign",
    help="Robust accuracy of a neural network beside its simulated energy and latency.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from codesign import __version__

        typer.echo(f"codesign {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Robust accuracy of a neural network beside its simulated energy and latency."""


for _command in (
    evaluate,
    simulate,
    crosscheck,
    energy,
    train,
    make_robust_dataset,
    prune,
    report,
    init,
    explain,
    doctor,
):
    app.command(_command.__name__.replace("_", "-"))(_command)
app.command("map")(map_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)
    except InputError as error:
        colour = typer.colors.RED if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else None
        typer.secho(f"codesign: error: {error}", err=True, fg=colour)
        return 2
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        typer.echo(f"codesign: error: {what}", err=True)
        return 1
    except KeyboardInterrupt:
        return _interrupted(arguments)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:  # typer turns Ctrl-C into it, without a word
            return _interrupted(arguments)
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def _interrupted(arguments: Sequence[str] | None) -> int:
    command = next(iter(sys.argv[1:] if arguments is None else arguments), "")
    typer.echo(f"codesign: interrupted{'; the same command resumes' if command == 'evaluate' else ''}", err=True)
    return _INTERRUPTED
