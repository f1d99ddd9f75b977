"""Names on a terminal: broken where a reader would break them, not in the middle of a word."""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

__all__ = ["Name"]

# A piece ends behind what joins words in the names of models, layers and files.
_PIECE = re.compile(r"[^_\-./: ]*[_\-./: ]*")


class Name:
    """A name that takes several lines where its column is narrow. It is never read as markup."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text = text
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The name on as few lines as ``options.max_width`` allows."""
        yield Text("\n".join(self.lines(options.max_width)), self._style, overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the longest piece to the whole name."""
        widest = max(len(piece) for piece in self._pieces())
        return Measurement(min(widest, options.max_width), min(len(self._text), options.max_width))

    def lines(self, width: int) -> list[str]:
        """The name in lines of at most ``width`` characters, longer ones only where a single piece is longer."""
        lines = [""]
        for piece in self._pieces():
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
        return [line.rstrip() for line in lines]

    def _pieces(self) -> list[str]:
        return [piece for piece in _PIECE.findall(self._text) if piece] or [""]
