"""From a trained network to a defended one: fit, wrapping, export, tracing, masks, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codesign.defenses.neni import NeniSettings, defend, gradient_mode, record_essential
from codesign.defenses.neni.distillation import observed, sweep
from codesign.defenses.neni.gradients import GradientSettings
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.wrapping import defended_layers, wrap
from codesign.errors import InputError
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record
from codesign.masks.writing import MaskWriter
from codesign.models.layers import TracedModel
from codesign.models.tracing import trace
from codesign.models.zoo.vit import VisionTransformer, ViTShape

SHAPE = (3, 12, 12)
NAMES = ["plain", "depthwise", "grouped", "hidden"]


def settings(**values: object) -> NeniSettings:
    return NeniSettings(**({"dimension": 6, "batch_size": 16} | values))  # type: ignore[arg-type]


def test_first_convolution_and_classifier_stay_exact(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    defended = defend(network, traced, images, settings(), generator)
    assert [layer.name for layer in defended.layers] == NAMES
    assert dict(defended.exact) == {"stem": "the first convolution", "head": "the classifier"}
    assert not any(isinstance(module, DefendedLayer) for module in network.modules())
    for layer in defended.layers:
        assert layer.quality is not None
        assert 0 < layer.quality.relative_error < 1.5
        assert 0 < layer.quality.recall <= 1
        assert layer.condition is not None
        assert layer.condition > 1
    assert json.loads(json.dumps(defended.record()))["exact_layers"] == dict(defended.exact)


def test_a_share_of_one_is_the_base_bit_for_bit(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    defended = defend(network, traced, images, settings(share=1.0), generator)
    with torch.no_grad():
        assert torch.equal(defended.module(images), network(images))


def test_ridge_is_the_least_squares_solution(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    """Against numpy's solver on all vectors at once, for a convolution, a grouped one and a linear layer.

    A ternary projection of nine values is singular too often for lambda = 0: the depthwise layer is left out.
    """
    choice = settings(ridge=0.0, precision="none", dimension=4, exact_layers=("stem", "depthwise", "head"))
    defended = defend(network, traced, images, choice, generator)
    fitted = images[:-3]
    seen: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}

    def observer(layer: DefendedLayer, x: Tensor, exact: Tensor) -> None:
        y, z = layer.projected(x), exact
        if layer.axis == 1:
            y, z = y.transpose(0, 1).flatten(1).T, z.transpose(0, 1).flatten(1).T
        seen[layer.plan.name] = (y.double().numpy() * (3 / 4) ** 0.5, z.double().numpy(), layer.groups)

    layers = list(defended_layers(defended.module))
    with observed(layers, observer, exact_stream=True):
        sweep(defended.module, fitted, len(fitted), "look", lambda *_: None)
    for layer in layers:
        y, z, groups = seen[layer.plan.name]
        for y_part, z_part, weight, offset in zip(
            np.split(y, groups, 1),
            np.split(z, groups, 1),
            layer.approximation.detach().flatten(1).chunk(groups),
            layer.offset.detach().chunk(groups),
            strict=True,
        ):
            expected = np.linalg.lstsq(np.c_[y_part, np.ones(len(y_part))], z_part, rcond=None)[0]
            assert np.allclose(weight.numpy(), expected[:-1].T, atol=2e-3), (layer.plan.name, y.shape)
            assert np.allclose(offset.numpy(), expected[-1], atol=2e-3)


def test_gradient_descent_comes_near_the_closed_form(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    errors = {}
    for solver in ("ridge", "gradient"):
        choice = settings(solver=solver, precision="none", epochs=60, learning_rate=0.02, dimension=4)
        defended = defend(network, traced, images, choice, copy.deepcopy(torch.Generator().manual_seed(1)))
        errors[solver] = {layer.name: layer.quality.relative_error for layer in defended.layers if layer.quality}
    for name in NAMES:
        assert errors["gradient"][name] < errors["ridge"][name] * 1.25 + 0.05


def test_a_second_pass_fits_what_the_defended_network_sees(
    network: nn.Module, traced: TracedModel, images: Tensor
) -> None:
    total = []
    for passes in (1, 2):
        choice = settings(passes=passes, share=0.2, precision="none", held_out=0.3)
        defended = defend(network, traced, images, choice, torch.Generator().manual_seed(1))
        total.append(sum(layer.quality.relative_error for layer in defended.layers if layer.quality))
    assert total[1] < total[0]


def test_a_calibrated_threshold_gives_about_its_share(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    defended = defend(network, traced, images, settings(selection="threshold", share=0.3), generator)
    for layer in defended.layers:
        assert layer.quality is not None
        assert layer.quality.essential_share == pytest.approx(0.3, abs=0.12)
        assert layer.bitops.exact == pytest.approx(layer.quality.essential_share * layer.bitops.undefended)


def test_shares_of_layers(network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator) -> None:
    defended = defend(network, traced, images, settings(layer_shares={"hidden": 0.1}), generator)
    shares = {layer.name: layer.quality.essential_share for layer in defended.layers if layer.quality}
    assert shares == {"plain": 0.5, "depthwise": 0.5, "grouped": 0.5, "hidden": 0.1}


@pytest.mark.parametrize("control", ["exact", "approximation", "random", "gaussian", "uniform", "quantized"])
def test_every_control_runs(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator, control: str
) -> None:
    defended = defend(network, traced, images, settings(control=control), generator)
    assert defended.randomised is (control in {"random", "gaussian", "uniform"})
    with torch.random.fork_rng(), torch.no_grad():
        first, second = defended.module(images), defended.module(images)
    assert torch.equal(first, second) is not defended.randomised
    assert torch.equal(first, network(images)) is (control == "exact")
    torch.export.export(defended.module, (images[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)


def test_it_stays_a_normal_module(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    module = defend(network, traced, images, settings(), generator).module
    state = module.state_dict()
    assert set(network.state_dict()) < set(state)
    clone = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in clone.parameters():
            tensor.zero_()
    clone.load_state_dict(state)
    with torch.no_grad():
        expected = module(images)
        assert torch.equal(clone(images), expected)
        assert torch.allclose(clone.double()(images.double()).float().argmax(1), expected.argmax(1))
    program = torch.export.export(module, (images[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
    with torch.no_grad():
        assert torch.allclose(program.module()(images), expected, atol=1e-5)


def test_the_tracer_and_the_recorder_take_it(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator, tmp_path: Path
) -> None:
    module = defend(network, traced, images, settings(), generator).module
    layers = {layer.name: layer for layer in trace(module, SHAPE).layers}
    for base in traced.layers:
        assert layers[base.name].bounds == base.bounds
    assert layers["plain.projection"].bounds[2] == 6
    with MaskWriter(tmp_path / "masks") as writer:
        assert record(module, trace(module, SHAPE), [images[:8]], writer, input_kind="clean") == 8
    density = MaskSet(tmp_path / "masks").tensor("plain.projection", "weights", None).entry.density
    assert density == pytest.approx(1 / 3, abs=0.1)


def test_essential_masks_are_those_of_the_forward_pass(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator, tmp_path: Path
) -> None:
    defended = defend(network, traced, images, settings(share=0.25), generator)
    with MaskWriter(tmp_path / "masks") as writer:
        assert record_essential(defended, torch.split(images, 25), writer, input_kind="adversarial") == 60
    masks = MaskSet(tmp_path / "masks")
    shapes = {layer.name: layer.outputs for layer in traced.layers}
    kept = {"plain": 3, "depthwise": 3, "grouped": 4, "hidden": 5}
    for name in NAMES:
        tensor = masks.tensor(name, "outputs", "adversarial")
        assert tensor.entry.sample_shape == shapes[name]
        assert (tensor.read().sum(axis=1) == kept[name]).all()
    first = next(layer for layer in defended_layers(defended.module) if layer.plan.name == "plain")
    with torch.no_grad():
        x = torch.relu(defended.module.get_submodule("stem")(images))
        expected = first.plan.selector.mask(first.approximate(x), 1)
    found = masks.tensor("plain", "outputs", "adversarial").read()
    assert (found != expected.numpy()).mean() < 1e-3
    assert all(layer.mask_observer is None for layer in defended_layers(defended.module))


def test_no_mask_where_nothing_is_selected(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator, tmp_path: Path
) -> None:
    defended = defend(network, traced, images, settings(control="uniform"), generator)
    with pytest.raises(InputError, match="no mask to record"):
        record_essential(defended, [images], None, input_kind="clean")  # type: ignore[arg-type]


def test_gradient_modes_hold_for_a_while(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    defended = defend(network, traced, images, settings(), generator)
    with defended.gradient_mode("soft_mask", temperature=0.5):
        assert all(layer.gradient.temperature == 0.5 for layer in defended_layers(defended.module))
    assert all(layer.gradient.mode == "as_coded" for layer in defended_layers(defended.module))
    with pytest.raises(InputError, match="defended networks"), gradient_mode(network, GradientSettings()):
        pass


def test_attention_projections_are_defended(generator: torch.Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(ViTShape(image=8, patch=4, layers=1, heads=2, width=12, mlp_width=16), 4).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    images = torch.rand(40, 3, 8, 8, generator=generator)
    traced = trace(network, (3, 8, 8))
    defended = defend(network, traced, images, settings(share=1.0, dimension=5), generator)
    with torch.no_grad():
        assert torch.equal(defended.module(images), network(images))
    names = {layer.name for layer in defended.layers}
    assert any("in_proj" in name for name in names)
    assert any(name.endswith("out_proj") for name in names)
    assert {reason for _, reason in defended.exact} >= {"a product of two activations", "the classifier"}
    trace(defended.module, (3, 8, 8))


def refused(network: nn.Module, traced: TracedModel, images: Tensor, **values: object) -> InputError:
    with pytest.raises(InputError) as caught:
        defend(network, traced, images, settings(**values), torch.Generator().manual_seed(0))
    return caught.value


def test_bad_input_is_named(network: nn.Module, traced: TracedModel, images: Tensor) -> None:
    assert "k must be at most d = 9 in depthwise" in str(refused(network, traced, images, dimension=10))
    error = refused(network, traced, images, selection="n_of_m", group=(4, 8))
    assert "M must divide the 12 output channels of plain" in str(error)
    assert "did you mean plain" in str(refused(network, traced, images, exact_layers=("plian",)))
    assert "no such layer" in str(refused(network, traced, images, layer_shares={"other": 0.5}))
    assert "both" in str(refused(network, traced, images, layer_shares={"stem": 0.5}))
    error = refused(network, traced, images[:3])
    assert "ridge system of hidden" in str(error)
    assert "condition number" in str(error)
    assert "at least 2 images" in str(refused(network, traced, images[:1]))
    assert "divide by 255" in str(refused(network, traced, images * 255))
    every = tuple(layer.name for layer in traced.layers)
    assert "at least one layer" in str(refused(network, traced, images, exact_layers=every))


class Odd(nn.Module):
    """Layers that cannot be defended: a weight of its own, a transposed convolution, a parametrised one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2)
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.conv(x)).mean(dim=(2, 3)) @ self.matrix
        out: Tensor = self.head(self.normed(x))
        return out


def test_unsupported_layers_are_listed_with_their_reasons(images: Tensor, generator: torch.Generator) -> None:
    network = Odd().eval()
    traced = trace(network, SHAPE)
    message = str(refused(network, traced, images, exact_layers=("conv",)))
    for reason in ("ConvTranspose2d", "matrix of Odd", "its weight is computed"):
        assert reason in message
    others = tuple(layer.name for layer in traced.layers if layer.name != "head")
    wrapped = wrap(network, traced, settings(exact_layers=others, dimension=2), generator)
    assert [target.layer.name for target, _ in wrapped.layers] == ["head"]


def test_a_real_network_is_unchanged_at_share_one(generator: torch.Generator) -> None:
    checkpoint = Path(__file__).parents[4] / "shared" / "data" / "models" / "resnet20-12fca82f.th"
    if not checkpoint.is_file():
        pytest.skip("the shared checkpoint is not there")
    from codesign.models.loading import load_model

    loaded = load_model("resnet20", checkpoint=checkpoint)
    traced = trace(loaded.module, loaded.input_shape)
    images = torch.rand(8, 3, 32, 32, generator=generator)
    defended = defend(loaded.module, traced, images, NeniSettings(share=1.0, dimension=16), generator)
    assert len(defended.layers) == 18
    with torch.no_grad():
        assert torch.equal(defended.module(images), loaded.module(images))
