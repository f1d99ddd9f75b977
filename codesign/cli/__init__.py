"""The ``codesign`` command: one module a subcommand, each thin. Exit codes: 0 done, 1 failed, 2 usage or bad input,
3 infeasible, 130 interrupted."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr, never a traceback."""
    from codesign.cli.app import run

    raise SystemExit(run())
