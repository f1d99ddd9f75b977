"""The SRAMs and DRAMs of the reference architectures and the shipped designs against Accelergy's own figures.

The sizes are those of the five reference architectures (45 nm, two banks, as Timeloop's front end has it). Accelergy's
figure of an array is the CACTI point of the size that it builds, with its laws for narrower ones (docs/energy.md); the
points themselves were made by Accelergy. So the estimator is asked twice: as it is, and with that point left out of its
table, as it stands for a size that nobody characterised.
"""

from __future__ import annotations

import math

import pytest

from codesign.accelerator.energy import BUILTIN, Component
from codesign.accelerator.energy.cacti import CactiTable, cacti_table
from codesign.accelerator.energy.registry import ask

# name, width, depth, and the width of the array that CACTI builds for it.
ARRAYS = [
    ("pe_vector_4x4x8 global_buffer", 256, 2048, 256),
    ("pe_vector_4x4x8 pe_input_buffer", 64, 8192, 64),
    ("pe_vector_4x4x8 pe_weight_buffer", 64, 4096, 64),
    ("pe_vector_4x4x8 pe_accu_buffer", 24, 128, 32),
    ("row_stationary_14x12 shared_glb", 64, 16384, 64),
    ("weight_stationary_16x16 global_buffer", 128, 16384, 128),
    ("sparse_pe_8x8 pe_buffer", 8, 1024, 32),
    ("two_level_scalar buffer", 32, 2048, 32),
]


def told(width: int, depth: int) -> tuple[float, float]:
    component = Component(
        "buffer", "SRAM", {"technology": "45nm", "width": width, "depth": depth, "global_cycle_seconds": 1e-9}
    )
    answer = ask(component, BUILTIN)
    return answer.action("read").value, answer.action("write").value


def accelergy(width: int, depth: int, built: int, table: CactiTable) -> tuple[float, float]:
    """Accelergy's law on top of a table's point."""
    read, write, _, _ = table.at(45, built, depth, 2)
    share = 0.7 * width / built + 0.3
    return read * share, write * share


@pytest.mark.parametrize(("name", "width", "depth", "built"), ARRAYS, ids=[row[0] for row in ARRAYS])
def test_srams_of_the_reference_architectures(name: str, width: int, depth: int, built: int) -> None:
    assert told(width, depth) == pytest.approx(accelergy(width, depth, built, cacti_table()), rel=1e-9)


@pytest.mark.parametrize(("name", "width", "depth", "built"), ARRAYS, ids=[row[0] for row in ARRAYS])
def test_the_same_with_their_points_left_out(name: str, width: int, depth: int, built: int) -> None:
    table = cacti_table()
    key = (45, built, depth, 2)
    without = CactiTable({other: logs for other, logs in table.logs.items() if other != key})
    read, write, _, _ = (math.exp(value) for value in without.from_siblings(key))
    want_read, want_write, _, _ = table.at(*key)
    assert read == pytest.approx(want_read, rel=0.15)
    assert write == pytest.approx(want_write, rel=0.15)
