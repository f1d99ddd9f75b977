"""A defended layer against the formula written out, and its gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.defenses.neni.gradients import GRADIENT_MODES, GradientMode, GradientSettings
from codesign.defenses.neni.layers import DefendedConv, DefendedLayer, DefendedLinear, LayerPlan
from codesign.defenses.neni.quantization import largest_code, row_scales
from codesign.defenses.neni.selection import NofM, Selector, Threshold, TopK
from codesign.defenses.neni.settings import BITS, Control, Precision
from codesign.errors import InputError


def plan(selector: Selector, k: int, precision: Precision = "none", control: Control = "neni") -> LayerPlan:
    return LayerPlan("layer", k, selector, 0.5, precision, False, control)


def conv(selector: Selector, precision: Precision = "none", control: Control = "neni", groups: int = 1) -> DefendedConv:
    generator = torch.Generator().manual_seed(5)
    base = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    base.weight.data = torch.randn(base.weight.shape, generator=generator)
    assert base.bias is not None
    base.bias.data = torch.randn(8, generator=generator)
    entries = torch.randint(-1, 2, (groups * 7, 4 // groups, 3, 3), generator=generator).float()
    layer = DefendedConv(base, plan(selector, 7, precision, control), entries)
    fill(layer, generator)
    return layer


def linear(selector: Selector, precision: Precision = "none", control: Control = "neni") -> DefendedLinear:
    generator = torch.Generator().manual_seed(6)
    base = nn.Linear(10, 6)
    base.weight.data = torch.randn(6, 10, generator=generator)
    base.bias.data = torch.randn(6, generator=generator)
    layer = DefendedLinear(
        base, plan(selector, 5, precision, control), torch.randint(-1, 2, (5, 10), generator=generator).float()
    )
    fill(layer, generator)
    return layer


def fill(layer: DefendedLayer, generator: torch.Generator) -> None:
    layer.approximation.data = torch.randn(layer.approximation.shape, generator=generator)
    layer.offset.data = torch.randn(layer.offset.shape, generator=generator)
    if layer.plan.precision != "none":
        rows = layer.approximation.data.flatten(1)[None]
        layer.scales.copy_(row_scales(rows, layer.bits).reshape(layer.scales.shape))


def reference(layer: DefendedLayer, patches: Tensor, weight: Tensor, bias: Tensor, keep: int) -> Tensor:
    """z' of one sample and group as METHODS has it: patches (positions, d) -> (n, positions), P and W~ as matrices."""
    projection, approximation = layer.projection.flatten(1), layer.approximation.detach().flatten(1)
    k = layer.plan.dimension
    projected = (math.sqrt(3 / k) * projection @ patches.T).T
    if layer.plan.precision != "none":
        bits = BITS[layer.plan.precision]
        rows = layer.scales.flatten(1)
        approximation = (approximation / rows).round().clamp(-largest_code(bits), largest_code(bits)) * rows
        scale = projected.abs().max() / largest_code(bits)
        projected = (projected / scale).round() * scale
    exact = weight.flatten(1) @ patches.T + bias[:, None]
    approximate = approximation @ projected.T + layer.offset.detach()[:, None]
    order = approximate.argsort(dim=0, descending=True)
    m = torch.zeros_like(exact).scatter(0, order[:keep], 1.0)
    return exact * m + approximate * (1 - m)


@pytest.mark.parametrize("precision", ["none", "int8", "int4", "int2"])
def test_a_convolution_equals_the_formula(precision: Precision) -> None:
    layer = conv(TopK(3), precision)
    x = torch.randn(3, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = layer(x)
        assert layer.bias is not None
        for sample in range(3):
            patches = F.unfold(x[sample : sample + 1], 3, padding=1, stride=2)[0].T
            expected = reference(layer, patches, layer.weight, layer.bias, 3).reshape(8, 5, 5)
            assert torch.allclose(found[sample], expected, atol=1e-4)


def test_a_linear_layer_equals_the_formula() -> None:
    layer = linear(TopK(2), "int4")
    x = torch.randn(4, 3, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = layer(x)
        assert layer.bias is not None
        for sample in range(4):
            expected = reference(layer, x[sample], layer.weight, layer.bias, 2).T
            assert torch.allclose(found[sample], expected, atol=1e-4)


def test_every_group_of_a_grouped_convolution_has_its_own_projection() -> None:
    layer = conv(Threshold(math.inf), groups=2)
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    halves = []
    for group in range(2):
        projected = F.conv2d(
            x[:, 2 * group : 2 * group + 2], layer.projection[7 * group : 7 * group + 7], stride=2, padding=1
        )
        halves.append(F.conv2d(projected * math.sqrt(3 / 7), layer.approximation[4 * group : 4 * group + 4]))
    expected = torch.cat(halves, dim=1) + layer.offset.reshape(-1, 1, 1)
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_many_samples_at_a_time_or_one_by_one_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = conv(TopK(4), "int4")
    x = torch.randn(6, 4, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = layer.approximate(x)
        monkeypatch.setattr("codesign.defenses.neni.layers._CACHED_VALUES", 1)
        assert layer.chunk(x) == 1
        assert torch.allclose(layer.approximate(x), whole, atol=1e-5)


@pytest.mark.parametrize("make", [conv, linear])
def test_with_every_neuron_essential_it_is_the_base_bit_for_bit(make) -> None:  # type: ignore[no-untyped-def]
    layer = make(TopK(99), "int4")
    x = torch.randn((3, 4, 9, 9) if make is conv else (3, 10), generator=torch.Generator().manual_seed(1))
    exact = layer.exact(x)
    assert torch.equal(layer(x), exact)
    assert torch.equal(make(TopK(1), "int4", "exact")(x), exact)
    assert torch.equal(make(TopK(1), "int4", "approximation")(x), layer.approximate(x))


def frozen(layer: DefendedLayer, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What straight-through differentiation holds constant: mask, rounding residual of Px, its scale, rounded W~."""
    with torch.no_grad():
        projected = layer.projected(x)
        scales = projected.flatten(1).abs().amax(1).reshape(-1, 1, 1, 1) / largest_code(layer.bits)
        residual = (projected / scales).round() * scales - projected
        weight = (layer.approximation / layer.scales).round().clamp(-7, 7) * layer.scales
        return layer.plan.selector.mask(layer.approximate(x), layer.axis), residual, scales, weight


def test_straight_through_gradients_equal_finite_differences() -> None:
    layer = conv(TopK(3), "int4").double()
    layer.gradient = GradientSettings("straight_through")
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 4, 5, 5, generator=generator, dtype=torch.float64)
    probe = torch.randn(2, 8, 3, 3, generator=generator, dtype=torch.float64)
    mask, residual, _, weight = frozen(layer, x)

    def smooth(pixels: Tensor) -> Tensor:
        projected = (layer.projected(pixels) + residual) * math.sqrt(3 / 7)
        approximate = F.conv2d(projected, weight) + layer.offset.reshape(-1, 1, 1)
        return (torch.where(mask, layer.exact(pixels), approximate) * probe).sum()

    pixels = x.clone().requires_grad_()
    value = (layer(pixels) * probe).sum()
    assert value.item() == pytest.approx(smooth(x).item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, pixels)
    step = 1e-5
    for index in torch.randperm(x.numel(), generator=generator)[:40].tolist():
        moved = torch.zeros(x.numel(), dtype=torch.float64)
        moved[index] = step
        moved = moved.reshape(x.shape)
        with torch.no_grad():
            numeric = (smooth(x + moved) - smooth(x - moved)) / (2 * step)
        assert gradient.flatten()[index].item() == pytest.approx(numeric.item(), rel=1e-5, abs=1e-7)


def gradient_of(layer: DefendedLayer, mode: GradientMode, x: Tensor, probe: Tensor) -> Tensor:
    layer.gradient = GradientSettings(mode)
    pixels = x.clone().requires_grad_()
    return torch.autograd.grad((layer(pixels) * probe).sum(), pixels)[0]


def test_modes_change_gradients_and_never_values() -> None:
    layer = conv(TopK(3), "int4")
    generator = torch.Generator().manual_seed(2)
    x, probe = torch.randn(2, 4, 5, 5, generator=generator), torch.randn(2, 8, 3, 3, generator=generator)
    with torch.no_grad():
        value = layer(x)
    found = {}
    for mode in GRADIENT_MODES:
        layer.gradient = GradientSettings(mode)
        assert torch.equal(layer(x.clone().requires_grad_()), value), mode
        found[mode] = gradient_of(layer, mode, x, probe)
    pixels = x.clone().requires_grad_()
    exact = torch.autograd.grad((layer.exact(pixels) * probe).sum(), pixels)[0]
    assert torch.allclose(found["bpda_exact"], exact, atol=1e-5)
    # As coded, rounding stops everything but the essential neurons' own gradient: the masking trap.
    mask = layer.plan.selector.mask(layer.approximate(x), 1)
    own = torch.autograd.grad((layer.exact(pixels) * probe * mask).sum(), pixels)[0]
    assert torch.allclose(found["as_coded"], own, atol=1e-5)
    assert len({tuple(gradient.flatten().tolist()) for gradient in found.values()}) == len(GRADIENT_MODES)


def test_an_unquantised_straight_through_gradient_is_the_coded_one() -> None:
    layer = conv(TopK(3))
    generator = torch.Generator().manual_seed(2)
    x, probe = torch.randn(2, 4, 5, 5, generator=generator), torch.randn(2, 8, 3, 3, generator=generator)
    assert torch.equal(gradient_of(layer, "as_coded", x, probe), gradient_of(layer, "straight_through", x, probe))


@pytest.mark.parametrize("selector", [TopK(3), NofM(2, 4), Threshold(0.3), TopK(8)])
def test_soft_masks_are_finite_for_every_selection(selector: Selector) -> None:
    layer = conv(selector, "int4")
    x, probe = torch.randn(2, 4, 5, 5), torch.ones(2, 8, 3, 3)
    for mode in ("soft_mask", "jittered_thresholds"):
        assert bool(torch.isfinite(gradient_of(layer, mode, x, probe)).all())


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(InputError, match="soft_mask"):
        GradientSettings("softmask")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="temperature"):
        GradientSettings("soft_mask", temperature=0)


def test_random_selection_keeps_the_number_and_changes_every_time() -> None:
    layer = conv(TopK(3), control="random")
    masks: list[Tensor] = []
    layer.mask_observer = masks.append
    x = torch.randn(2, 4, 9, 9)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        first, second = layer(x), layer(x)
        torch.manual_seed(0)
        assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert all(bool((mask.sum(1) == 3).all()) for mask in masks)


def test_noise_controls_have_the_planned_deviation() -> None:
    for control in ("gaussian", "uniform"):
        layer = conv(Threshold(math.inf), control=control)  # type: ignore[arg-type]
        layer.noise_std.copy_(torch.arange(1.0, 9.0))
        x = torch.randn(200, 4, 9, 9)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            noise = layer(x) - layer.exact(x)
        found = noise.transpose(0, 1).flatten(1).std(1)
        assert torch.allclose(found, torch.arange(1.0, 9.0), rtol=0.03)


def test_plain_quantisation_at_many_bits_is_the_base() -> None:
    layer = conv(TopK(1), control="quantized")
    x = torch.randn(2, 4, 9, 9)
    object.__setattr__(layer.plan, "control_bits", 20)
    fine = (layer(x) - layer.exact(x)).abs().max()
    object.__setattr__(layer.plan, "control_bits", 3)
    assert fine < 1e-3 < (layer(x) - layer.exact(x)).abs().max()


def test_a_layer_offers_its_modes_to_adaptive_attacks() -> None:
    layer = conv(TopK(3), "int4")
    assert ("as_coded", *layer.gradient_modes) == GRADIENT_MODES
    with layer.gradient_mode("bpda_exact"):
        assert layer.gradient.mode == "bpda_exact"
    assert layer.gradient.mode == "as_coded"
    assert conv(TopK(3), control="exact").gradient_modes == ()
