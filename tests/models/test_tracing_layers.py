"""Every multiply-accumulate operator, against loops that really run: outputs and counts must be the operator's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_loops import execute, operands
from torch import Tensor, nn

from codesign.models.layers import Layer
from codesign.models.tracing import trace, trace_graph


class Functional(nn.Module):
    """A function of one tensor, optionally with a weight, as a module."""

    def __init__(self, function: Callable[..., Tensor], *weight_shape: int) -> None:
        super().__init__()
        self.function = function
        if weight_shape:
            self.weight = nn.Parameter(torch.randn(weight_shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight) if hasattr(self, "weight") else self.function(x)


def check_by_loops(module: nn.Module, input_shape: tuple[int, int, int]) -> list[Layer]:
    """Trace, run two samples, execute each layer by loops, and compare with what the operator itself gave."""
    torch.manual_seed(1)
    graph = trace_graph(module, input_shape)
    (outputs,), results = operands(graph, torch.randn(2, *input_shape))
    assert len(results) == len(graph.sites)
    site, inputs, weights = results[-1]
    for sample in range(2):
        weight = weights if site.layer.weights.constant else weights[sample]
        ours, macs = execute(site.layer, inputs[sample].numpy(), weight.numpy())
        assert macs == site.layer.macs
        theirs = outputs[sample].detach().numpy()
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)
    return [found.layer for found in graph.sites]


CONVOLUTIONS = {
    "plain": (nn.Conv2d(3, 4, 3, bias=False), (3, 6, 5)),
    "kernel 1x7, stride (1, 2)": (nn.Conv2d(2, 3, (1, 7), stride=(1, 2), padding=(0, 3), bias=False), (2, 4, 11)),
    "dilation 2": (nn.Conv2d(2, 3, 3, dilation=2, padding=2, bias=False), (2, 7, 6)),
    "groups between 1 and C": (nn.Conv2d(6, 4, 3, groups=2, bias=False), (6, 5, 4)),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4, padding=1, bias=False), (4, 5, 4)),
    "depthwise with multiplier": (nn.Conv2d(3, 6, 3, groups=3, bias=False), (3, 5, 4)),
    "same, odd": (nn.Conv2d(2, 3, 3, padding="same", bias=False), (2, 5, 4)),
    "same, even kernel": (nn.Conv2d(2, 3, (4, 2), padding="same", bias=False), (2, 5, 6)),
    "same, dilated": (nn.Conv2d(2, 2, 2, dilation=3, padding="same", bias=False), (2, 6, 5)),
    "valid": (nn.Conv2d(2, 3, 2, padding="valid", bias=False), (2, 5, 4)),
    "stride leaves a rest": (nn.Conv2d(2, 2, 2, stride=3, bias=False), (2, 9, 7)),
    "reflecting padding": (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect", bias=False), (2, 4, 5)),
    "transposed": (nn.ConvTranspose2d(3, 2, 3, bias=False), (3, 4, 3)),
    "transposed, stride": (
        nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 0), groups=2, bias=False),
        (4, 3, 4),
    ),
    "transposed, dilation": (nn.ConvTranspose2d(2, 2, 2, dilation=(2, 3), bias=False), (2, 3, 2)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(case: str) -> None:
    module, input_shape = CONVOLUTIONS[case]
    (layer,) = check_by_loops(module, input_shape)
    assert layer.inputs.shape[0] == input_shape[0]
    assert layer.weights.parameter == "weight"
    assert layer.weights.shape == tuple(module.weight.shape)
    assert layer.kind == ("conv_transposed" if isinstance(module, nn.ConvTranspose2d) else "conv")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_puts_the_odd_one_last() -> None:
    layer = trace(nn.Conv2d(1, 1, (4, 2), padding="same"), (1, 5, 5)).layers[0]
    assert layer.padding == ((1, 2), (0, 1))


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False),
        nn.Conv1d(4, 2, 3, padding="same", bias=False),
        nn.ConvTranspose1d(4, 3, 3, stride=2, padding=1, output_padding=1, bias=False),
    ],
    ids=["strided", "same", "transposed"],
)
def test_convolution_1d(module: nn.Module) -> None:
    """A 1-D layer has rows only: Q = S = 1."""
    *_, layer = check_by_loops(nn.Sequential(nn.Flatten(1, 2), module), (2, 2, 9))
    assert layer.bounds[5] == layer.bounds[7] == 1
    assert layer.inputs.shape == (4, 9)
    assert layer.stride[1] == layer.dilation[1] == 1
    assert layer.padding[1] == (0, 0)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A random 2-D convolution, plain or transposed, with an input that it accepts."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    inputs, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = [draw(st.integers(d * (k - 1) + 1, d * (k - 1) + 3)) for d, k in zip(dilation, kernel, strict=True)]
    if draw(st.booleans()):
        grown = [
            max(n, -(-(2 * p - d * (k - 1)) // s) + 1)  # so that the output keeps at least one row and column
            for n, p, d, k, s in zip(size, padding, dilation, kernel, stride, strict=True)
        ]
        module: nn.Module = nn.ConvTranspose2d(
            inputs, outputs, kernel, stride, padding, groups=groups, dilation=dilation, bias=False
        )
        return module, (inputs, grown[0], grown[1])
    module = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return module, (inputs, size[0], size[1])


@settings(max_examples=25, deadline=None)
@given(convolutions())
def test_any_convolution(case: tuple[nn.Module, tuple[int, int, int]]) -> None:
    (layer,) = check_by_loops(*case)
    assert layer.bounds[0] == 1


PRODUCTS = {
    "linear on 4-D": (nn.Linear(4, 5, bias=False), (6, 1, 5, 4)),
    "functional linear": (Functional(F.linear, 5, 4), (6, 1, 5, 4)),
    "matmul with a weight": (Functional(lambda x, w: x @ w, 4, 5), (6, 1, 5, 4)),
    "weight for each channel": (Functional(lambda x, w: x @ w, 2, 4, 5), (3, 2, 5, 4)),
    "q k^T": (Functional(lambda x: x @ x.transpose(-1, -2)), (3, 2, 3, 4)),
    "broadcast over heads": (Functional(lambda x: x @ x[:, :1].transpose(-1, -2)), (6, 1, 3, 4)),
    "vectors": (Functional(lambda x: x.flatten(1).unsqueeze(1) @ x.flatten(1).unsqueeze(2)), (1, 1, 1, 24)),
    "bmm": (Functional(lambda x: torch.bmm(x.flatten(0, 1), x.flatten(0, 1).mT).unflatten(0, (-1, 2))), (3, 2, 3, 4)),
    "baddbmm": (Functional(lambda x: torch.baddbmm(torch.zeros(1), x[:, 0], x[:, 1].mT)), (3, 1, 3, 4)),
    "einsum q k^T": (Functional(lambda x: torch.einsum("bhid,bhjd->bhij", x, x)), (3, 2, 3, 4)),
    "einsum, other order": (Functional(lambda x: torch.einsum("bhid,bhjd->bhij", x, x[:, :, :2])), (3, 2, 2, 4)),
    "einsum with a weight": (Functional(lambda x, w: torch.einsum("b...d,de->b...e", x, w), 4, 5), (6, 1, 5, 4)),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_product(case: str) -> None:
    module, bounds = PRODUCTS[case]
    shape = (1, 1, 24) if case == "vectors" else (2, 3, 4)
    *_, layer = check_by_loops(module, shape)
    assert layer.bounds == (*bounds, 1, 1, 1, 1)


def test_linear_on_vectors() -> None:
    *_, layer = check_by_loops(nn.Sequential(nn.Flatten(), nn.Linear(24, 5, bias=False)), (2, 3, 4))
    assert (layer.inputs.shape, layer.outputs, layer.macs) == ((24,), (5,), 120)
    assert layer.weights.parameter == "1.weight"


@pytest.mark.parametrize(
    ("module", "rows"),
    [
        (Functional(lambda x, w: w @ x, 5, 3), (2, 4)),
        (Functional(lambda x, w: torch.einsum("bchw,we", x, w), 4, 5), (2, 3)),
    ],
    ids=["weight on the left", "einsum with implicit result"],
)
def test_a_weight_is_the_right_operand(module: nn.Module, rows: tuple[int, int]) -> None:
    """The weight comes second, if need be of the transposed product; here the operator's result is (2, 5, rows[1])."""
    graph = trace_graph(module, (2, 3, 4))
    (site,) = graph.sites
    assert site.layer.weights.parameter == "weight"
    assert site.layer.bounds[:3] == (rows[0] * rows[1], 1, 5)
    (outputs,), ((_, inputs, weights),) = operands(graph, torch.randn(2, 2, 3, 4))
    ours, _ = execute(site.layer, inputs[1].numpy(), weights.detach().numpy())
    np.testing.assert_allclose(ours.reshape(*rows, 5).transpose(0, 2, 1), outputs[1].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["plain", "causal", "boolean mask", "added mask", "scaled"])
def test_attention_is_two_products(form: str) -> None:
    settings_of = {
        "plain": {},
        "causal": {"is_causal": True},
        "boolean mask": {"attn_mask": torch.ones(3, 3, dtype=torch.bool).tril()},
        "added mask": {"attn_mask": torch.randn(3, 3)},
        "scaled": {"scale": 0.3},
    }
    module = Functional(lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1, **settings_of[form]))
    first, second = check_by_loops(module, (2, 3, 4))
    assert first.bounds[:4] == (3, 2, 3, 4)
    assert second.bounds[:4] == (3, 2, 4, 3)
    assert (first.name, second.name) == ("scaled_dot_product_attention.qk", "scaled_dot_product_attention.av")


def test_batched_query_key_product_of_vit() -> None:
    """(8, 12, 197, 64) x (8, 12, 64, 197): a converter is known that counts it 2156 times too small."""
    counted = sum(64 for _batch in range(8) for _head in range(12) for _query in range(197) for _key in range(197))
    (layer,) = trace(Functional(lambda x: x @ x.transpose(-1, -2)), (12, 197, 64)).layers
    assert 8 * layer.macs == counted == 238_442_496
    assert layer.bounds == (197, 12, 197, 64, 1, 1, 1, 1)


def test_linear_on_tokens_of_vit() -> None:
    """Linear on (8, 197, 768)."""
    counted = sum(768 for _batch in range(8) for _token in range(197) for _output in range(768))
    (layer,) = trace(nn.Sequential(nn.Flatten(1, 2), nn.Linear(768, 768)), (1, 197, 768)).layers
    assert 8 * layer.macs == counted
    assert layer.inputs.shape == (197, 768)


def test_frames_in_the_batch_axis() -> None:
    """Frames folded into the batch: one sample is four images for the convolution."""

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.flatten(0, 1).unsqueeze(1)).unflatten(0, (-1, 4))

    (layer,) = check_by_loops(Frames(), (4, 5, 5))
    assert layer.bounds[0] == 4
    assert layer.inputs.shape == (4, 1, 5, 5)
