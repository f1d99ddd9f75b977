"""What an evaluation of robustness returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.robustness.attacks.base import Attack
from codesign.robustness.chunks import Chunk, ChunkStore
from codesign.robustness.preflight import Flag
from codesign.robustness.sanity import Check
from codesign.robustness.statistics import Accuracy

__all__ = ["AdversarialBatch", "AttackOutcome", "RobustnessResult"]


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """One attack over all images.

    Args:
        attack: what ran.
        accuracy: under this attack alone.
        correct: bool (n,), whether the model is right on the perturbed image; a random one, in at least half of the
            draws.
        shares: float64 (n,), the share of draws in which it is; 0 or 1 for a deterministic model.
        broken_by: of an attack made of parts, how many images each part broke, by name, in the order they ran.
        seconds: wall time, that of interrupted calls included.
    """

    attack: Attack
    accuracy: Accuracy
    correct: npt.NDArray[np.bool_]
    seconds: float
    shares: npt.NDArray[np.float64]
    broken_by: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The record's form, without the outcomes per image."""
        return {
            "attack": repr(self.attack),
            "title": self.attack.title,
            "configuration": self.attack.configuration(),
            "accuracy": self.accuracy.to_json(),
            "broken_by": dict(self.broken_by),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, eq=False)
class AdversarialBatch:
    """Perturbed images ``start`` .. ``start + b - 1`` of the set.

    Args:
        start: index of the first.
        images: float32 (b, c, h, w) in [0, 1].
        attack: int64 (b,), the number of the attack that each comes from.
    """

    start: int
    images: npt.NDArray[np.float32]
    attack: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class RobustnessResult:
    """Clean and robust accuracy of one model on one set, what speaks against them, and the perturbed images.

    Args:
        name: of the image set.
        seed, batch_size: as asked for.
        clean: accuracy on the images as they are; ``clean_correct`` bool (n,) is its outcome per image.
        attacks: one outcome per attack, in the order given.
        robust: accuracy under the worst attack of each image; None if there was no attack.
        robust_correct: bool (n,), right as it is and under every attack.
        draws: runs of the model that each outcome is the mean of; 1 for a deterministic model.
        flags: every preflight flag.
        checks: every sanity check.
        notes: remarks on the settings and the run.
        clean_seconds: wall time of the clean passes.
    """

    name: str
    seed: int
    batch_size: int
    clean: Accuracy
    clean_correct: npt.NDArray[np.bool_]
    attacks: tuple[AttackOutcome, ...]
    robust: Accuracy | None
    robust_correct: npt.NDArray[np.bool_]
    flags: tuple[Flag, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    clean_seconds: float
    draws: int
    store: ChunkStore = field(repr=False)

    @property
    def raised(self) -> tuple[Flag, ...]:
        """The flags that were raised."""
        return tuple(flag for flag in self.flags if flag.state == "raised")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The sanity checks that failed."""
        return tuple(check for check in self.checks if check.state == "failed")

    @property
    def trusted(self) -> bool:
        """Nothing that was looked for speaks against the numbers; what was not checked may still."""
        return not self.raised and not self.failed

    def adversarial_batches(self, attack: int | None = None) -> Iterator[AdversarialBatch]:
        """The perturbed images in order, ``batch_size`` at a time, one batch in memory.

        Args:
            attack: the number of an attack; None takes for each image the first attack that the model falls to, and
                the first of all where it stands.

        Raises IndexError for an attack that is not there, ValueError if there was none at all.
        """
        if not self.attacks:
            raise ValueError("RobustnessResult: no attack was run, so there are no perturbed images")
        if attack is not None and not 0 <= attack < len(self.attacks):
            raise IndexError(f"RobustnessResult: attack must be in 0..{len(self.attacks) - 1} (got {attack!r})")
        wrong = ~np.stack([outcome.correct for outcome in self.attacks])
        chosen = wrong.argmax(axis=0) if attack is None else np.full(self.clean.total, attack)
        for number, start in enumerate(range(0, self.clean.total, self.batch_size)):
            which = chosen[start : start + self.batch_size].astype(np.int64)
            images = self._chunk(number).adversarial[which, np.arange(len(which))]
            yield AdversarialBatch(start, images, which)

    def _chunk(self, number: int) -> Chunk:
        chunk = self.store.load(number)
        if chunk is None:
            raise FileNotFoundError(f"RobustnessResult: batch {number} is gone from the run's folder")
        return chunk

    def to_json(self) -> dict[str, Any]:
        """The record: plain values; all but the keys named seconds are the same for the same seed."""
        return {
            "images": {"name": self.name, "count": self.clean.total},
            "seed": self.seed,
            "batch_size": self.batch_size,
            "draws": self.draws,
            "clean": self.clean.to_json(),
            "robust": None if self.robust is None else self.robust.to_json(),
            "attacks": [outcome.to_json() for outcome in self.attacks],
            "flags": [flag.to_json() for flag in self.flags],
            "checks": [check.to_json() for check in self.checks],
            "notes": list(self.notes),
            "clean_seconds": self.clean_seconds,
        }
