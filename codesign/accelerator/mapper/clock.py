"""When a search has to end: after a time, or because somebody asked it to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Event

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time of one search.

    Args:
        begin: ``time.monotonic()`` at its start.
        seconds: limit; None for none.
        stop: set from outside to end the search with its best so far.
    """

    begin: float
    seconds: float | None = None
    stop: Event | None = None

    @property
    def spent_s(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.begin

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked for the end."""
        return self.stop is not None and self.stop.is_set()

    def out(self, reserve_s: float = 0.0) -> bool:
        """Whether the search has to end; ``reserve_s`` earlier, where something is still to be done afterwards."""
        return self.interrupted or (self.seconds is not None and self.spent_s + reserve_s >= self.seconds)

    def share(self, part: float) -> Clock:
        """A clock that runs out when this part of the whole time is spent."""
        return self if self.seconds is None else Clock(self.begin, part * self.seconds, self.stop)
