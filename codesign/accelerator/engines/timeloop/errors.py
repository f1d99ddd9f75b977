"""What goes wrong with the real programs, told with their own last lines."""

from __future__ import annotations

from pathlib import Path

from codesign.errors import InputError

__all__ = ["ProgramError", "last_lines"]

_SHOWN_LINES = 8
_SHOWN_CHARACTERS = 1200


class ProgramError(InputError):
    """One of the real programs failed, or wrote what cannot be its answer.

    Args:
        what: what happened, as a sentence about the program.
        output: what the program printed; its last lines are shown. None if none was run.
        folder: where the run's files are.
        fix: what to do about it.
    """

    def __init__(
        self, what: str, *, output: str | None = None, folder: Path | None = None, fix: str | None = None
    ) -> None:
        told = None
        if output is not None:
            lines = last_lines(output)
            told = f"its last lines:\n{lines}" if lines else "it printed nothing"
        super().__init__(
            what, path=folder, key="engine timeloop", fix="; ".join(part for part in (fix, told) if part) or None
        )


def last_lines(output: str) -> str:
    """The end of a program's output, without empty lines and control characters, indented."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()][-_SHOWN_LINES:]
    text = "\n".join(f"    {''.join(c if c.isprintable() else '?' for c in line)}" for line in lines)
    return text if len(text) <= _SHOWN_CHARACTERS else f"    ...{text[-_SHOWN_CHARACTERS:]}"
