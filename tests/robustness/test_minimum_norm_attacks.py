"""DeepFool, FAB and C&W on a linear model, where the smallest perturbation is known; NES, transfer and noise."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from attack_oracles import robust, share
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import (
    EOTPGD,
    L2,
    NES,
    PGD,
    Attack,
    CarliniWagner,
    DeepFool,
    Linf,
    Norm,
    RandomNoise,
    SourceModel,
    TargetedFAB,
    Transfer,
)
from codesign.robustness.streams import RandomStreams


def linear() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A linear model of four classes, images in the middle of the box, and the weights."""
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).double().eval()
    weight = torch.randn(4, 48, generator=draw, dtype=torch.float64)
    with torch.no_grad():
        model[1].weight.copy_(weight)  # type: ignore[operator]
        model[1].bias.zero_()  # type: ignore[operator]
    images = torch.rand(20, 3, 4, 4, generator=draw, dtype=torch.float64) * 0.1 + 0.45
    return model, weight, images, model(images).argmax(1).detach()


def distances(weight: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Of each image to the nearest boundary: the gap of logits over the dual norm of the difference of weights."""
    apart = weight[None] - weight[labels][:, None]
    gap = -(apart * images.flatten(1)[:, None]).sum(2)
    dual = apart.abs().sum(2) if norm.name == "Linf" else apart.norm(dim=2)
    return (gap / dual).scatter(1, labels[:, None], torch.inf).amin(1)


@pytest.mark.parametrize(
    ("kind", "norm"),
    [(DeepFool, Linf()), (DeepFool, L2()), (TargetedFAB, Linf()), (TargetedFAB, L2()), (CarliniWagner, L2())],
)
def test_the_nearest_boundary_of_a_linear_model_is_found(kind: type[Attack], norm: Norm) -> None:
    model, weight, images, labels = linear()
    nearest = distances(weight, images, labels, norm)
    for place in range(0, 20, 4):
        one, label, distance = images[place : place + 1], labels[place : place + 1], float(nearest[place])
        for factor, falls in ((0.97, False), (1.06, True)):
            attack = kind(norm=norm, eps=distance * factor)
            found = attack(model, one, label, streams=RandomStreams.of(0, 1))
            assert bool(found.success) == falls, (place, factor)


def test_estimated_gradients_reach_nearly_what_true_ones_do(network: nn.Sequential, bars: ImageSet) -> None:
    fine = NES(eps=0.05, steps=12, pairs=300, sigma=0.002)
    gradient = PGD(eps=0.05, steps=12, step_size=0.05 / 4, random_start=False, loss="dlr")
    assert share(robust(fine, network, bars)) <= share(robust(gradient, network, bars)) + 0.03
    noise = share(robust(RandomNoise(eps=0.05, samples=5), network, bars))
    assert noise > share(robust(fine, network, bars)) + 0.1


def test_transfer_from_a_copy_and_from_a_stranger(network: nn.Sequential, bars: ImageSet) -> None:
    inner = EOTPGD(eps=0.05, steps=40, draws=1)
    stranger = deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in stranger.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    sources = (SourceModel("stranger", stranger), SourceModel("copy", deepcopy(network)))
    both = Transfer(eps=0.05, attack=inner, sources=sources)
    itself = share(robust(Transfer(eps=0.05, attack=inner, sources=sources[1:]), network, bars))
    assert itself == pytest.approx(share(robust(PGD(eps=0.05, steps=20), network, bars)), abs=0.02)
    assert share(robust(both, network, bars)) <= itself
    assert both.parts == ("stranger", "copy")
    assert sources[0].sha256 in repr(both)
    assert sources[0].sha256 != sources[1].sha256
    with pytest.raises(InputError, match="sources of different names"):
        Transfer(eps=0.05, attack=inner, sources=())


def test_a_random_model_is_attacked_through_its_mean(network: nn.Sequential, bars: ImageSet) -> None:
    class Noisy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = network(images + 0.1 * torch.randn_like(images))
            return logits

    model = Noisy().eval()
    pixels, labels = torch.from_numpy(bars.images).float() / 255, torch.from_numpy(bars.labels)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)

        def true(attack: Attack) -> float:
            moved = attack(model, pixels, labels, streams=RandomStreams.of(0, len(labels))).images
            return float(torch.stack([model(moved).argmax(1) == labels for _ in range(50)]).double().mean())

        single, mean = true(PGD(eps=0.05, steps=20)), true(EOTPGD(eps=0.05, steps=20, draws=8, chunk=4))
    assert mean < single - 0.05
