"""The command line of the small run that several tests look at, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from codesign.evaluation.record import Record

SMALL = [
    "evaluate",
    "fmnist_resnet8_adversarial",
    "--images",
    "24",
    "--eps",
    "0.1",
    "--steps",
    "3",
    "--batch-size",
    "8",
]
"""A real model on real images, small enough for a test."""


@dataclass(frozen=True)
class FinishedRun:
    """A run's folder and its record."""

    folder: Path
    record: Record
