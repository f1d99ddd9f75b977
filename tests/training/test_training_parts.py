"""The pieces of a training run, each against what it must be by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.training.adversary import LinfPGD
from codesign.training.augmentation import augment
from codesign.training.config import TrainingConfig, make_training_config
from codesign.training.loop import generator_for, learning_rate
from codesign.training.measure import measure_accuracy

REQUIRED = {"model": "resnet8_fmnist", "data": "mnist", "method": "natural", "eps": 0.1, "epochs": 2}


def config(**changes: object) -> TrainingConfig:
    return make_training_config({**REQUIRED, **changes})


class Linear(nn.Module):
    """Logits (w . x, 0): the strongest attack within a ball is known in closed form."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weights).flatten(1).sum(1)
        return torch.stack([score, torch.zeros_like(score)], dim=1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), eps=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_attack_on_a_linear_model_reaches_the_optimum(seed: int, eps: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand((4, 1, 3, 3), generator=generator)
    weights = torch.randn((1, 3, 3), generator=generator)
    labels = torch.tensor([0, 1, 0, 1])
    # Steps of eps in 2 steps reach the far side of the ball from any start.
    found = LinfPGD(eps, max(eps, 1e-3), 2).perturb(Linear(weights), pixels, labels, generator)
    direction = torch.where(labels == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * weights.sign()
    best = (pixels + eps * direction).clamp(0, 1)
    assert torch.allclose(found, best, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), eps=st.floats(0, 1), step=st.floats(1e-3, 1), steps=st.integers(1, 4))
def test_attack_stays_in_ball_and_range(seed: int, eps: float, step: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
    pixels = torch.rand((3, 2, 2, 2), generator=generator)
    found = LinfPGD(eps, step, steps).perturb(network, pixels, torch.tensor([0, 1, 2]), generator)
    assert float((found - pixels).abs().max()) <= eps + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_attack_depends_on_its_generator_only() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    pixels, labels = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
    attack = LinfPGD(0.2, 0.01, 1)
    runs = [attack.perturb(network, pixels, labels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def crops_by_hand(image: np.ndarray, padding: int) -> list[np.ndarray]:
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    _, height, width = image.shape
    places = range(2 * padding + 1)
    crops = [padded[:, top : top + height, left : left + width] for top in places for left in places]
    return crops + [crop[:, :, ::-1] for crop in crops]


@settings(deadline=None, max_examples=20)
@given(padding=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 999))
def test_augmented_images_are_crops_of_the_padded_image(padding: int, flip: bool, seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(1, 256, (5, 2, 4, 6), dtype=np.uint8))
    out = augment(images, crop_padding=padding, flip=flip, generator=torch.Generator().manual_seed(seed))
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    for before, after in zip(images.numpy(), out.numpy(), strict=True):
        crops = crops_by_hand(before, padding)
        allowed = crops if flip else crops[: len(crops) // 2]
        assert any((crop == after).all() for crop in allowed)


def test_augmentation_uses_every_place_and_both_directions() -> None:
    image = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 1, 3, 4)
    out = augment(image.expand(2000, -1, -1, -1), crop_padding=1, flip=True, generator=torch.Generator().manual_seed(0))
    assert len({bytes(one.numpy().tobytes()) for one in out}) == 18


@given(steps=st.integers(2, 500), warmup=st.floats(0, 0.9), lr=st.floats(1e-4, 1))
def test_learning_rate_rises_then_falls(steps: int, warmup: float, lr: float) -> None:
    rates = [learning_rate(config(lr=lr, warmup_fraction=warmup), step, steps) for step in range(steps)]
    top = int(np.argmax(rates))
    assert all(0 < rate <= lr * (1 + 1e-9) for rate in rates)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs(top - warmup * steps) <= 1


def test_learning_rate_without_warmup_is_the_half_cosine() -> None:
    for step in range(10):
        expected = 0.2 * (1 + math.cos(math.pi * step / 10)) / 2
        assert learning_rate(config(lr=0.2, warmup_fraction=0.0), step, 10) == pytest.approx(expected)


def test_generators_differ_by_seed_and_purpose() -> None:
    keys = [(0, 1), (0, 2), (1, 1), (0, 1, 1), (0, 2, 1)]
    draws = [tuple(torch.rand(3, generator=generator_for(*key)).tolist()) for key in keys]
    assert len(set(draws)) == len(keys)
    assert tuple(torch.rand(3, generator=generator_for(0, 1)).tolist()) == draws[0]


def test_accuracy_counts_images_and_restores_the_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    model.train()
    images = torch.full((600, 1, 1, 1), 255, dtype=torch.uint8)
    labels = torch.tensor([0] * 450 + [1] * 150)
    done: list[int] = []
    accuracy = measure_accuracy(model, images, labels, progress=lambda n, _: done.append(n))
    assert (accuracy.correct, accuracy.images, accuracy.fraction) == (450, 600, 0.75)
    assert done[-1] == 600
    assert model.training
    assert int(model[2].num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs.*greater than or equal to 1.*got 0"),
        ({"epochs": 1.5}, "epochs.*integer"),
        ({"epochs": True}, "epochs.*integer"),
        ({"eps": -0.1}, "eps.*greater than or equal to 0"),
        ({"eps": 1.5}, "eps.*less than or equal to 1"),
        ({"eps": "8/0"}, "eps.*fraction"),
        ({"lr": float("nan")}, "lr.*finite"),
        ({"momentum": 1.0}, "momentum.*less than 1"),
        ({"method": "adverserial"}, "method.*natural"),
        ({"precision": "float16"}, "precision"),
        ({"weight_deacy": 1e-4}, "unknown key 'weight_deacy'; did you mean weight_decay"),
    ],
)
def test_bad_configs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**changes)


def test_all_missing_values_are_named() -> None:
    with pytest.raises(InputError, match=r"--data.*--method.*--eps.*--epochs"):
        make_training_config({"model": "resnet20"})


def test_step_sizes_follow_eps() -> None:
    made = config(eps="8/255", steps=10)
    assert made.attack_step_size == pytest.approx(2.5 * 8 / 255 / 10)
    assert made.evaluation_attack_step_size == pytest.approx(2.5 * 8 / 255 / 20)
    assert made.record()["step_size"] == made.attack_step_size
    assert config(step_size=0.01).attack_step_size == 0.01
