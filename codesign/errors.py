"""The one kind of exception that reaches a user as a message instead of a traceback.

A message has four parts, each of which the reader needs: where (path with line, dotted key), what was got,
the rule that it breaks, and the likely fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["InputError", "did_you_mean"]


class InputError(Exception):
    """Bad input from the user: reported as one message with exit code 2, never as a traceback.

    Args:
        rule: what must hold, as a sentence ("depth must be a positive integer").
        got: the offending value, shown with ``repr`` unless it is a string already meant for reading.
        path: the file that holds it, if any.
        line: its 1-based line in that file, if known.
        key: the dotted path or flag name that holds it ("architecture.nodes[3].attributes.depth", "--eps").
        fix: what to do about it.
    """

    def __init__(
        self,
        rule: str,
        *,
        got: object = None,
        path: str | Path | None = None,
        line: int | None = None,
        key: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.rule = rule
        self.got = got
        self.path = Path(path) if path is not None else None
        self.line = line
        self.key = key
        self.fix = fix
        super().__init__(str(self))

    def within(self, path: str | Path) -> InputError:
        """The same error, placed in ``path`` unless it already knows its file."""
        if self.path is not None:
            return self
        return InputError(self.rule, got=self.got, path=path, line=self.line, key=self.key, fix=self.fix)

    @property
    def where(self) -> str:
        """``path:line: key``, as far as it is known."""
        place = "" if self.path is None else str(self.path) + ("" if self.line is None else f":{self.line}")
        return ": ".join(part for part in (place, self.key) if part)

    def __str__(self) -> str:
        got = "" if self.got is None else f" (got {self.got if isinstance(self.got, str) else repr(self.got)})"
        fix = "" if self.fix is None else f"; {self.fix}"
        where = self.where
        return f"{where + ': ' if where else ''}{self.rule}{got}{fix}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion for an unknown word: the nearest known ones, or all of them where none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    return f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names)}"
