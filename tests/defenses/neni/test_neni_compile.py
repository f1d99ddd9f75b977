"""Defended layers under torch.compile: one graph, the values and gradients of eager mode."""

from __future__ import annotations

import pytest
import torch
from test_neni_layers import conv, linear
from torch import Tensor

from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.selection import NofM, Threshold, TopK


def answers(layer: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values without gradients, and the gradient of a sum of squares."""
    with torch.no_grad():
        values = layer(x)
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(inputs).square().sum(), inputs)
    return values, gradient


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "layer", [conv(TopK(3), "int4"), conv(Threshold(0.3), "int8", groups=2), linear(NofM(1, 3), "int2")], ids=str
)
def test_it_compiles_into_one_graph(layer: DefendedLayer) -> None:
    shape = (5, 4, 9, 9) if layer.axis == 1 else (5, 10)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.compiler.reset()
    # Without a code generator, so that no compiler needs to be installed.
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    for found, want in zip(answers(compiled, x), answers(layer, x), strict=True):
        torch.testing.assert_close(found, want)
    with layer.gradient_mode("soft_mask"):
        for found, want in zip(answers(compiled, x), answers(layer, x), strict=True):
            torch.testing.assert_close(found, want)
    torch.compiler.reset()
