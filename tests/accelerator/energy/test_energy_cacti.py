"""The CACTI points and their interpolation, against points left out and against CACTI runs not in the table."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.energy.cacti import CactiTable, Key, cacti_table

QUANTITIES = ("read", "write", "leak", "area")
# 400 sizes at random, off the grid, run through CACTI 7 with the settings of data/README.md; columns as there.
OFF_GRID = Path(__file__).parent / "cacti_off_grid.csv"


def errors_percent(pairs: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> dict[str, list[float]]:
    """Relative error of every quantity, sorted."""
    return {
        name: sorted(abs(told[index] / real[index] - 1) * 100 for told, real in pairs)
        for index, name in enumerate(QUANTITIES)
    }


def test_the_table_is_the_whole_csv() -> None:
    table = cacti_table()
    assert len(table.logs) == 600
    assert table.technologies_nm == (22, 32, 45, 65, 90)
    assert table.widths == (32, 64, 128, 256, 512)
    assert table.banks == (1, 2, 4)
    assert table.depths(1)[0] == 128
    assert table.depths(4)[0] == 256
    assert table.depths(4)[-1] == 131072


def test_a_characterised_point_is_given_as_it_is() -> None:
    table = cacti_table()
    for key, logs in table.logs.items():
        assert table.at(*key) == pytest.approx([math.exp(value) for value in logs], rel=1e-12)


def test_points_left_out_are_told_from_the_others() -> None:
    """The figures of docs/energy.md: median at most 3 %, and what lies behind it."""
    table = cacti_table()
    pairs = [
        (tuple(map(math.exp, table.from_siblings(key))), tuple(map(math.exp, logs))) for key, logs in table.logs.items()
    ]
    errors = errors_percent(pairs)
    for name, bound in {"read": 2.2, "write": 1.5, "leak": 1.2, "area": 1.0}.items():
        assert median(errors[name]) < bound, name
    for name, bound in {"read": 22.0, "write": 13.0, "leak": 10.0, "area": 18.0}.items():
        assert errors[name][int(0.95 * len(pairs))] < bound, name


def test_a_left_out_point_is_not_looked_at() -> None:
    table = cacti_table()
    for key in ((45, 64, 4096, 2), (90, 32, 128, 1), (45, 512, 131072, 4)):
        without = CactiTable({other: logs for other, logs in table.logs.items() if other != key})
        assert without.from_siblings(key) == table.from_siblings(key)


def test_sizes_between_the_points_against_cacti() -> None:
    with OFF_GRID.open(encoding="utf-8") as file:
        rows = [[float(value) for value in row.values()] for row in csv.DictReader(file)]
    table = cacti_table()
    pairs = [(table.at(int(row[0]), row[1], row[2], int(row[3])), tuple(row[4:])) for row in rows]
    errors = errors_percent(pairs)
    for name, bound in {"read": 4.5, "write": 2.2, "leak": 1.8, "area": 2.5}.items():
        assert median(errors[name]) < bound, name
    for name, bound in {"read": 20.0, "write": 13.0, "leak": 10.0, "area": 15.0}.items():
        assert errors[name][int(0.95 * len(pairs))] < bound, name


# 4 banks outside 45 nm are not in the table; CACTI 7, same settings: read pJ, write pJ, leak W, area um2.
@pytest.mark.parametrize("key", [(22, 64, 4096, 4), (32, 256, 1024, 4), (65, 128, 16384, 4), (90, 32, 65536, 4)])
def test_four_banks_in_other_technologies_lie_between_their_neighbours(key: Key) -> None:
    technology, width, depth, _ = key
    table = cacti_table()
    told = table.at(*key)
    two_banks = table.at(technology, width, depth, 2)
    for index in range(4):
        step = table.at(45, width, depth, 4)[index] / table.at(45, width, depth, 2)[index]
        assert told[index] == pytest.approx(two_banks[index] * step, rel=0.25)


def test_nothing_tells_a_size_that_no_point_has() -> None:
    with pytest.raises(ValueError, match="nothing tells 45 nm, 100 x 100"):
        cacti_table().from_siblings((45, 100, 100, 1))


def test_outside_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="lies outside"):
        cacti_table().at(45, 1024, 4096, 1)


@given(
    technology=st.sampled_from([22, 32, 45, 65, 90]),
    width=st.floats(32, 512),
    depth=st.floats(128, 131072),
    banks=st.sampled_from([1, 2]),
)
def test_an_interpolated_value_lies_between_its_corners(
    technology: int, width: float, depth: float, banks: int
) -> None:
    table = cacti_table()
    low_width = max(w for w in table.widths if w <= width)
    high_width = min(w for w in table.widths if w >= width)
    low_depth = max(d for d in table.depths(banks) if d <= depth)
    high_depth = min(d for d in table.depths(banks) if d >= depth)
    corners = [table.at(technology, w, d, banks) for w in (low_width, high_width) for d in (low_depth, high_depth)]
    for index, value in enumerate(table.at(technology, width, depth, banks)):
        assert min(c[index] for c in corners) * (1 - 1e-9) <= value <= max(c[index] for c in corners) * (1 + 1e-9)
