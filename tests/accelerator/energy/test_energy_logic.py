"""Arithmetic and register files against Accelergy's answers, and their scaling laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from codesign.accelerator.energy import BUILTIN, Component, ComponentEstimate, aladdin, scaling
from codesign.accelerator.energy.aladdin_tables import ADDER, COMPARATOR, MULTIPLIER, REGISTER, Row
from codesign.accelerator.energy.horowitz import HOROWITZ, add_pJ, multiply_pJ
from codesign.errors import InputError


def ask(component_class: str, **attributes: object) -> ComponentEstimate:
    given = {"technology": "45nm", "global_cycle_seconds": 1e-9, **attributes}
    known = {key: value for key, value in given.items() if value is not None}
    return BUILTIN[component_class](Component("part", component_class, known))


# Accelergy 0.4 (6911d15) with its Aladdin plug-in, the same at 45 and 40 nm, 1 ns: pJ an operation, um2.
@pytest.mark.parametrize("node", ["45nm", "40nm", 42])
@pytest.mark.parametrize(
    ("width", "energy_pJ", "area_um2"),
    [(4, 0.224375, 133.969), (8, 0.845, 466.375), (16, 3.275, 1726.5), (32, 12.89, 6628.0)],
)
def test_integer_macs_of_accelergy(node: object, width: int, energy_pJ: float, area_um2: float) -> None:
    answer = ask("intmac", width=width, technology=node)
    assert answer.action("compute").value == pytest.approx(energy_pJ, rel=1e-4)
    assert answer.area_um2.value == pytest.approx(area_um2, rel=1e-4)


# The same source: depth -> pJ an access and a cycle of leakage, width 16.
@pytest.mark.parametrize(
    ("depth", "access_pJ", "leak_pJ", "area_um2"),
    [
        (4, 0.0163675, 7.6275e-05, 23.48),
        (16, 0.06794, 0.0001202, 145.98),
        (64, 0.36264, 0.0003712, 845.98),
        (128, 0.83416, 0.0007728, 1965.98),
    ],
)
def test_register_files_of_accelergy(depth: int, access_pJ: float, leak_pJ: float, area_um2: float) -> None:
    answer = ask("regfile", width=16, depth=depth)
    for action in ("read", "write", "update"):
        assert answer.action(action).value == pytest.approx(access_pJ, rel=1e-4)
    assert answer.action("leak").value == pytest.approx(leak_pJ, rel=1e-4)
    # Accelergy takes the comparators' area from another row of the same table: 70 instead of 71 um2.
    assert answer.area_um2.value == pytest.approx(area_um2, rel=0.015)


def test_floating_point_mac_of_accelergy() -> None:
    answer = ask("fpmac", exponent=8, mantissa=24)
    assert answer.action("compute").value == pytest.approx(51.979)
    # Aladdin's own areas; Accelergy's table repeats the adder's for the multiplier.
    assert answer.area_um2.value == pytest.approx(4361 + 8967)
    half = ask("fpmac", exponent=5, mantissa=11)
    assert half.action("compute").value == pytest.approx(16.679 / 2 + 35.3 / 4)


def test_operators_by_width() -> None:
    assert ask("intadder", width=12).action("add").value == pytest.approx(0.21 * 12 / 32)
    assert ask("intadder", width=12).action("leak").value == pytest.approx(0.0008625)  # as Accelergy
    assert ask("intmultiplier", width=8).action("multiply").value == pytest.approx(12.68 / 16)
    assert ask("comparator", width=5).action("compare").value == pytest.approx(0.02947 * 5 / 32)
    assert ask("counter", width=16).action("count").value == pytest.approx(0.25074 / 2)
    assert ask("fpadder", exponent=8, mantissa=24).action("add").value == pytest.approx(16.679)
    assert ask("fpmultiplier", exponent=8, mantissa=8).action("multiply").value == pytest.approx(35.3 / 4)


def test_a_wider_adder_behind_the_multiplier() -> None:
    narrow, wide = ask("intmac", width=8), ask("intmac", width=8, adder_width=32)
    assert wide.action("compute").value - narrow.action("compute").value == pytest.approx(0.21 * (1 - 8 / 32))


def test_flip_flop_register_files_count_every_bit() -> None:
    answer = ask("flipflop_regfile", width=16, depth=12)
    assert answer.action("read").value == pytest.approx(16 * 0.009 + 12 * 0.02947 * 4 / 32)
    assert answer.action("leak").value == pytest.approx(16 * 12 * 7e-5 + 12 * 2.51e-5 * 4 / 32)
    assert answer.area_um2.value == pytest.approx(16 * 12 * 5.98 + 12 * 71 * 4 / 32)
    single = ask("flipflop_regfile", width=8, depth=1)
    assert single.action("read").value == pytest.approx(8 * 0.009)


def test_a_systolic_cell_is_a_mac_and_two_registers() -> None:
    mac, cell = ask("intmac", width=8, adder_width=32), ask("systolic_mac", width=8, adder_width=32)
    assert cell.action("compute").value - mac.action("compute").value == pytest.approx(40 * 0.009)
    assert cell.area_um2.value - mac.area_um2.value == pytest.approx(40 * 5.98)
    with pytest.raises(InputError, match="depends on adder_width"):
        ask("systolic_mac", width=8)


@pytest.mark.parametrize(
    ("cycle_seconds", "period_ns"),
    [
        (0.4e-9, 0.5),
        (0.75e-9, 0.5),
        (0.76e-9, 1),
        (1e-9, 1),
        (1.01e-9, 2),
        (5e-9, 5),
        (6e-9, 6),
        (7e-9, 10),
        (1e-7, 10),
    ],
)
def test_the_row_of_the_clock_period(cycle_seconds: float, period_ns: float) -> None:
    row = next(row for row in MULTIPLIER if row.period_ns == period_ns)
    answer = ask("intmultiplier", width=32, global_cycle_seconds=cycle_seconds)
    assert answer.action("multiply").value == pytest.approx(row.dynamic_pJ)
    assert answer.action("leak").value == pytest.approx(row.idle_pJ * cycle_seconds * 1e9 / period_ns)
    assert answer.area_um2.value == pytest.approx(row.area_um2)


def test_a_period_without_a_row_takes_the_first() -> None:
    answer = ask("regfile", width=1, depth=1, global_cycle_seconds=0.5e-9)
    assert answer.action("read").value == pytest.approx(REGISTER[0].dynamic_pJ)
    assert answer.action("leak").value == pytest.approx(REGISTER[0].idle_pJ / 2)


@pytest.mark.parametrize("table", [ADDER, MULTIPLIER, REGISTER, COMPARATOR])
def test_tables_are_in_order_of_the_period(table: tuple[Row, ...]) -> None:
    periods = [row.period_ns for row in table]
    assert periods == sorted(set(periods))
    assert all(row.dynamic_pJ > row.idle_pJ > 0 and row.area_um2 > 0 for row in table)


@pytest.mark.parametrize(("node", "reference"), [(28, 40), (16, 40), (65, 45), (130, 45)])
def test_technology_scales_from_the_nearer_end_of_the_table(node: float, reference: float) -> None:
    here, there = ask("intmac", width=8), ask("intmac", width=8, technology=node)
    factor = scaling.energy_scale(reference, node)
    assert there.action("compute").value == pytest.approx(here.action("compute").value * factor)
    assert there.action("leak").value == pytest.approx(here.action("leak").value * factor)
    assert there.area_um2.value == pytest.approx(here.area_um2.value * scaling.area_scale(reference, node))
    assert "Stillmaker" in there.action("compute").provenance.scaling
    assert there.action("compute").provenance.confidence == "scaled"


def test_voltage_scales_from_the_nominal_one() -> None:
    nominal, same, low = (ask("intmac", width=8, voltage=volts) for volts in (None, 0.9, 0.7))
    assert same.action("compute").value == pytest.approx(nominal.action("compute").value)
    factor = scaling.energy_scale(45, 45, 0.9, 0.7)
    assert low.action("compute").value == pytest.approx(nominal.action("compute").value * factor)
    assert low.action("leak").value == pytest.approx(nominal.action("leak").value)
    with pytest.raises(InputError, match=r"voltage must lie in 0.6..1.2 V") as caught:
        ask("intmac", width=8, voltage=0.4)
    assert caught.value.key == "part.attributes.voltage"


def test_published_rows_are_published_and_scaled_ones_say_how() -> None:
    assert ask("intadder", width=32).action("add").provenance.confidence == "published"
    assert ask("intadder", width=32).action("add").provenance.scaling == "none"
    assert ask("intadder", width=8).action("add").provenance.scaling == "linear, 32 -> 8 bits"
    assert "Shao et al., ISCA 2014" in ask("intadder", width=8).action("add").provenance.source


@pytest.mark.parametrize(
    ("component_class", "attributes", "key"),
    [
        ("intmac", {}, "width"),
        ("intmac", {"width": 8, "technology": None}, "technology"),
        ("intmac", {"width": 8, "global_cycle_seconds": None}, "global_cycle_seconds"),
        ("regfile", {"width": 8}, "depth"),
        ("regfile", {"depth": 8}, "width"),
        ("flipflop_regfile", {"width": 8}, "depth"),
        ("fpmac", {"exponent": 8}, "mantissa"),
        ("fpmac", {"exponent": 11, "mantissa": 53}, "mantissa"),
    ],
)
def test_what_is_missing_or_wrong_is_named(component_class: str, attributes: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        ask(component_class, **attributes)
    assert caught.value.key == f"part.attributes.{key}"


def test_costs_add_and_multiply() -> None:
    one = aladdin.Costs(1, 2, 3)
    assert one + one == one * 2


# Horowitz, ISSCC 2014, 45 nm, 0.9 V.
@pytest.mark.parametrize(
    ("energy", "width", "energy_pJ"),
    [(add_pJ, 8, 0.03), (add_pJ, 32, 0.1), (multiply_pJ, 8, 0.2), (multiply_pJ, 32, 3.1)],
)
def test_horowitz_at_his_own_widths(energy: Callable[[int], float], width: int, energy_pJ: float) -> None:
    assert energy(width) == pytest.approx(energy_pJ)


def test_horowitz_as_the_cross_check_on_aladdin() -> None:
    """The two figures that the field quotes differ about fourfold (docs/energy.md)."""
    component = Component("mac", "intmac", {"technology": "45nm", "global_cycle_seconds": 1e-9, "width": 8})
    his = HOROWITZ["intmac"](component)
    assert his.action("compute").value == pytest.approx(0.23)
    ours = BUILTIN["intmac"](component)
    assert 3 < ours.action("compute").value / his.action("compute").value < 4
    assert "not modelled" in his.action("leak").provenance.scaling


def test_horowitz_refuses_a_voltage_without_a_law() -> None:
    component = Component("mac", "intmac", {"technology": "45nm", "width": 8, "voltage": 3.0})
    with pytest.raises(InputError, match="voltage must lie in"):
        HOROWITZ["intmac"](component)
