"""The ``codesign`` command: one module a subcommand, each thin. Exit codes: 0 done, 1 failed, 2 usage or bad input,
3 infeasible, 130 interrupted."""

from __future__ import annotations

import sys
from io import TextIOWrapper

__all__ = ["main"]


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr, never a traceback."""
    from codesign.cli.app import run

    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no "µ" gets a question mark, not a traceback after the work is done.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    raise SystemExit(run())
