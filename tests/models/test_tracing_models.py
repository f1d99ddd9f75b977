"""Whole models: published totals, kinds of modules, models that cannot be traced, and that nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from layer_loops import operands
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from codesign.errors import InputError
from codesign.models.execution import run, verify
from codesign.models.tracing import GraphTrace, trace, trace_graph
from codesign.models.zoo import zoo_entry

PUBLISHED_GMACS = {
    # He et al. 2016 (arXiv:1512.03385), table 1, count 1.8 and 3.8 with the stride in the first 1x1 convolution;
    # torchvision's documentation gives 1.81, 4.09 (stride in the 3x3), 15.47, 0.30 and 17.56 for its networks.
    "resnet18": 1.8141,
    "resnet50": 4.0892,
    "mobilenet_v2": 0.3008,
    "vgg16": 15.4703,
    "vit_b_16": 17.5638,
}


@pytest.mark.parametrize("name", PUBLISHED_GMACS)
def test_published_totals(name: str) -> None:
    entry = zoo_entry(name)
    with torch.device("meta"):
        module = entry.build()
    traced = trace(module, entry.input_shape)
    assert round(traced.macs / 1e9, 4) == PUBLISHED_GMACS[name]
    weights = {layer.weights.parameter for layer in traced.layers if layer.weights.constant}
    assert weights <= set(module.state_dict()), "every weight is named by its state_dict key"


def test_attention_of_vit_b_16() -> None:
    """Per block: qkv, q k^T, softmax(...) v, projection, two layers of the MLP."""
    entry = zoo_entry("vit_b_16")
    with torch.device("meta"):
        traced = trace(entry.build(), entry.input_shape)
    block = [layer for layer in traced.layers if "encoder_layer_3." in layer.name]
    tokens, width, heads = 197, 768, 12
    assert [layer.macs for layer in block] == [
        tokens * width * 3 * width,
        heads * tokens * tokens * (width // heads),
        heads * tokens * tokens * (width // heads),
        tokens * width * width,
        tokens * width * 4 * width,
        tokens * width * 4 * width,
    ]


def check_samples_stay_apart(graph: GraphTrace, module: nn.Module, images: Tensor) -> None:
    """The operands of a sample in a batch are those that it has alone."""
    outputs, together = operands(graph, images)
    verify(graph, module, images, outputs)
    for sample in range(len(images)):
        _, alone = operands(graph, images[sample : sample + 1])
        for (site, ours, _), (_, theirs, _) in zip(together, alone, strict=True):
            assert tuple(theirs.shape[1:]) == site.layer.inputs.shape
            torch.testing.assert_close(ours[sample], theirs[0], rtol=1e-4, atol=1e-5)


def test_multihead_attention_of_torch() -> None:
    """It puts the batch second and folds tokens and batch into one axis: a sample's operands stay its own."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(x.flatten(1, 2))

    torch.manual_seed(0)
    module = Encoder().eval()
    graph = trace_graph(module, (2, 3, 8))
    names = [site.layer.name for site in graph.sites]
    attention = "encoder.self_attn.scaled_dot_product_attention"
    expected = ["self_attn.in_proj_weight", f"{attention}.qk", f"{attention}.av", "self_attn.out_proj"]
    assert names == [
        name if name.startswith("encoder") else f"encoder.{name}" for name in (*expected, "linear1", "linear2")
    ]
    check_samples_stay_apart(graph, module, torch.randn(3, 2, 3, 8))


class WindowAttention(nn.Module):
    """Attention in shifted windows, as Swin does it: windows share an axis with the batch, a mask is per window."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.register_buffer("mask", torch.randn(4, 1, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).roll((-1, -1), (1, 2))
        batch = x.shape[0]
        windows = x.view(batch, 2, 2, 2, 2, 4).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4)
        q, k, v = self.qkv(windows).reshape(-1, 4, 3, 2, 2).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2)
        scores = (scores.view(batch, 4, 2, 4, 4) + self.mask).view(-1, 2, 4, 4).softmax(-1)
        windows = (scores @ v).transpose(1, 2).reshape(-1, 4, 4)
        x = windows.view(batch, 2, 2, 2, 2, 4).permute(0, 1, 3, 2, 4, 5).reshape(batch, 4, 4, 4)
        return x.roll((1, 1), (1, 2))


def test_attention_in_shifted_windows() -> None:
    module = WindowAttention()
    graph = trace_graph(module, (4, 4, 4))
    shapes = [(site.layer.name, site.layer.inputs.shape) for site in graph.sites]
    assert shapes == [("qkv", (4, 4, 4)), ("matmul", (4 * 2, 4, 2)), ("matmul#2", (4 * 2, 4, 4))]
    check_samples_stay_apart(graph, module, torch.randn(3, 4, 4, 4))


def test_the_module_is_not_changed() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.ReLU(), nn.Dropout()))
    module[2].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [submodule.training for submodule in module.modules()]
    tensors = list(module.parameters())
    trace(module, (1, 6, 6))
    assert [submodule.training for submodule in module.modules()] == modes
    assert all(ours is theirs for ours, theirs in zip(module.parameters(), tensors, strict=True))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_a_pruned_layer_keeps_its_name() -> None:
    """torch.nn.utils.prune computes the weight from two tensors in every forward pass."""
    module = nn.Sequential(nn.Conv2d(2, 3, 3))
    prune.l1_unstructured(module[0], "weight", amount=0.5)
    (layer,) = trace(module, (2, 5, 5)).layers
    assert (layer.name, layer.weights.parameter, layer.weights.computed) == ("0", None, True)
    assert layer.weights.constant
    _, ((_, _, weights),) = operands(trace_graph(module, (2, 5, 5)), torch.randn(1, 2, 5, 5))
    assert torch.equal(weights, module[0].weight_orig * module[0].weight_mask)


def test_a_normalised_weight_keeps_its_name() -> None:
    (layer,) = trace(nn.Sequential(weight_norm(nn.Conv2d(2, 3, 3))), (2, 5, 5)).layers
    assert (layer.name, layer.weights.computed) == ("0", True)


def test_one_layer_under_two_names() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 2, 1)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    layers = trace(Shared(), (2, 3, 3)).layers
    assert [layer.name for layer in layers] == ["first", "second"]
    assert [layer.weights.parameter for layer in layers] == ["first.weight", "second.weight"]


def test_an_exported_program(tmp_path: Path) -> None:
    """A program with a dynamic batch, saved and loaded: the same layers as the module that it came from."""
    entry = zoo_entry("resnet20")
    module = entry.build().eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    assert trace(loaded, (3, 32, 32)).layers == trace(module, (3, 32, 32)).layers


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["resnet20", "vit_tiny_cifar"])
def test_a_program_in_core_operators(name: str) -> None:
    """Decomposed to ATen's core (convolution, addmm, bmm, ...): the same multiply-accumulates under other operators."""
    entry = zoo_entry(name)
    module = entry.build().eval()
    example = (torch.randn(2, *entry.input_shape),)
    program = torch.export.export(module, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
    found = trace(program.run_decompositions().module(), entry.input_shape)
    assert found.macs == trace(module, entry.input_shape).macs
    assert "aten.conv2d" not in {row.operator for row in found.coverage}


def test_a_program_for_one_batch_size_is_an_error() -> None:
    program = torch.export.export(nn.Conv2d(1, 1, 3), (torch.randn(4, 1, 5, 5),))
    with pytest.raises(InputError, match="batch"):
        trace(program.module(), (1, 5, 5))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=self.generator)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Branching(), r"data-dependent expression.*test_tracing_models\.py:\d+.*torch\.where"),
        (FixedBatch(), "specialized it to be a constant.*any batch size"),
        (Generator(), r"torch\.Generator"),
        (nn.Conv2d(4, 2, 3), "Conv2d must be traceable for an input of shape"),
    ],
    ids=["control flow", "fixed batch", "generator", "channels"],
)
def test_what_cannot_be_traced(module: nn.Module, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as caught:
        trace(module, (3, 8, 8))
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "torch's dump of the graph must not reach the terminal"


@pytest.mark.parametrize("shape", [(3, 8), (3, 0, 8), (3, 8.0, 8)])
def test_bad_input_shape(shape: object) -> None:
    with pytest.raises(InputError, match="channels, height"):
        trace(nn.ReLU(), shape)  # type: ignore[arg-type]


def test_a_model_that_counts_its_calls_is_found_out() -> None:
    """Python state is frozen in the graph, so that the graph is not the model."""

    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    module = Counting()
    graph = trace_graph(module, (1, 2, 2))
    images = torch.ones(1, 1, 2, 2)
    with pytest.raises(InputError, match="must compute what the model computes"):
        verify(graph, module, images, run(graph, images, lambda *_: None))


def test_steps_that_only_rounding_tells_apart_are_the_same_model() -> None:
    """What a kernel of another order of sums does in float32, and not in float64."""

    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            values = x.flatten(1)
            noisy = x.dtype == torch.float32 and not torch.compiler.is_exporting()
            return torch.floor(values + (1e-6 if noisy else 0.0))

    module = Steps()
    graph = trace_graph(module, (1, 2, 2))
    images = torch.full((3, 1, 2, 2), 1.0 - 2.0**-22)
    outputs = run(graph, images, lambda *_: None)
    assert not torch.equal(outputs[0], module(images))
    verify(graph, module, images, outputs)
