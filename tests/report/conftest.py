"""A record as `codesign evaluate` writes it (see ``made_records``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_records import build_record

from codesign.evaluation.record import Record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """``build_record``."""
    return build_record


@pytest.fixture(scope="session")
def record() -> Record:
    """Two models, three architectures, ten layers."""
    return build_record()
