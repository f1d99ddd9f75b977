"""What zero weights are worth: nothing on the shipped designs, energy and time on the example that skips them."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from codesign.config import DEFAULT_ARCHITECTURES
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.accuracies import AccuracyRecord
from codesign.evaluation.hardware import LayerDensities, map_layers, simulate_model
from codesign.evaluation.record import Totals
from codesign.models.tracing import trace
from codesign.resources import examples_dir
from codesign.workloads.traffic import Fusion

EXAMPLE = str(examples_dir() / "sparse_weight_pe.yaml")


@cache
def totals(architecture: str, weights: float) -> Totals:
    """Of a small convolution with as many nonzero weights."""
    with torch.random.fork_rng(devices=[]):
        traced = trace(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Flatten(), nn.Linear(1024, 4)), (16, 8, 8))
    accelerator = load_accelerator(architecture)
    return simulate_model(
        accelerator,
        map_layers(accelerator, traced.layers[:1]),
        (),
        {layer.name: LayerDensities(0.5, weights) for layer in traced.layers},
        input_kind="clean",
        accuracy=AccuracyRecord("a", 1, 1, 1.0, 1.0),
        fusion=Fusion("fused"),
        mapping_file=lambda layer: layer,
    ).totals


@pytest.mark.parametrize("architecture", DEFAULT_ARCHITECTURES)
def test_no_shipped_design_saves_on_zero_weights(architecture: str) -> None:
    assert totals(architecture, 0.5) == totals(architecture, 1.0)


@pytest.mark.parametrize("weights", [0.5, 0.25])
def test_the_example_skips_zero_weights_and_does_not_store_them(weights: float) -> None:
    dense, sparse = totals(EXAMPLE, 1.0), totals(EXAMPLE, weights)
    assert sparse.macs == dense.macs
    assert dense.skipped_macs == 0
    assert sparse.skipped_macs == pytest.approx((1 - weights) * dense.macs, rel=0.01)
    assert sparse.energy_uJ < 0.85 * dense.energy_uJ
    assert sparse.latency_cycles <= dense.latency_cycles


def test_the_example_does_not_see_zero_inputs() -> None:
    assert totals(EXAMPLE, 1.0).actual_macs == totals(EXAMPLE, 1.0).macs
