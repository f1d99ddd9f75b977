"""The waterfall of an evaluated model: sums over its layers that hold, and records with and without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.accelerator.engines import embedded
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.hardware import LayerDensities, map_layers, simulate_model
from codesign.evaluation.record import AccuracyRecord, HardwareRecord, WaterfallRecord
from codesign.evaluation.waterfall import summed, with_predictor
from codesign.models.layers import Layer, Operand
from codesign.workloads.traffic import Fusion

LAYERS = [
    Layer(
        "conv", "conv", (1, 1, 8, 4, 4, 4, 3, 3), Operand((4, 6, 6)), Operand((8, 4, 3, 3), "conv.weight"), (8, 4, 4)
    ),
    Layer("fc", "linear", (1, 1, 10, 32, 1, 1, 1, 1), Operand((1, 32)), Operand((10, 32), "fc.weight"), (1, 10)),
]
DENSITIES = {"conv": LayerDensities(0.5, 1.0), "fc": LayerDensities(0.25, 0.5)}


def simulated(architecture: str, engine: object = embedded.simulate) -> HardwareRecord:
    accelerator = load_accelerator(architecture)
    return simulate_model(
        accelerator,
        map_layers(accelerator, LAYERS),
        (),
        DENSITIES,
        input_kind="clean",
        accuracy=AccuracyRecord("clean", 1, 2, 0.1, 0.9),
        fusion=Fusion.FUSED,
        mapping_file=str,
        engine=engine,  # type: ignore[arg-type]
    )


def check_sums(part: WaterfallRecord) -> None:
    assert part.removable_macs - part.skipped_macs == sum(part.lost_macs.values())
    ideal = part.dense_cycles * (1 - part.skipped_macs / part.macs)
    assert part.cycles - ideal == pytest.approx(sum(part.lost_cycles.values()))
    ideal = part.dense_energy_uJ * (1 - part.removable_macs / part.macs)
    assert part.energy_uJ - ideal == pytest.approx(sum(part.lost_energy_uJ.values()))


@pytest.mark.parametrize("architecture", ["vector_pe_edge", "eyeriss_row_stationary", "systolic_weight_stationary"])
def test_losses_add_up_in_every_layer_and_the_model_is_their_sum(architecture: str) -> None:
    entry = simulated(architecture)
    parts = [row.waterfall for row in entry.layers]
    whole = entry.waterfall
    assert whole is not None
    for part, row in zip(parts, entry.layers, strict=True):
        assert part is not None
        check_sums(part)
        assert part.macs == row.macs
        assert part.cycles == row.latency_cycles  # no imbalance where only densities are known
        assert part.energy_uJ == pytest.approx(row.energy_uJ)
        assert part.skipped_macs == row.skipped_macs
        assert part.removable_macs - part.lost_macs["computed in vain"] == row.macs - row.actual_macs
    for key in ("macs", "removable_macs", "skipped_macs", "dense_cycles", "cycles", "dense_energy_uJ", "energy_uJ"):
        assert getattr(whole, key) == pytest.approx(sum(getattr(part, key) for part in parts))
    for key in ("lost_macs", "lost_cycles", "lost_energy_uJ"):
        for name, value in getattr(whole, key).items():
            assert value == pytest.approx(sum(getattr(part, key)[name] for part in parts))


def test_what_is_superfluous_is_the_share_of_macs_with_a_zero_operand() -> None:
    part = simulated("systolic_weight_stationary").layers[1].waterfall
    assert part is not None
    assert part.removable_macs == 320 - 320 // 8  # a quarter of the inputs and half of the weights are nonzero
    assert part.skipped_macs == 0  # the array looks at no zero
    assert part.energy_uJ == part.dense_energy_uJ
    assert part.not_modelled == ()


def test_skipping_with_densities_says_that_imbalance_is_not_known() -> None:
    whole = simulated("vector_pe_edge").waterfall
    assert whole is not None
    assert whole.skipped_macs > 0
    assert whole.not_modelled == ("imbalance",)


def test_another_engine_has_no_waterfall() -> None:
    entry = simulated("vector_pe_edge", lambda case, **_: embedded.simulate(case))
    assert entry.waterfall is None
    assert all(row.waterfall is None for row in entry.layers)


def test_the_predictor_is_a_loss_with_a_name() -> None:
    whole = simulated("vector_pe_edge").waterfall
    assert whole is not None
    predicted = with_predictor(replace(whole, not_modelled=("predictor",)), energy_uJ=3.0, cycles=7)
    assert predicted.lost_energy_uJ["predictor"] == predicted.energy_uJ - whole.energy_uJ == 3.0
    assert predicted.lost_cycles["predictor"] == predicted.cycles - whole.cycles == 7
    assert predicted.not_modelled == ()


def test_no_layers_have_no_waterfall() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        summed([])
