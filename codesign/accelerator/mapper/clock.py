"""When a search has to end: after a time, or because somebody asked it to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event

__all__ = ["Clock"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Time of one search: wall time unless ``now`` is another clock, e.g. ``time.process_time``.

    Args:
        begin: ``now()`` at its start.
        seconds: limit; None for none.
        stop: set from outside to end the search with its best so far.
    """

    begin: float
    seconds: float | None = None
    stop: Event | None = None
    now: Callable[[], float] = time.monotonic

    @property
    def spent_s(self) -> float:
        """Time since the start."""
        return self.now() - self.begin

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked for the end."""
        return self.stop is not None and self.stop.is_set()

    def out(self, reserve_s: float = 0.0) -> bool:
        """Whether the search has to end; ``reserve_s`` earlier, where something is still to be done afterwards."""
        return self.interrupted or (self.seconds is not None and self.spent_s + reserve_s >= self.seconds)

    def share(self, part: float) -> Clock:
        """A clock that runs out when this part of the whole time is spent."""
        return self if self.seconds is None else replace(self, seconds=part * self.seconds)
