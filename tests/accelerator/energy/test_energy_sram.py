"""SRAM figures against Accelergy's answers, and the laws outside the characterised range."""

from __future__ import annotations

import math

import pytest

from codesign.accelerator.energy import Component, ComponentEstimate
from codesign.accelerator.energy.sram import sram
from codesign.errors import InputError


def ask(**attributes: object) -> ComponentEstimate:
    given = {"technology": "45nm", "global_cycle_seconds": 1e-9, "width": 64, "depth": 4096, **attributes}
    return sram(Component("buffer", "SRAM", {key: value for key, value in given.items() if value is not None}))


# Accelergy 0.4 (6911d15) with its CACTI plug-in: nm, depth, width -> read, write, leak pJ, area um2; n_banks 2.
ACCELERGY = [
    (45, 512, 16, 0.841418, 2.05417, 3.84017e-05, 4018.97),
    (45, 1024, 32, 2.17523, 3.70925, 0.000128694, 14066.8),
    (45, 4096, 64, 14.3315, 13.4185, 0.000943194, 111222.0),
    (45, 16384, 64, 31.5804, 25.3595, 0.0033506, 438278.0),
    (45, 8192, 128, 49.1476, 45.8591, 0.00332162, 412054.0),
    (40, 512, 16, 0.766756, 1.61219, 4.93179e-05, 3228.07),
    (40, 1024, 32, 1.80084, 3.06034, 0.000166985, 11392.7),
    (40, 4096, 64, 11.9188, 11.0506, 0.00120072, 90080.8),
    (40, 16384, 64, 26.2694, 20.885, 0.00424149, 354970.0),
    (40, 8192, 128, 40.1416, 37.5051, 0.00423449, 349858.0),
]


@pytest.mark.parametrize(("node", "depth", "width", "read", "write", "leak", "area"), ACCELERGY)
def test_figures_of_accelergy(
    node: int, depth: int, width: int, read: float, write: float, leak: float, area: float
) -> None:
    answer = ask(technology=f"{node}nm", depth=depth, width=width)
    assert answer.action("read").value == pytest.approx(read, rel=1e-4)
    assert answer.action("write").value == pytest.approx(write, rel=1e-4)
    assert answer.action("update").value == pytest.approx(write, rel=1e-4)
    assert answer.action("leak").value == pytest.approx(leak, rel=1e-4)
    assert answer.area_um2.value == pytest.approx(area, rel=1e-4)


def test_a_characterised_size_is_simulated_and_unscaled() -> None:
    provenance = ask().action("read").provenance
    assert provenance.confidence == "simulated"
    assert provenance.scaling == "none"
    assert "CACTI 7" in provenance.source


def test_two_banks_where_none_are_given() -> None:
    assert ask() == ask(n_banks=2)
    assert ask().action("read").value != ask(n_banks=1).action("read").value


def test_leak_is_power_times_cycle() -> None:
    assert ask(global_cycle_seconds=5e-9).action("leak").value == pytest.approx(5 * ask().action("leak").value)
    assert ask(global_cycle_seconds=5e-9).action("read") == ask().action("read")


def test_narrow_arrays_scale_from_the_narrowest() -> None:
    wide, narrow = ask(width=32, depth=512), ask(width=8, depth=512)
    assert narrow.action("read").value == pytest.approx(wide.action("read").value * (0.7 / 4 + 0.3))
    assert narrow.action("leak").value == pytest.approx(wide.action("leak").value / 4)
    assert narrow.area_um2.value == pytest.approx(wide.area_um2.value / 4)
    assert narrow.action("read").provenance.confidence == "scaled"


def test_widths_round_up_to_whole_bytes() -> None:
    built, asked = ask(width=40), ask(width=36)
    assert asked.action("write").value == pytest.approx(built.action("write").value * (0.7 * 36 / 40 + 0.3))


def test_shallow_arrays_scale_from_the_shallowest() -> None:
    deep, shallow = ask(depth=128, n_banks=1), ask(depth=16, n_banks=1)
    assert shallow.action("read").value == pytest.approx(deep.action("read").value * (16 / 128) ** 0.78)
    assert shallow.area_um2.value == pytest.approx(deep.area_um2.value / 8)
    assert "16 of a 128-word array" in shallow.action("read").provenance.scaling


def test_technologies_outside_the_range() -> None:
    finest, finer = ask(technology="22nm"), ask(technology="11nm")
    assert finer.action("read").value == pytest.approx(finest.action("read").value * math.sqrt(0.5))
    assert finer.action("leak").value == pytest.approx(finest.action("leak").value * 0.79 * math.sqrt(0.5))
    assert finer.area_um2.value == pytest.approx(finest.area_um2.value / 2)
    coarsest, coarser = ask(technology=90), ask(technology=180)
    for action in ("read", "write", "leak"):
        assert coarser.action(action).value == pytest.approx(4 * coarsest.action(action).value)
    assert coarser.area_um2.value == pytest.approx(4 * coarsest.area_um2.value)


def test_technologies_between_are_linear() -> None:
    low, high, between = ask(technology=32), ask(technology=45), ask(technology=40)
    expected = (5 * low.area_um2.value + 8 * high.area_um2.value) / 13
    assert between.area_um2.value == pytest.approx(expected)
    assert "linear between 32 and 45 nm" in between.area_um2.provenance.scaling


def test_four_banks_say_where_they_come_from() -> None:
    assert ask(n_banks=4).action("read").provenance.scaling == "none"
    for node in (20, 28, 65, 100):
        assert "4 banks told from" in ask(technology=node, n_banks=4).action("read").provenance.scaling
    assert "told" not in ask(technology=28, n_banks=2).action("read").provenance.scaling


def test_voltage_scales_the_dynamic_energy_quadratically() -> None:
    nominal, low = ask(), ask(voltage=0.55)  # CACTI's 45 nm itrs-lstp devices have 1.1 V
    assert low.action("read").value == pytest.approx(nominal.action("read").value / 4)
    assert low.action("leak").value == pytest.approx(nominal.action("leak").value)
    assert "0.55 V" in low.action("read").provenance.scaling


@pytest.mark.parametrize(
    ("attributes", "key", "rule"),
    [
        ({"width": None}, "buffer.attributes.width", "depends on width"),
        ({"depth": None}, "buffer.attributes.depth", "depends on depth"),
        ({"technology": None}, "buffer.attributes.technology", "depends on technology"),
        ({"global_cycle_seconds": None}, "buffer.attributes.global_cycle_seconds", "depends on global_cycle_seconds"),
        ({"width": 520}, "buffer.attributes.width", "at most 512 bits"),
        ({"depth": 131073}, "buffer.attributes.depth", "at most 131072 words"),
        ({"n_banks": 3}, "buffer.attributes.n_banks", "one of 1, 2, 4"),
        ({"width": -8}, "buffer.attributes.width", "a number above 0"),
        ({"width": 12.5}, "buffer.attributes.width", "a whole number"),
        ({"width": "wide"}, "buffer.attributes.width", "a number above 0"),
        ({"width": True}, "buffer.attributes.width", "a number above 0"),
        ({"technology": "45um"}, "buffer.attributes.technology", "a node in nanometres"),
        ({"technology": -1}, "buffer.attributes.technology", "a node in nanometres"),
        ({"voltage": 0}, "buffer.attributes.voltage", "a number above 0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(attributes: dict[str, object], key: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as caught:
        ask(**attributes)
    assert caught.value.key == key
