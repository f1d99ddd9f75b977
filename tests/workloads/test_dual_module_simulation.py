"""The dual-module design: pipeline against a simulation tile by tile, masks against dense runs, parts that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_dual_module_lowering import conv, linear

from codesign.accelerator.spec.density import DENSE, Density
from codesign.errors import InputError
from codesign.evaluation.dual_module import DualLayer, DualModule, load_dual_module, pipelined
from codesign.evaluation.hardware import InfeasibleLayerError
from codesign.workloads.dual_module import Selection, dual_workload, expected_outputs, recorded_outputs


@pytest.fixture(scope="module")
def design() -> DualModule:
    return load_dual_module()


def simulated(design: DualModule, outputs: Density, dimension: int = 16, inputs: float | None = None) -> DualLayer:
    selection = Selection("top_k", 4)
    work = dual_workload(
        conv(16, 16, 8), dimension=dimension, bits=4, selection=selection, outputs=outputs, input_density=inputs
    )
    return design.simulate(work)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5).filter(any), st.integers(1, 9))
def test_the_pipeline_equals_a_simulation_tile_by_tile(times: list[int], tiles: int) -> None:
    done = [0] * len(times)
    for _ in range(tiles):
        ready = 0
        for stage, time in enumerate(times):
            ready = max(ready, done[stage]) + time
            done[stage] = ready
    assert pipelined(tuple(time * tiles for time in times), tiles) == done[-1]


def test_fewer_essential_neurons_cost_less(design: DualModule) -> None:
    found = [
        simulated(design, expected_outputs(conv(16, 16, 8), Selection("top_k", kept), kept / 16)) for kept in (16, 8, 2)
    ]
    assert [item.executed_macs / item.exact_macs for item in found] == pytest.approx([1, 0.5, 0.125], rel=0.01)
    energies = [item.energy_pJ["executor"] for item in found]
    assert energies[0] > energies[1] > energies[2]
    for part in ("projection", "approximate product", "parameters", "mask"):
        assert found[0].energy_pJ[part] == found[2].energy_pJ[part] > 0
    assert found[0].energy_pJ["merging"] == 0 < found[2].energy_pJ["merging"]
    assert all(item.total_energy_pJ == pytest.approx(sum(item.energy_pJ.values())) for item in found)


def test_recorded_masks(design: DualModule) -> None:
    layer = conv(16, 16, 8)
    everything = simulated(design, recorded_outputs(layer, np.ones((2, 16, 8, 8), dtype=bool)))
    dense = simulated(design, DENSE)
    assert everything.energy_pJ == pytest.approx(dense.energy_pJ)
    assert everything.stage_cycles == dense.stage_cycles
    scores = np.random.default_rng(0).random((3, 16, 8, 8))
    mask = scores.argsort(axis=1).argsort(axis=1) >= 12
    recorded = simulated(design, recorded_outputs(layer, mask))
    expected = simulated(design, expected_outputs(layer, Selection("top_k", 4), 0.25))
    assert recorded.executed_macs == expected.executed_macs
    assert recorded.total_energy_pJ == pytest.approx(expected.total_energy_pJ, rel=0.02)


def test_zero_inputs_and_masked_outputs_are_both_left_out(design: DualModule) -> None:
    outputs = expected_outputs(conv(16, 16, 8), Selection("top_k", 4), 0.25)
    found = simulated(design, outputs, inputs=0.5)
    assert found.executed_macs / found.exact_macs == pytest.approx(0.125, rel=0.02)


def test_latency_is_bound_by_what_it_says(design: DualModule) -> None:
    for dimension in (16, 144):
        found = simulated(design, expected_outputs(conv(16, 16, 8), Selection("top_k", 2), 0.125), dimension)
        longest = max(found.stage_cycles.values())
        assert found.latency_cycles >= max(longest, found.dram_cycles, found.buffer_cycles)
        assert found.latency_cycles <= sum(found.stage_cycles.values()) + found.dram_cycles + found.buffer_cycles
        known = {*found.stage_cycles, "dram bandwidth", "global_buffer bandwidth"}
        assert found.bound_by in known
    # A large k makes the speculator the bottleneck, DUET's first risk.
    assert found.stage_cycles["projection"] == longest > found.stage_cycles["executor"]


def test_a_linear_layer_and_a_depthwise_convolution(design: DualModule) -> None:
    for layer in (linear(), conv(16, 16, 8, groups=16)):
        work = dual_workload(layer, dimension=9, bits=4, selection=Selection("threshold"), outputs=DENSE)
        assert design.simulate(work).executed_macs == layer.macs
        assert design.selection_area_mm2(work) > 0


def test_a_projection_that_fits_nowhere_is_infeasible(design: DualModule) -> None:
    layer = conv(512, 512, 4)
    work = dual_workload(layer, dimension=299, bits=4, selection=Selection("threshold"), outputs=DENSE)
    with pytest.raises(InfeasibleLayerError, match="global_buffer"):
        design.simulate(work)


def test_parts_must_fit_together() -> None:
    with pytest.raises(InputError, match="must be DRAM"):
        load_dual_module("dual_module_projection")
    with pytest.raises(InputError, match="global_buffer"):
        load_dual_module(projection="vector_pe_edge")
