"""DRAM: energy per bit by type."""

from __future__ import annotations

import pytest

from codesign.accelerator.energy import Component
from codesign.accelerator.energy.dram import DRAM_TYPES, dram
from codesign.errors import InputError


# Accelergy 0.4 (6911d15), width 64: pJ per access.
@pytest.mark.parametrize(
    ("kind", "energy_pJ"), [("LPDDR4", 512.0), ("LPDDR", 2560.0), ("DDR3", 4480.0), ("GDDR5", 896.0), ("HBM2", 249.6)]
)
def test_figures_of_accelergy(kind: str, energy_pJ: float) -> None:
    answer = dram(Component("dram", "DRAM", {"width": 64, "type": kind}))
    for action in ("read", "write", "update"):
        assert answer.action(action).value == pytest.approx(energy_pJ)
    assert answer.action("leak").value == 0
    assert "not modelled" in answer.action("leak").provenance.scaling
    assert answer.area_um2.value == 0
    assert answer.action("read").provenance.confidence == "published"


def test_energy_is_linear_in_the_width() -> None:
    for kind, entry in DRAM_TYPES.items():
        answer = dram(Component("dram", "DRAM", {"width": 256, "type": kind}))
        assert answer.action("read").value == pytest.approx(256 * entry.energy_pJ_per_bit)
        assert entry.source


def test_there_is_no_default_type() -> None:
    with pytest.raises(InputError, match='give one of "LPDDR4", "LPDDR", "DDR3"') as caught:
        dram(Component("dram", "DRAM", {"width": 64}))
    assert caught.value.key == "dram.attributes.type"


def test_an_unknown_type_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"must be one of .*HMC.*did you mean LPDDR"):
        dram(Component("dram", "DRAM", {"width": 64, "type": "LPDDR5"}))


def test_the_width_is_needed() -> None:
    with pytest.raises(InputError, match="depends on width"):
        dram(Component("dram", "DRAM", {"type": "LPDDR4"}))
    with pytest.raises(InputError, match="type must be text"):
        dram(Component("dram", "DRAM", {"type": 4, "width": 64}))
