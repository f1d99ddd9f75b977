"""Stand-ins for the real programs, and the small case that they are asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
from timeloop_cases import dense_case
from timeloop_stand_ins import StandIns

from codesign.accelerator.spec.case import Case


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Nothing is installed yet but a working front end."""
    found = StandIns(tmp_path / "installed", monkeypatch)
    found.front_end()
    return found


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A small dense case."""
    return dense_case(tmp_path)
