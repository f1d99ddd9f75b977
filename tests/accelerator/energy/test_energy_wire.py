"""Wires against the table that they come from."""

from __future__ import annotations

import pytest

from codesign.accelerator.energy import BUILTIN, Component
from codesign.accelerator.energy.registry import ask
from codesign.accelerator.energy.wire import wire_pJ_per_bit_mm
from codesign.errors import InputError


def bundle(**attributes: object) -> Component:
    return Component("bus", "wire", {"technology": "40nm", "width": 256, "length": 10_000, **attributes})


def test_keckler_2011_table_1() -> None:
    # 256 bits over 10 mm at 40 nm: 310 pJ, printed to two digits.
    assert ask(bundle(), BUILTIN).action("transfer_random").value == pytest.approx(310, rel=0.02)
    assert wire_pJ_per_bit_mm(40) == pytest.approx(0.240)
    assert wire_pJ_per_bit_mm(10) == pytest.approx(0.150)


def test_energy_is_linear_in_bits_distance_and_activity() -> None:
    one = ask(bundle(), BUILTIN).action("transfer").value
    assert ask(bundle(width=512), BUILTIN).action("transfer").value == pytest.approx(2 * one)
    assert ask(bundle(length=5_000), BUILTIN).action("transfer").value == pytest.approx(one / 2)
    assert ask(bundle(switching_activity=0.25), BUILTIN).action("transfer").value == pytest.approx(one / 2)


def test_it_says_what_it_assumed() -> None:
    provenance = ask(bundle(technology="28nm"), BUILTIN).action("transfer").provenance
    assert provenance.confidence == "scaled"
    assert "random data" in provenance.scaling
    assert ask(bundle(), BUILTIN).action("transfer").provenance.confidence == "published"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"technology": "65nm"}, "10 to 45 nm"),
        ({"length": None}, "depends on length"),
        ({"switching_activity": 1.5}, "at most 1"),
    ],
)
def test_what_no_figure_covers_is_an_error(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(bundle(**changed), BUILTIN)
