"""The faster copy answers and differentiates as the model does, or is not used."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_models import WinnersTakeAll, rounded
from torch import nn

from codesign.data.images import ImageSet
from codesign.robustness.attacks import APGD, L2, PGD, TargetedAPGD
from codesign.robustness.inference_copy import inference_copy
from codesign.robustness.streams import RandomStreams
from codesign.robustness.strided import StridedConv2d, gains


def images_of(count: int = 12, channels: int = 3, size: int = 12) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def settled(model: nn.Module) -> nn.Module:
    """In eval mode, its normalisations with statistics of their own."""
    draw = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.copy_(torch.randn(part.num_features, generator=draw))
            part.running_var.copy_(torch.rand(part.num_features, generator=draw) + 0.5)
            if part.affine:
                nn.init.normal_(part.weight, 1, 0.3, generator=draw)
                nn.init.normal_(part.bias, 0, 0.3, generator=draw)
    return model.eval()


class Residual(nn.Module):
    """A residual block between two other convolutions, with what may go wrong when its first normalisation is moved."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        self.kind = kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=kind == "bias")
            self.norm = nn.BatchNorm2d(8, affine=kind != "no affine", track_running_stats=kind != "no statistics")
            self.inner = nn.Conv2d(8, 8, 3, 1, 1, groups=4)
            self.inner_norm = nn.BatchNorm2d(8)
            self.head = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        y = torch.relu(self.norm(x))
        if self.kind == "before":  # the value before the normalisation is used too
            y = y + x
        z = torch.relu(self.inner_norm(self.inner(y)))
        if self.kind == "twice":
            z = z + torch.relu(self.norm(self.inner(z)))
        if self.kind == "view":
            return self.head(z.view(len(z), 8, -1).mean(2))  # type: ignore[no-any-return]
        return self.head((y + z).mean((2, 3)))  # type: ignore[no-any-return]


def slope(model: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    pixels = images.clone().requires_grad_(True)
    logits = model(pixels)
    weights = torch.linspace(-1, 1, logits.shape[1])
    return torch.autograd.grad((logits * weights).sum(), pixels)[0]


@pytest.mark.parametrize(
    ("kind", "normalisations"),
    [("plain", 0), ("bias", 0), ("no affine", 0), ("view", 0), ("no statistics", 1), ("twice", 2)],
)
def test_the_copy_answers_and_differentiates_alike(kind: str, normalisations: int) -> None:
    model, images = settled(Residual(kind)), images_of()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    shape = repr(model)
    copy = inference_copy(model, images)
    assert isinstance(copy, nn.Module)
    assert copy is not model
    assert sum(isinstance(part, nn.BatchNorm2d) for part in copy.modules()) == normalisations
    with torch.no_grad():
        torch.testing.assert_close(copy(images), model(images), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope(copy, images), slope(model, images), rtol=1e-4, atol=1e-6)
    # The model itself is as it was.
    assert repr(model) == shape
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(one.requires_grad and one.is_contiguous() for one in model.parameters())
    assert not any(part._forward_hooks for part in model.modules())


def test_a_value_used_before_its_normalisation_is_noticed() -> None:
    model = settled(Residual("before"))
    assert inference_copy(model, images_of()) is model


class Odd(nn.Module):
    """A convolution beside something that a copy must not have."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.kind = kind
        if kind == "generator":
            self.generator = torch.Generator().manual_seed(0)
        if kind == "hidden":
            self.parts = [nn.Conv2d(4, 4, 1)]
        if kind == "object":
            self.recorder = torch.utils.data.Sampler[int]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.convolution(images)
        if self.kind == "random":
            x = x + 0.1 * torch.randn_like(x)
        return x.mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["generator", "hidden", "object", "random"])
def test_a_model_that_a_copy_could_differ_from_is_left_as_it_is(kind: str) -> None:
    model = Odd(kind).eval()
    with torch.random.fork_rng(devices=[]):
        assert inference_copy(model, images_of()) is model


def test_hooks_modes_and_other_kinds_of_model_are_left_as_they_are(network: nn.Sequential) -> None:
    images = images_of(channels=1, size=8)
    hooked = deepcopy(network)
    hooked[0].register_forward_hook(lambda *_: None)
    modes = nn.Sequential(nn.Conv2d(1, 2, 3), WinnersTakeAll(0.5), nn.Flatten(), nn.Linear(72, 4)).eval()
    exported = torch.export.export(network, (images,)).module()
    dense = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    for model in (hooked, modes, rounded(network), exported, dense, lambda x: network(x)):
        assert inference_copy(model, images) is model
    assert inference_copy(network, images.double()) is network
    assert inference_copy(network, images) is not network


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(2, 3), st.integers(0, 3), st.integers(5, 14), st.integers(5, 14)
)
def test_the_gradient_of_a_strided_convolution(
    channels: int, size: int, stride: int, padding: int, height: int, width: int
) -> None:
    padding = min(padding, size // 2 + 1)
    draw = torch.Generator().manual_seed(size)
    with torch.random.fork_rng(devices=[]):
        plain = nn.Conv2d(channels, 5, size, stride, padding).double()
    images = torch.rand(2, channels, height, width, generator=draw, dtype=torch.float64).requires_grad_(True)
    assert gains(plain)
    answer, expected = StridedConv2d(plain)(images), plain(images)
    assert torch.equal(answer, expected)
    weights = torch.rand(expected.shape, generator=draw, dtype=torch.float64)
    (got,) = torch.autograd.grad((answer * weights).sum(), images)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), images)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 1},
        {"groups": 3},
        {"dilation": 2},
        {"padding_mode": "circular"},
        {"padding": (0, 1)},
        {"stride": (1, 2)},
    ],
)
def test_other_convolutions_are_left_alone(options: dict[str, Any]) -> None:
    assert not gains(nn.Conv2d(3, 6, 3, **{"stride": 2, "padding": 1, **options}))
    assert not gains(nn.Conv2d(16, 6, 3, 2))


@pytest.mark.parametrize(
    "attack", [PGD(eps=0.05, steps=8), APGD(eps=0.4, norm=L2(), steps=12), TargetedAPGD(eps=0.05, steps=8)]
)
def test_attacks_break_the_same_images_with_and_without_the_copy(
    network: nn.Sequential, bars: ImageSet, attack: Any
) -> None:
    pixels, labels = torch.from_numpy(bars.images).float() / 255, torch.from_numpy(bars.labels)
    streams = RandomStreams.of(0, len(labels))
    found = attack(network, pixels, labels, streams=streams)
    assert inference_copy(network, pixels) is not network
    plain = attack(lambda images: network(images), pixels, labels, streams=streams)
    assert torch.equal(found.success, plain.success)
    torch.testing.assert_close(found.images, plain.images, atol=1e-4, rtol=0)
