"""What long work says while it runs: events handed to a callback; nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Progress", "ProgressCallback", "Stage"]

Stage = Literal["preflight", "attack", "sanity", "finished"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of an evaluation after a piece of it is done.

    Args:
        stage: what is being done.
        done, total: pieces of work (image x attack) done so far and in all, those of an interrupted call included.
        images: images that every attack has seen; the two counts below are over these.
        clean_correct: of those, how many are classified correctly as they are.
        robust_correct: of those, how many are classified correctly under every attack.
        note: something the user should read (a batch that did not fit memory, a resumed run), or None.
    """

    stage: Stage
    done: int
    total: int
    images: int = 0
    clean_correct: int = 0
    robust_correct: int = 0
    note: str | None = None


class ProgressCallback(Protocol):
    """Called with each event, in order, from the thread that evaluates. What it raises ends the evaluation."""

    def __call__(self, progress: Progress, /) -> None: ...
