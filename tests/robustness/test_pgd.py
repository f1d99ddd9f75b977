"""PGD and FGSM against closed forms, against the formula written as a loop, and against their own promises."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import FGSM, L2, PGD, Attack, Linf, Norm
from codesign.robustness.streams import RandomStreams

norms = st.sampled_from([Linf(), L2()])


def tensors(images: ImageSet, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images.images).to(dtype) / 255, torch.from_numpy(images.labels)


def robust(attack: Attack, model: nn.Module, images: ImageSet, seed: int = 0) -> torch.Tensor:
    """Which images stand, bool (n,)."""
    pixels, labels = tensors(images)
    return ~attack(model, pixels, labels, streams=RandomStreams.of(seed, len(pixels))).success


class Linear(nn.Module):
    """Two classes, z = (0, w x + b): the margin of class 1 is w x + b."""

    def __init__(self, weight: torch.Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


def lowest_score(weight: torch.Tensor, bias: float, image: torch.Tensor, norm: Norm, eps: float) -> float:
    """min of w x' + b over the ball, for an image that the box does not touch: w x + b - eps * dual norm of w."""
    dual = weight.abs().sum() if norm.name == "Linf" else (weight * weight).sum().sqrt()
    return float(weight @ image.flatten() + bias - eps * dual)


@settings(deadline=None, max_examples=16)
@given(norms, st.integers(0, 10_000), st.sampled_from([1, 3, 20]), st.booleans())
def test_a_linear_model_is_attacked_to_the_closed_form(norm: Norm, seed: int, steps: int, random_start: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(48, generator=draw, dtype=torch.float64)
    images = torch.rand(12, 3, 4, 4, generator=draw, dtype=torch.float64) * 0.4 + 0.3
    eps = 0.05 if norm.name == "Linf" else 0.25
    if norm.name == "L2" and random_start:
        steps = 100  # on a sphere the way from a random start to the optimum is only ever nearly done
    # Half of the images are put just within reach and half just outside it.
    for place, image in enumerate(images):
        shift = -lowest_score(weight, 0.0, image, norm, eps) + (0.02 if place % 2 else -0.02)
        model = Linear(weight, shift).eval()
        attack = PGD(norm=norm, eps=eps, steps=steps, random_start=random_start)
        found = attack(model, image[None], torch.tensor([1]), streams=RandomStreams.of(seed, 1))
        assert bool(found.success) == (place % 2 == 0)
        if place % 2:
            reached = float(model(found.images)[0, 1].detach())
            assert reached == pytest.approx(lowest_score(weight, shift, image, norm, eps), abs=1e-5)


def plain_pgd(
    model: nn.Module,
    image: torch.Tensor,
    label: int,
    start: torch.Tensor,
    norm: str,
    eps: float,
    steps: int,
    size: float,
) -> bool:
    """One image, one run, as the formula reads: whether any iterate is misclassified."""
    current = start.clone()
    for step in range(steps + 1):
        current = current.detach().requires_grad_(True)
        logits = model(current[None])[0]
        if int(logits.argmax()) != label:
            return True
        if step == steps:
            return False
        loss = torch.logsumexp(logits, 0) - logits[label]
        (gradient,) = torch.autograd.grad(loss, current)
        with torch.no_grad():
            if norm == "Linf":
                current = current + size * gradient.sign()
                current = image + (current - image).clamp(-eps, eps)
            else:
                current = current + size * gradient / gradient.norm()
                change = current - image
                current = image + change * min(1.0, eps / float(change.norm()))
            current = current.clamp(0, 1)
    raise AssertionError("unreachable")


@pytest.mark.parametrize(("norm", "eps"), [(Linf(), 0.06), (L2(), 0.5)])
def test_the_formula_written_as_a_loop_breaks_the_same_images(
    network: nn.Sequential, bars: ImageSet, norm: Norm, eps: float
) -> None:
    double = deepcopy(network).double()
    images, labels = tensors(bars, torch.float64)
    attack = PGD(norm=norm, eps=eps, steps=7, random_start=False)
    found = attack(double, images, labels, streams=RandomStreams.of(0, len(images)))
    expected = [
        plain_pgd(double, image, int(label), image, norm.name, eps, 7, eps * 2.5 / 7)
        for image, label in zip(images, labels, strict=True)
    ]
    assert found.success.tolist() == expected
    # The comparison says something only where neither all nor none of the attacked images fall.
    assert 0.1 < np.mean(expected) < 0.9


def test_random_starts_break_as_many_as_independent_random_starts(network: nn.Sequential, bars: ImageSet) -> None:
    images, labels = tensors(bars)
    draw = torch.Generator().manual_seed(99)
    expected = 0
    for image, label in zip(images, labels, strict=True):
        start = (image + (torch.rand(image.shape, generator=draw) * 2 - 1) * 0.06).clamp(0, 1)
        wrong = int(network(image[None]).argmax()) != int(label)
        expected += wrong or plain_pgd(network, image, int(label), start, "Linf", 0.06, 10, 0.015)
    stand = int(robust(PGD(eps=0.06, steps=10), network, bars).sum())
    assert abs(stand - (len(bars) - expected)) <= 2


@settings(deadline=None, max_examples=25)
@given(norms, st.floats(0, 0.4), st.sampled_from(["ce", "dlr", "best"]), st.integers(1, 4), st.booleans())
def test_the_result_lies_in_ball_and_box_and_says_the_truth(
    network: nn.Sequential, bars: ImageSet, norm: Norm, eps: float, loss: str, steps: int, random_start: bool
) -> None:
    images, labels = tensors(bars.take(np.arange(30)))
    images[:5] = images[:5].round()  # pixels on the edges of the box
    attack = PGD(norm=norm, eps=eps, steps=steps, random_start=random_start, loss=loss)  # type: ignore[arg-type]
    found = attack(network, images, labels, streams=RandomStreams.of(1, 30))
    change = (found.images - images).double().flatten(1)
    size = change.abs().amax(dim=1) if norm.name == "Linf" else (change * change).sum(dim=1).sqrt()
    assert float(size.max()) <= eps + 1e-6 * math.sqrt(64)
    assert float(found.images.min()) >= 0.0
    assert float(found.images.max()) <= 1.0
    with torch.no_grad():
        assert torch.equal(network(found.images).argmax(dim=1) != labels, found.success)
        already_wrong = network(images).argmax(dim=1) != labels
    assert torch.equal(found.images[already_wrong], images[already_wrong])


@pytest.mark.parametrize("attack", [PGD(eps=0.0), PGD(eps=0.0, norm=L2(), restarts=3, loss="best"), FGSM(eps=0.0)])
def test_radius_zero_changes_nothing(network: nn.Sequential, bars: ImageSet, attack: Attack) -> None:
    images, labels = tensors(bars)
    found = attack(network, images, labels, streams=RandomStreams.of(0, len(images)))
    assert torch.equal(found.images, images)
    with torch.no_grad():
        assert torch.equal(found.success, network(images).argmax(dim=1) != labels)


def test_more_restarts_steps_and_losses_never_help_the_model(network: nn.Sequential, bars: ImageSet) -> None:
    for seed in range(3):
        few = robust(PGD(eps=0.05, steps=4, step_size=0.01), network, bars, seed)
        more = robust(PGD(eps=0.05, steps=4, step_size=0.01, restarts=4), network, bars, seed)
        longer = robust(PGD(eps=0.05, steps=9, step_size=0.01), network, bars, seed)
        dlr = robust(PGD(eps=0.05, steps=4, step_size=0.01, loss="dlr"), network, bars, seed)
        best = robust(PGD(eps=0.05, steps=4, step_size=0.01, loss="best"), network, bars, seed)
        assert not bool((more & ~few).any())
        assert not bool((longer & ~few).any())
        assert torch.equal(best, few & dlr)


def test_an_image_is_attacked_alike_in_every_batch(network: nn.Sequential, bars: ImageSet) -> None:
    images, labels = tensors(bars)
    attack = PGD(eps=0.05, steps=5, restarts=2)
    whole = attack(network, images, labels, streams=RandomStreams.of(7, len(images)))
    for low, high in ((0, 50), (50, 51), (51, 120)):
        part = attack(network, images[low:high], labels[low:high], streams=RandomStreams.of(7, high - low, low))
        assert torch.equal(part.success, whole.success[low:high])
        torch.testing.assert_close(part.images, whole.images[low:high], atol=1e-5, rtol=0)


def test_nothing_is_left_behind(network: nn.Sequential, bars: ImageSet) -> None:
    images, labels = tensors(bars)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    before = torch.get_rng_state()
    kept = images.clone()
    with torch.no_grad():
        found = PGD(eps=0.05, steps=3)(network, images, labels, streams=RandomStreams.of(0, len(images)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert not found.images.requires_grad
    assert all(one.grad is None and one.requires_grad for one in network.parameters())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_it_works_inside_inference_mode(network: nn.Sequential, bars: ImageSet) -> None:
    expected = robust(PGD(eps=0.05, steps=3), network, bars)
    with torch.inference_mode():
        assert torch.equal(robust(PGD(eps=0.05, steps=3), network, bars), expected)


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_fgsm_is_one_step_of_the_full_radius(network: nn.Sequential, bars: ImageSet, norm: Norm) -> None:
    images, labels = tensors(bars)
    with torch.no_grad():
        right = network(images).argmax(dim=1) == labels
    images, labels = images[right], labels[right]
    found = FGSM(norm=norm, eps=0.04)(network, images, labels, streams=RandomStreams.of(0, len(images)))
    pixels = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(pixels), labels), pixels)
    flat = gradient.flatten(1)
    step = flat.sign() if norm.name == "Linf" else flat / flat.norm(dim=1, keepdim=True)
    expected = (images + 0.04 * step.reshape(images.shape)).clamp(0, 1)
    with torch.no_grad():
        fooled = network(expected).argmax(dim=1) != labels
    assert torch.equal(found.success, fooled)
    assert 0 < int(fooled.sum()) < len(images)
    torch.testing.assert_close(found.images[fooled], expected[fooled], atol=2e-6, rtol=0)


def test_the_name_is_the_whole_configuration() -> None:
    attack = PGD(eps=8 / 255)
    assert repr(attack) == (
        "PGD(norm=Linf(), eps=0.03137254901960784, steps=20, step_size=0.00784313725490196, "
        "restarts=1, random_start=True, loss='ce')"
    )
    assert eval(repr(attack), {"PGD": PGD, "Linf": Linf}) == attack
    assert attack == PGD(eps=8 / 255, step_size=2 / 255)
    assert attack.configuration() == {
        "attack": "PGD",
        "norm": "Linf",
        "eps": 8 / 255,
        "steps": 20,
        "step_size": 2 / 255,
        "restarts": 1,
        "random_start": True,
        "loss": "ce",
    }
    assert attack.title == "PGD-20 Linf 8/255"
    assert PGD(eps=0.5, norm=L2(), steps=50, restarts=5, loss="best").title == "PGD-50 L2 0.5 x5 best"
    assert FGSM(eps=0.1).title == "FGSM Linf 0.1"
    assert hash(attack) == hash(PGD(eps=8 / 255))


def test_the_default_step() -> None:
    assert PGD(eps=0.3, steps=5).step_size == pytest.approx(0.15)
    assert PGD(eps=0.3, steps=10).step_size == PGD(eps=0.3, steps=100).step_size == pytest.approx(0.075)
    assert PGD(eps=0.3, steps=5).with_eps(0.1) == PGD(eps=0.1, steps=5, step_size=0.15 * 0.1 / 0.3)
    assert PGD(eps=0.1, step_size=0.02).with_eps(0.2).step_size == pytest.approx(0.04)
    assert PGD(eps=0.0).with_eps(0.2) == PGD(eps=0.2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"eps": -1 / 255}, "eps must be"),
        ({"eps": 0.1, "steps": 0}, "steps must be an integer >= 1"),
        ({"eps": 0.1, "steps": 2.5}, "steps must be an integer >= 1"),
        ({"eps": 0.1, "restarts": 0}, "restarts must be"),
        ({"eps": 0.1, "restarts": 2, "random_start": False}, "restarts without a random start"),
        ({"eps": 0.1, "step_size": 0}, "step_size must be positive"),
        ({"eps": 0.1, "step_size": float("nan")}, "step_size must be"),
        ({"eps": 0.1, "loss": "drl"}, "unknown loss.*did you mean dlr"),
    ],
)
def test_parameters_that_cannot_be(bad: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PGD(**bad)  # type: ignore[arg-type]


class Odd(nn.Module):
    """Returns something else than finite logits with a gradient."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(64, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(images.flatten(1))
        if self.kind == "cut":
            return logits.detach()
        if self.kind == "nan":
            return logits / 0.0 * 0.0
        if self.kind == "flat":
            return logits.flatten()
        # sqrt has an infinite slope at 0.
        return logits + (images * 0.0).flatten(1)[:, :4].sqrt()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "no gradient reaches the pixels"),
        ("nan", "logits must be finite.*for 4 of 4 images"),
        ("flat", r"logits of shape \(images, classes\).*got Tensor \(16,\) for 4 images"),
        ("steep", "gradient with respect to the pixels must be finite"),
    ],
)
def test_a_model_that_cannot_be_attacked(kind: str, message: str) -> None:
    model = Odd(kind).eval()
    images = torch.full((4, 1, 8, 8), 0.5)
    labels = torch.zeros(4, dtype=torch.int64)
    if kind in ("cut", "steep"):
        with torch.no_grad():
            labels = model(images).argmax(dim=1)
    with pytest.raises(InputError, match=message):
        PGD(eps=0.1)(model, images, labels, streams=RandomStreams.of(0, 4))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.full((2, 1, 8, 8), 200.0), torch.tensor([0, 1]), r"must lie in \[0, 1\] \(got 200 .. 200\)"),
        (torch.full((2, 1, 8, 8), -0.1), torch.tensor([0, 1]), r"must lie in \[0, 1\]"),
        (torch.full((2, 1, 8, 8), float("nan")), torch.tensor([0, 1]), "must be finite"),
        (torch.zeros((2, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1]), "divide uint8 pixels by 255"),
        (torch.zeros(2, 64), torch.tensor([0, 1]), "shape"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([0, 4]), r"labels must be in 0 .. 3.*got 0 .. 4"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([0.0, 1.0]), "labels must be int64"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([0]), r"labels must be int64 of shape \(2,\)"),
    ],
)
def test_inputs_that_cannot_be(
    network: nn.Sequential, images: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PGD(eps=0.1)(network, images, labels, streams=RandomStreams.of(0, 2))


def test_a_radius_for_another_scale_and_a_model_in_train_mode(network: nn.Sequential, bars: ImageSet) -> None:
    images, labels = tensors(bars)
    streams = RandomStreams.of(0, len(images))
    with pytest.raises(InputError, match="eps must be at most 1 in Linf"):
        PGD(eps=8)(network, images, labels, streams=streams)
    network[1].train()
    try:
        with pytest.raises(InputError, match=r"eval mode.*got in train mode: 1\); call model.eval"):
            PGD(eps=0.1)(network, images, labels, streams=streams)
    finally:
        network.eval()


def test_dlr_needs_three_classes() -> None:
    model = Linear(torch.ones(64), -10.0).eval()
    with pytest.raises(InputError, match="at least three classes"):
        PGD(eps=0.1, loss="dlr")(
            model, torch.full((1, 1, 8, 8), 0.5), torch.tensor([1]), streams=RandomStreams.of(0, 1)
        )


def test_dlr_finds_what_saturated_cross_entropy_cannot(network: nn.Sequential, bars: ImageSet) -> None:
    """Logits times 1000: in float32 softmax is exactly one-hot, and cross entropy has no gradient left."""

    class Scaled(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scaled: torch.Tensor = network(images) * 1000.0
            return scaled

    model = Scaled().eval()
    honest = int(robust(PGD(eps=0.06, loss="dlr"), network, bars).sum())
    fooled = int(robust(PGD(eps=0.06, loss="ce"), model, bars).sum())
    assert fooled > honest + 10
    assert int(robust(PGD(eps=0.06, loss="best"), model, bars).sum()) <= honest + 1
