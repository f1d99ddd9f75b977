"""One real run of ``codesign evaluate``, shared by the tests that look at it."""

from __future__ import annotations

import pytest
from small_run import SMALL, FinishedRun

from codesign.cli.app import run
from codesign.evaluation.record import Record


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The small run on all shipped architectures."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    assert run([*SMALL, "--out", str(folder), "--quiet"]) == 0
    return FinishedRun(folder, Record.load(folder))
