"""Attacks beside a second implementation: the algorithm as its paper has it, in numpy, one image at a time.

Both get the same random numbers, so that robust accuracies can be held to the same point; the oracles share no code
with the attacks beyond the draws. The attacks of AutoAttack are held to the published code in test_published_attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from attack_oracles import share, tensors
from torch import nn

from codesign.data.images import ImageSet
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
    Square,
    Transfer,
)
from codesign.robustness.attacks.square import square_side
from codesign.robustness.streams import RandomStreams

Array = npt.NDArray[np.float64]
POINT = 0.01 + 1e-9


@pytest.fixture(scope="module")
def double(network: nn.Sequential) -> nn.Sequential:
    """The trained network in float64, where rounding turns no answer."""
    return deepcopy(network).double()


class Plain:
    """A model for one image at a time in numpy: logits, and gradients of functions of them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def logits(self, image: Array) -> Array:
        with torch.no_grad():
            found: Array = self.model(torch.from_numpy(image)[None])[0].numpy()
        return found

    def gradient(self, image: Array, weights: Array) -> Array:
        """Of the sum of the logits times ``weights``."""
        pixels = torch.from_numpy(image.copy()).requires_grad_(True)
        value = (self.model(pixels[None])[0] * torch.from_numpy(weights)).sum()
        found: Array = torch.autograd.grad(value, pixels)[0].numpy()
        return found

    def jacobian(self, image: Array, classes: int) -> Array:
        return np.stack([self.gradient(image, np.eye(classes)[one]) for one in range(classes)])


def margin(logits: Array, label: int) -> float:
    return float(np.delete(logits, label).max() - logits[label])


def clip(moved: Array, image: Array, norm: Norm, eps: float) -> Array:
    change = moved - image
    length = np.sqrt((change**2).sum())
    change = np.clip(change, -eps, eps) if norm.name == "Linf" else change * min(1.0, eps / max(length, 1e-30))
    return np.asarray(np.clip(image + change, 0, 1))


def unit(slope: Array, norm: Norm) -> Array:
    return np.sign(slope) if norm.name == "Linf" else slope / max(np.sqrt((slope**2).sum()), 1e-30)


def agree(
    attack: Attack,
    model: nn.Module,
    bars: ImageSet,
    plain: Callable[[Array, int, RandomStreams], bool],
    low: float = 0.1,
    high: float = 0.9,
) -> None:
    """Robust accuracies are within a point, and neither nearly all nor nearly none of the images stand."""
    pixels, labels = tensors(bars, torch.float64)
    found = attack(model, pixels, labels, streams=RandomStreams.of(0, len(labels)))
    stands = []
    for place, (image, label) in enumerate(zip(pixels.numpy(), labels.tolist(), strict=True)):
        wrong = int(Plain(model).logits(image).argmax()) != label
        stands.append(not wrong and not plain(image, label, RandomStreams.of(0, 1, place)))
    expected = float(np.mean(stands))
    assert abs(share(~found.success) - expected) <= POINT, (share(~found.success), expected)
    assert low < expected < high


def start(streams: RandomStreams, norm: Norm, eps: float, *purpose: int | str) -> Array:
    """The attack's own random start of the image, float64 (c, h, w)."""
    (draw,) = streams.generators(*purpose)
    return norm.random_start((1, 8, 8), eps, draw).double().numpy()


@pytest.mark.parametrize(("norm", "eps"), [(Linf(), 0.05), (L2(), 0.4)])
def test_pgd_with_restarts_on_the_best_of_both_losses(
    double: nn.Sequential, bars: ImageSet, norm: Norm, eps: float
) -> None:
    attack = PGD(norm=norm, eps=eps, steps=4, step_size=eps / 3, restarts=3, loss="best")

    def weights(logits: Array, label: int, loss: str) -> Array:
        """The derivative of the loss by the logits."""
        if loss == "ce":
            shares = np.exp(logits - logits.max())
            return np.asarray(shares / shares.sum() - np.eye(len(logits))[label])
        order = np.argsort(-logits)
        other = next(one for one in order if one != label)
        spread = logits[order[0]] - logits[order[2]] + 1e-12
        eye = np.eye(len(logits))
        over = (logits[other] - logits[label]) / spread
        return np.asarray((eye[other] - eye[label]) / spread - over * (eye[order[0]] - eye[order[2]]) / spread)

    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        model = Plain(double)
        for restart in range(3):
            for loss in ("ce", "dlr"):
                current = clip(image + start(streams, norm, eps, "pgd", restart), image, norm, eps)
                for _ in range(5):
                    logits = model.logits(current)
                    if int(logits.argmax()) != label:
                        return True
                    slope = model.gradient(current, weights(logits, label, loss))
                    current = clip(current + eps / 3 * unit(slope, norm), image, norm, eps)
        return False

    agree(attack, double, bars, plain)


def test_nes(double: nn.Sequential, bars: ImageSet) -> None:
    eps, steps, pairs, sigma = 0.05, 6, 5, 0.03
    few = bars.take(np.arange(100))

    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        model, current = Plain(double), image
        for step in range(steps + 1):
            if int(model.logits(current).argmax()) != label:
                return True
            (draw,) = streams.generators("nes", step)
            slope = np.zeros_like(image)
            for move in torch.randn((pairs, 1, 8, 8), generator=draw).double().numpy():
                above, below = (margin(model.logits(current + sign * sigma * move), label) for sign in (1, -1))
                slope += (above - below) * move
            current = clip(current + eps / 4 * np.sign(slope), image, Linf(), eps)
        return False

    agree(NES(eps=eps, steps=steps, pairs=pairs, sigma=sigma), double, few, plain)


def test_square_on_the_same_squares(double: nn.Sequential, bars: ImageSet) -> None:
    eps, queries = 0.05, 60

    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        model = Plain(double)
        (draw,) = streams.generators("square start", 0)
        stripes = np.where(torch.rand((1, 1, 8), generator=draw).numpy() < 0.5, -1, 1)
        (draw,) = streams.generators("square", 0, 0)
        drawn = torch.rand((queries, 3), generator=draw).numpy()
        best = np.clip(image + eps * stripes, 0, 1)
        most = margin(model.logits(best), label)
        for query in range(1, queries):
            if most > 0:
                return True
            side = square_side(query, 0.8, 8, 8)
            top, left = (int(number * np.float32(8 - side + 1)) for number in drawn[query, :2])
            tried = best.copy()
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            tried[window] = np.clip(image[window] + (eps if drawn[query, 2] >= 0.5 else -eps), 0, 1)
            reached = margin(model.logits(tried), label)
            if reached > most:
                best, most = tried, reached
        return most > 0

    agree(Square(eps=eps, queries=queries), double, bars, plain)


@pytest.mark.parametrize(("norm", "eps"), [(Linf(), 0.05), (L2(), 0.3)])
def test_deepfool(double: nn.Sequential, bars: ImageSet, norm: Norm, eps: float) -> None:
    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        model, change = Plain(double), np.zeros_like(image)
        for _ in range(21):
            current = np.clip(image + 1.02 * change, 0, 1)
            logits = model.logits(current)
            if int(logits.argmax()) != label:
                size = np.abs(current - image).max() if norm.name == "Linf" else np.sqrt(((current - image) ** 2).sum())
                return bool(size <= eps)
            slopes = model.jacobian(current, 4)
            ways = []
            for other in (one for one in range(4) if one != label):
                slope, gap = slopes[other] - slopes[label], abs(logits[other] - logits[label])
                if norm.name == "Linf":
                    ways.append((gap / np.abs(slope).sum(), gap / np.abs(slope).sum() * np.sign(slope)))
                else:
                    length = np.sqrt((slope**2).sum())
                    ways.append((gap / length, gap / length**2 * slope))
            change = change + min(ways, key=lambda way: float(way[0]))[1]
        return False

    agree(DeepFool(norm=norm, eps=eps, steps=20, classes=3), double, bars, plain)


def test_carlini_wagner(double: nn.Sequential, bars: ImageSet) -> None:
    eps, steps, searches, rate = 0.3, 30, 3, 0.02
    few = bars.take(np.arange(50))

    def search(image: Array, label: int, weight: float) -> tuple[bool, bool]:
        """One run of Adam for one weight: whether it found a point within eps, and whether any point at all."""
        model, crossed = Plain(double), False
        inner = torch.from_numpy(np.arctanh((2 * image - 1) * (1 - 1e-6))).requires_grad_(True)
        optimiser = torch.optim.Adam([inner], rate)
        for step in range(steps + 1):
            moved = (torch.tanh(inner) + 1) / 2
            change = moved - torch.from_numpy(image)
            logits = model.model(moved[None])[0]
            others = torch.cat([logits[:label], logits[label + 1 :]]).max()
            over = others - logits[label]
            if bool(over > 0):
                crossed = True
                if bool(change.norm() <= eps):
                    return True, True
            if step == steps:
                break
            optimiser.zero_grad()
            ((change**2).sum() + weight * (-over).clamp_min(0)).backward()
            optimiser.step()
        return False, crossed

    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        weight, low, high = 0.1, 0.0, np.inf
        for _ in range(searches):
            found, crossed = search(image, label, weight)
            if found:
                return True
            low, high = (low, weight) if crossed else (weight, high)
            weight = weight * 10 if np.isinf(high) else (low + high) / 2
        return False

    attack = CarliniWagner(eps=eps, steps=steps, searches=searches, step_size=rate)
    agree(attack, double, few, plain, high=0.95)


@pytest.mark.parametrize("places", ["ball", "corners"])
@pytest.mark.parametrize(("norm", "eps"), [(Linf(), 0.2), (L2(), 1.5)])
def test_noise(double: nn.Sequential, bars: ImageSet, norm: Norm, eps: float, places: Any) -> None:
    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        for sample in range(3):
            if places == "ball":
                moved = image + start(streams, norm, eps, "noise", sample)
            else:
                (draw,) = streams.generators("corners", sample)
                signs = np.where(torch.rand((1, 8, 8), generator=draw).numpy() < 0.5, -1.0, 1.0)
                moved = image + eps * unit(signs, norm)
            if int(Plain(double).logits(np.clip(moved, 0, 1)).argmax()) != label:
                return True
        return False

    agree(RandomNoise(norm=norm, eps=eps, samples=3, places=places), double, bars, plain, high=0.95)


def test_transfer(double: nn.Sequential, bars: ImageSet) -> None:
    stranger = deepcopy(double)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stranger.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64), alpha=0.05)
    eps = 0.06

    def plain(image: Array, label: int, streams: RandomStreams) -> bool:
        source, current = Plain(stranger), clip(image + start(streams, Linf(), eps, "pgd", 0), image, Linf(), eps)
        if int(source.logits(image).argmax()) != label:
            return False  # wrong as it is, so that its adversarial image is itself
        for _ in range(6):
            logits = source.logits(current)
            if int(logits.argmax()) != label:
                break
            shares = np.exp(logits - logits.max())
            slope = source.gradient(current, shares / shares.sum() - np.eye(4)[label])
            current = clip(current + eps / 2 * np.sign(slope), image, Linf(), eps)
        return int(Plain(double).logits(current).argmax()) != label

    inner = PGD(eps=eps, steps=5)
    # PGD hands on the first image that fools the source; where it stands, the one of the worst margin, not the last.
    agree(Transfer(eps=eps, attack=inner, sources=(SourceModel("stranger", stranger),)), double, bars, plain)


class Noisy(nn.Module):
    """Draws noise from a list of its own, so that two implementations can be given the same draws."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.network = network
        self.draw = torch.Generator()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(images.shape, generator=self.draw, dtype=images.dtype)
        logits: torch.Tensor = self.network(images + 0.1 * noise)
        return logits


def test_eot_pgd(double: nn.Sequential, bars: ImageSet) -> None:
    """As a loop over the whole batch, since a random model's draws are those of the batch."""
    eps, steps, draws = 0.05, 8, 4
    pixels, labels = tensors(bars, torch.float64)
    model = Noisy(double).eval()
    streams = RandomStreams.of(0, len(labels))
    model.draw.manual_seed(3)
    found = EOTPGD(eps=eps, steps=steps, draws=draws)(model, pixels, labels, streams=streams)

    def runs(count: int, moved: torch.Tensor) -> Iterator[torch.Tensor]:
        for _ in range(count):
            yield model(moved)

    model.draw.manual_seed(3)
    with torch.no_grad():
        right = torch.stack([one.argmax(1) == labels for one in runs(draws, pixels)]).any(0)
    inside, outside = labels[right], pixels[right]
    draw = [start(RandomStreams.of(0, 1, int(place)), Linf(), eps, "eot", 0) for place in torch.nonzero(right)]
    current = (outside + torch.from_numpy(np.stack(draw))).clamp(0, 1)
    best, best_loss = current, torch.full(inside.shape, -torch.inf, dtype=torch.float64)
    for step in range(steps):
        moved = current.clone().requires_grad_(True)
        losses = torch.stack(
            [nn.functional.cross_entropy(one, inside, reduction="none") for one in runs(draws, moved)]
        ).mean(0)
        (slope,) = torch.autograd.grad(losses.sum(), moved)
        better = losses.detach() > best_loss
        best = torch.where(better[:, None, None, None], current, best)
        best_loss = torch.where(better, losses.detach(), best_loss)
        size = eps / 4 * (0.55 + 0.45 * np.cos(np.pi * step / (steps - 1)))
        current = (outside + (current + size * slope.sign() - outside).clamp(-eps, eps)).clamp(0, 1)
    with torch.no_grad():
        wrong = [
            torch.stack([one.argmax(1) != inside for one in runs(2 * draws, moved)]).double().mean(0)
            for moved in (best, current)
        ]
    fooled = torch.maximum(*wrong) > 0.5
    expected = float((~fooled).sum()) / len(labels)
    assert abs(share(~found.success) - expected) <= POINT
    assert 0.1 < expected < 0.9
