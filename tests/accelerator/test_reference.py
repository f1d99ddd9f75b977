"""Recorded answers of the real program (where they are at hand): every case must agree.

Counts must be equal, energies agree to the printed decimals, an illegal mapping must be illegal for the same reason.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.loader import case_files, load_case

CASES = Path(__file__).parents[2].parent / "shared" / "reference" / "cases"
COUNTS = [
    f"{fate}_{kind}" for kind in ("reads", "fills", "updates") for fate in ("algorithmic", "actual", "gated", "skipped")
]
COUNTS += ["temporal_reductions", "utilized_capacity"]

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the recorded answers are not part of the repository")


def folders():
    return sorted(path.parent for path in CASES.rglob("expected.json")) if CASES.is_dir() else []


def near(want: float, decimals: float = 0.011):
    """The real program prints two decimals."""
    return pytest.approx(want, abs=decimals, rel=1e-6)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_case_agrees_with_the_real_program(folder):
    want = json.loads((folder / "expected.json").read_text())
    result = simulate(load_case(case_files(folder)), semantics="compat")
    got = result.to_json()
    assert got["legal"] == want["legal"], got
    if not want["legal"]:
        assert isinstance(result, Infeasible)
        check_reason(result, want["message"])
        return
    printed = 1 + sum(1 + len(level["dataspaces"]) for level in want["levels"].values())
    assert got["cycles"] == want["cycles"]
    assert got["energy_pJ"] == near(want["energy_pJ"], 0.01 * printed)
    assert got["utilization"] == near(want["utilization"], 6e-5)
    for fate in ("algorithmic", "actual", "gated", "skipped"):
        assert got["computes"][fate] == want["computes"][fate], fate
    for name, level in want["levels"].items():
        mine = got["levels"][name]
        assert mine["cycles"] == level["cycles"], name
        assert mine["leakage_pJ"] == near(level["leakage_pJ"]), name
        for dataspace, stats in level["dataspaces"].items():
            counts = {key: mine["dataspaces"][dataspace][key] for key in COUNTS}
            assert counts == {key: stats[key] for key in COUNTS}, (name, dataspace)
            assert mine["dataspaces"][dataspace]["energy_pJ"] == near(stats["energy_pJ"]), (name, dataspace)


def check_reason(result: Infeasible, message: str) -> None:
    too_large = re.search(r"level (\w+): mapped tile size (\d+) exceeds buffer capacity (\d+)", message)
    if too_large:
        assert (result.level, result.demand, result.capacity) == (too_large[1], int(too_large[2]), int(too_large[3]))
    else:
        assert f"level {result.level}:" in message
        assert "compression ranks" in message
        assert result.unit == "compression ranks"
