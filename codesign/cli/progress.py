"""Progress of long work on the terminal: one bar a stage, on stderr, so that stdout stays for results."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["RichProgress"]

# On a narrower terminal the counts say more than a bar of what is left of the line.
_WIDE = 110


class RichProgress:
    """Shows ``(stage, done, total, detail)`` events as bars; a stage's bar appears with its first event."""

    def __init__(self, *, enabled: bool) -> None:
        self._console = Console(stderr=True)
        bar = (BarColumn(bar_width=20),) if self._console.width >= _WIDE else ()
        self._progress = Progress(
            TextColumn("{task.description}"),
            *bar,
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=self._console,
            disable=not enabled,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar of ``stage`` to ``done`` of ``total``."""
        self._progress.start()  # only now, so that bad input is answered by its message alone
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, detail=detail)
        self._progress.update(self._tasks[stage], completed=done, total=total, detail=detail)

    def note(self, text: str) -> None:
        """A line that stays: a batch that did not fit, a run that was taken up again."""
        if self._progress.disable:
            return
        self._progress.console.print(text, style="yellow", markup=False, highlight=False)
