"""Recorded masks as actual data: their effectual multiply-accumulates are those counted one by one from the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from codesign.accelerator.model.events import Digit, scalar
from codesign.accelerator.model.survival import Survival
from codesign.accelerator.spec.density import DENSE, ActualData
from codesign.errors import InputError
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record
from codesign.masks.statistics import model_statistics
from codesign.masks.writing import MaskWriter
from codesign.models.tracing import trace
from codesign.workloads.masks import masked_problem


class Gram(nn.Module):
    """A product of two activations."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x.transpose(-1, -2)


MODULES = {
    "conv": (nn.Conv2d(4, 3, 3, padding=1), (4, 6, 6)),
    "conv, stride and dilation": (nn.Conv2d(4, 3, (2, 3), stride=(1, 2), dilation=(2, 1), padding=(2, 0)), (4, 6, 7)),
    "conv that leaves a rest": (nn.Conv2d(4, 2, 2, stride=4), (4, 7, 7)),
    "conv, groups": (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5)),
    "conv, one dimension": (nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 3, 3, padding=1)), (4, 3, 3)),
    "conv_transposed": (nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1), (4, 4, 4)),
    "linear": (nn.Linear(6, 5), (2, 3, 6)),
    "matmul": (Gram(), (2, 3, 6)),
}


def recorded(module: nn.Module, shape: tuple[int, ...], folder):
    values = torch.randn(3, *shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= torch.rand(parameter.shape, generator=torch.Generator().manual_seed(4)) < 0.6
    traced = trace(module, shape)  # type: ignore[arg-type]
    with MaskWriter(folder) as writer:
        record(module, traced, torch.relu(values).split(2), writer, input_kind="clean")
    return traced, MaskSet(folder)


def whole(problem) -> tuple[Digit, ...]:
    """One loop a dimension."""
    return tuple(Digit(0, d, bound, 1, False) for d, bound in enumerate(problem.bounds) if bound > 1)


@pytest.mark.parametrize("name", MODULES)
def test_effectual_share_is_that_of_the_masks(name, tmp_path):
    traced, masks = recorded(*MODULES[name], tmp_path / "masks")
    (layer,) = traced.layers
    (row,) = model_statistics(traced, masks, input_kind="clean")
    problem = masked_problem(layer, masks, input_kind="clean")
    survival = Survival(problem, whole(problem))
    both = survival.per_sample([scalar(0), scalar(1)])
    assert float(both.mean()) == pytest.approx(row.effectual_mac_share_exact, abs=1e-12)
    assert float(both.std()) == pytest.approx(row.effectual_mac_share_exact_std, abs=1e-12)
    assert float(survival.none_empty([scalar(1)])) == pytest.approx(row.nonzero_input_mac_share_exact, abs=1e-12)
    assert problem.densities[2] == DENSE
    few = masked_problem(layer, masks, input_kind="clean", samples=2).densities[1]
    assert isinstance(few, ActualData)
    assert few.samples == 2


@pytest.mark.parametrize("name", MODULES)
def test_outputs_that_are_wanted(name, tmp_path):
    """All outputs wanted: all of a plain layer's operations count; a transposed one cuts its border off."""
    module, shape = MODULES[name]
    traced, _ = recorded(module, shape, tmp_path / "plain")
    (layer,) = traced.layers
    wanted = np.ones((3, *layer.outputs), bool)
    folder = tmp_path / "wanted"
    with MaskWriter(folder) as writer:
        record(module, traced, torch.ones(3, *shape).split(3), writer, input_kind="clean")
        writer.stream(layer.name, "outputs", "clean", layer.outputs).append(wanted)
    problem = masked_problem(layer, MaskSet(folder), input_kind="clean")
    share = Survival(problem, whole(problem)).none_empty([scalar(2)])
    assert share == 1 if layer.kind != "conv_transposed" else 0 < share < 1


def test_masks_of_another_image_size_are_refused(tmp_path):
    module, _ = MODULES["conv"]
    _, masks = recorded(module, (4, 6, 6), tmp_path / "masks")
    other = trace(module, (4, 8, 8))
    with pytest.raises(InputError, match=r"\[4, 8, 8\].*\[4, 6, 6\]"):
        masked_problem(other.layers[0], masks, input_kind="clean")
