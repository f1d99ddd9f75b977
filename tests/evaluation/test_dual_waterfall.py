"""The waterfall of a defended layer on a dual-module design: every loss has a name, the predictor's included."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.accelerator.spec.density import StructuredNM
from codesign.evaluation.dual_module import DualModule, load_dual_module
from codesign.evaluation.dual_waterfall import dual_waterfall
from codesign.evaluation.record import WaterfallRecord
from codesign.models.layers import Layer, Operand
from codesign.workloads.dual_module import Selection, dual_workload, recorded_inputs, recorded_outputs

LAYER = Layer(
    name="conv",
    kind="conv",
    bounds=(1, 1, 32, 16, 8, 8, 3, 3),
    inputs=Operand((16, 8, 8)),
    weights=Operand((32, 16, 3, 3), "conv.weight"),
    outputs=(32, 8, 8),
    padding=((1, 1), (1, 1)),
)
SELECTION = Selection("top_k", 8)


@pytest.fixture(scope="module")
def design() -> DualModule:
    return load_dual_module()


def masks(samples: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Eight of 32 channels at every position, the first ones more often than the others; half of the inputs."""
    rng = np.random.default_rng(seed)
    worth = rng.random((samples, 32, 8, 8)) - np.linspace(0, 0.6, 32)[:, None, None]
    outputs = worth >= np.sort(worth, axis=1)[:, -8][:, None]
    return outputs, rng.random((samples, *LAYER.inputs.shape)) < 0.5


def work(outputs, inputs=None):
    return dual_workload(LAYER, dimension=16, bits=4, selection=SELECTION, outputs=outputs, input_density=inputs)


def check(fall: WaterfallRecord) -> None:
    assert fall.removable_macs - fall.skipped_macs == sum(fall.lost_macs.values())
    ideal = fall.dense_cycles * (1 - fall.skipped_macs / fall.macs)
    assert fall.cycles - ideal == pytest.approx(sum(fall.lost_cycles.values()))
    ideal = fall.dense_energy_uJ * (1 - fall.removable_macs / fall.macs)
    assert fall.energy_uJ - ideal == pytest.approx(sum(fall.lost_energy_uJ.values()))


def test_recorded_masks(design: DualModule) -> None:
    outputs, inputs = masks()
    workload = work(recorded_outputs(LAYER, outputs), recorded_inputs(LAYER, inputs))
    found = design.simulate(workload)
    fall, realised = dual_waterfall(design, workload, found)
    check(fall)
    assert fall.not_modelled == ()
    assert fall.macs == LAYER.macs
    assert fall.macs - fall.removable_macs <= LAYER.macs // 4  # a quarter of the neurons, some with zero inputs
    assert fall.energy_uJ == pytest.approx(found.total_energy_pJ / 1e6)
    predictor = sum(energy for part, energy in found.energy_pJ.items() if part != "executor")
    assert fall.lost_energy_uJ["predictor"] == pytest.approx(predictor / 1e6)
    assert realised is not None
    assert realised.samples == 4
    assert realised.realised_cycles >= realised.expected_cycles
    assert realised.latency_cycles >= found.latency_cycles
    assert fall.cycles == pytest.approx(realised.latency_cycles)
    assert fall.lost_cycles["imbalance"] == realised.latency_cycles - found.latency_cycles


def test_expected_densities_know_no_imbalance(design: DualModule) -> None:
    workload = work(StructuredNM(8, 32, 2))
    found = design.simulate(workload)
    fall, realised = dual_waterfall(design, workload, found)
    check(fall)
    assert realised is None
    assert fall.cycles == found.latency_cycles
    assert fall.not_modelled == ("imbalance",)


def test_a_full_mask_saves_nothing_and_pays_for_the_predictor(design: DualModule) -> None:
    workload = work(recorded_outputs(LAYER, np.ones((1, 32, 8, 8), bool)))
    fall, _ = dual_waterfall(design, workload, design.simulate(workload))
    check(fall)
    assert fall.removable_macs == fall.skipped_macs == 0
    assert fall.energy_uJ > fall.dense_energy_uJ
    assert fall.energy_uJ - fall.dense_energy_uJ == pytest.approx(fall.lost_energy_uJ["predictor"])
