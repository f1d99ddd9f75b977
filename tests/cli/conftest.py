"""One real run of ``codesign evaluate``, shared by the tests that look at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from codesign.cli.app import run
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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The small run on all shipped architectures."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    assert run([*SMALL, "--out", str(folder), "--quiet"]) == 0
    return FinishedRun(folder, Record.load(folder))
