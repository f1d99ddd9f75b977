"""Every layer of four networks has a good legal mapping on every shipped architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from brute_force import complaints
from network_shapes import NETWORKS, unique_layers

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.heuristic import Effort, heuristic_mapping
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import load_design
from codesign.accelerator.spec.mapping import Mapping

# The parts of the dual-module design are for a predictor of small layers, not for whole networks.
SPECS = sorted(
    path for path in (Path(__file__).parents[3] / "arch_specs").glob("*.yaml") if "dual_module_" not in path.stem
)
QUICK = Effort(starts=6, improved=2, rounds=4, candidates=1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_all_layers_are_mapped(spec, network):
    design = load_design([spec])
    architecture = design.architecture
    energy = estimate(architecture, design.sparse)
    for problem in unique_layers(network):
        allowed = design.constraints(problem)
        found = heuristic_mapping(architecture, problem, allowed, energy, effort=QUICK)
        assert isinstance(found, Mapping), found
        assert complaints(architecture, problem, allowed, found, points=False) == []
        result = evaluate(architecture, problem, found, energy)
        assert isinstance(result, Result), result
        assert result.computes.algorithmic == problem.macs


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_a_large_convolution_runs_near_what_array_and_memory_allow(spec):
    """Cycles stay within a factor of the larger of two bounds: MACs over units, tensors over bandwidth."""
    design = load_design([spec])
    architecture = design.architecture
    energy = estimate(architecture, design.sparse)
    problem = unique_layers("vgg16")[4]
    found = heuristic_mapping(architecture, problem, design.constraints(problem), energy)
    assert isinstance(found, Mapping)
    result = evaluate(architecture, problem, found, energy)
    assert isinstance(result, Result)
    words = sum(problem.tensor_size(dataspace) for dataspace in problem.dataspaces)
    bandwidth = architecture.storage[-1].shared_bandwidth
    assert bandwidth is not None
    bound = max(problem.macs / architecture.compute.instances, words / bandwidth)
    assert bound <= result.cycles <= 1.6 * bound
