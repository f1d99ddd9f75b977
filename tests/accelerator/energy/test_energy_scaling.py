"""Technology scaling after Stillmaker & Baas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.energy.scaling import area_scale, energy_scale

NODES = st.floats(5, 180)


def test_published_ratios() -> None:
    assert energy_scale(45, 32) == pytest.approx(0.659340, rel=1e-5)  # as in Accelergy's published reference tables
    assert energy_scale(45, 45) == 1
    assert [area_scale(45, node) for node in (130, 90, 65, 32, 20, 16, 14, 10, 7)] == pytest.approx(
        [6.4, 2.8, 1.5, 0.46, 0.21, 0.19, 0.17, 0.1, 0.059]
    )


def test_polynomial_of_the_voltage() -> None:
    def factor(volts: float) -> float:  # 45 nm
        return 1.103 * volts**2 - 0.362 * volts + 0.2767

    assert energy_scale(45, 45, 0.9, 0.7) == pytest.approx(factor(0.7) / factor(0.9))


def test_between_nodes_linear_in_nanometres() -> None:
    at_45, at_32 = energy_scale(90, 45), energy_scale(90, 32)
    assert energy_scale(90, 40) == pytest.approx((8 * at_45 + 5 * at_32) / 13)
    assert area_scale(45, 38.5) == pytest.approx((1 + 0.46) / 2)


def test_beyond_the_nodes() -> None:
    assert energy_scale(7, 3.5) == pytest.approx(math.sqrt(0.5))
    assert area_scale(7, 3.5) == pytest.approx(0.5)
    assert energy_scale(130, 260) == pytest.approx(math.sqrt(2))
    assert area_scale(130, 260) == pytest.approx(2)


@given(start=NODES, middle=NODES, end=NODES)
def test_ratios_compose(start: float, middle: float, end: float) -> None:
    for scale in (energy_scale, area_scale):
        assert scale(start, start) == pytest.approx(1)
        assert scale(start, middle) * scale(middle, end) == pytest.approx(scale(start, end))


@given(small=NODES, large=NODES)
def test_a_smaller_node_takes_less(small: float, large: float) -> None:
    small, large = sorted((small, large))
    assert energy_scale(large, small) <= 1 + 1e-12
    assert area_scale(large, small) <= 1 + 1e-12


@given(low=st.floats(0.6, 1.2), high=st.floats(0.6, 1.2), node=NODES)
def test_more_voltage_takes_more(low: float, high: float, node: float) -> None:
    low, high = sorted((low, high))
    assert energy_scale(node, node, high, low) <= 1 + 1e-12


@pytest.mark.parametrize("volts", [0.5, 1.3, -1.0])
def test_voltages_where_the_polynomials_do_not_hold(volts: float) -> None:
    with pytest.raises(ValueError, match="voltage must lie in"):
        energy_scale(45, 45, 0.9, volts)
