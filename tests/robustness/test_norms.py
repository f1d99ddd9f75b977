from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.errors import InputError
from codesign.robustness.attacks.norms import L2, Linf, Norm, norm_from_name

SHAPE = (3, 4, 4)
norms = st.sampled_from([Linf(), L2()])
seeds = st.integers(0, 2**31)


def drawn(seed: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * scale


def measured(norm: Norm, perturbation: torch.Tensor) -> list[float]:
    """The norms by their formulas, one image at a time, in double precision."""
    flat = perturbation.double().flatten(1).tolist()
    if norm.name == "Linf":
        return [max(abs(value) for value in row) for row in flat]
    return [math.sqrt(math.fsum(value * value for value in row)) for row in flat]


@settings(deadline=None)
@given(norms, seeds, st.floats(0, 2), st.floats(0, 3))
def test_projection_ends_in_ball_and_box(norm: Norm, seed: int, eps: float, reach: float) -> None:
    images = drawn(seed, 2, *SHAPE)
    moved = images + (drawn(seed + 1, 2, *SHAPE) - 0.5) * reach
    result = norm.project(moved, images, eps)
    assert float(result.min()) >= 0.0
    assert float(result.max()) <= 1.0
    assert max(measured(norm, result - images)) <= eps + 1e-6 * math.sqrt(math.prod(SHAPE))


@settings(deadline=None)
@given(norms, seeds, st.floats(0, 1))
def test_projection_leaves_what_is_allowed(norm: Norm, seed: int, share: float) -> None:
    images = drawn(seed, 2, *SHAPE)
    moved = images + (drawn(seed + 1, 2, *SHAPE) - images) * share
    eps = max(measured(norm, moved - images)) * 1.0001 + 1e-6
    torch.testing.assert_close(norm.project(moved, images, eps), moved)


@settings(deadline=None)
@given(norms, seeds)
def test_radius_zero_is_the_image_itself(norm: Norm, seed: int) -> None:
    images = drawn(seed, 2, *SHAPE)
    assert torch.equal(norm.project(drawn(seed + 1, 2, *SHAPE, scale=3.0), images, 0.0), images)
    assert torch.equal(norm.project(images, images, 0.0), images)


@settings(deadline=None)
@given(norms, seeds, st.sampled_from([1e-30, 1e-12, 1.0, 1e12]))
def test_direction_has_length_one_and_gains_most(norm: Norm, seed: int, scale: float) -> None:
    gradient = (drawn(seed, 2, *SHAPE) - 0.5) * scale
    direction = norm.direction(gradient)
    assert measured(norm, direction) == pytest.approx([1.0, 1.0], abs=1e-5)
    # The gain along the steepest direction is the dual norm of the gradient: L1 for Linf, L2 for itself.
    dual = 1 if norm.name == "Linf" else 2
    gain = (direction.double() * gradient.double()).flatten(1).sum(dim=1)
    assert gain == pytest.approx(gradient.double().flatten(1).norm(p=dual, dim=1), rel=1e-5)


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_no_gradient_gives_no_step(norm: Norm) -> None:
    assert torch.equal(norm.direction(torch.zeros(2, *SHAPE)), torch.zeros(2, *SHAPE))


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_random_starts_fill_the_ball_evenly(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    shape, count, eps = (1, 1, 2), 4000, 0.3
    starts = torch.stack([norm.random_start(shape, eps, generator) for _ in range(count)])
    sizes = torch.tensor(measured(norm, starts))
    assert float(sizes.max()) <= eps * (1 + 1e-6)
    # In two dimensions a quarter of the ball lies within half of its radius, in either norm; 4 standard deviations.
    inner = float((sizes < eps / 2).double().mean())
    assert inner == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / count))
    assert starts.mean(dim=0).abs().max() < 4 * eps / math.sqrt(count)


def test_full_range_reaches_every_image() -> None:
    black, white = torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE)
    for norm in (Linf(), L2()):
        assert torch.equal(norm.project(white, black, norm.full_range(SHAPE)), white)
        assert norm.full_range(SHAPE) == pytest.approx(measured(norm, white - black)[0])


@pytest.mark.parametrize("eps", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_a_radius_that_is_none(eps: object) -> None:
    with pytest.raises(InputError, match="eps must be a finite number >= 0"):
        Linf().check_eps(eps)  # type: ignore[arg-type]


def test_a_radius_larger_than_the_pixel_range() -> None:
    with pytest.raises(InputError, match=r"at most 1 in Linf.*got 8.*did you mean 8/255 = 0.03137"):
        Linf().check_eps(8, SHAPE)
    L2().check_eps(6.9, SHAPE)
    with pytest.raises(InputError, match=r"at most 6\.9282 in L2"):
        L2().check_eps(7.0, SHAPE)


def test_a_radius_on_the_scale_of_the_other_norm_gets_a_remark() -> None:
    image = (3, 32, 32)
    assert Linf().advice(8 / 255, image) is None
    assert Linf().advice(0.3, image) is None
    assert "meant for L2" in str(Linf().advice(0.5, image))
    assert L2().advice(0.25, image) is None
    assert L2().advice(0.0, image) is None
    assert "meant for Linf" in str(L2().advice(8 / 255, image))


def test_names() -> None:
    assert norm_from_name("Linf") == Linf()
    assert norm_from_name("l2") == L2()
    with pytest.raises(InputError, match=r"unknown norm \(got linff\); did you mean linf"):
        norm_from_name("linff")
