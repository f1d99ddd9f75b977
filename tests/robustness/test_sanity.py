from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.robustness.attacks import FGSM, PGD, Attack, AttackResult, Linf, Norm
from codesign.robustness.inference import Model
from codesign.robustness.runner import Runner
from codesign.robustness.sanity import Check, CheckId, check_attack, check_outcomes, check_per_image
from codesign.robustness.streams import RandomStreams

COUNT = 16


def no_note(note: str) -> None:
    raise AssertionError(note)


def runner_for(model: nn.Module, images: ImageSet) -> Runner:
    return Runner(model, images, seed=0, device=torch.device("cpu"), batch_size=32, note=no_note)


def checked(runner: Runner, attack: Attack, count: int = COUNT) -> dict[CheckId, Check]:
    clean, attacked = runner.clean(0, count), runner.attack(attack, 0, count).predictions
    return {check.id: check for check in check_attack(runner, attack, clean, attacked)}


@dataclass(frozen=True, kw_only=True)
class Capped(Attack):
    """Attacks only up to a radius and does nothing beyond it, as an attack with a step size of the wrong scale may."""

    norm: Norm = Linf()  # noqa: RUF009
    eps: float
    cap: float

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        if self.eps <= self.cap:
            return PGD(eps=self.eps, steps=5).perturb(model, images, labels, streams)
        return AttackResult(images, torch.zeros(len(images), dtype=torch.bool))


def test_a_sound_attack_passes(network: nn.Sequential, bars: ImageSet) -> None:
    runner = runner_for(network, bars)
    checks = checked(runner, PGD(eps=0.05, steps=5))
    assert {check.state for check in checks.values()} == {"passed"}
    labels = bars.labels[:COUNT]
    right = [
        int((runner.attack(PGD(eps=0.05, steps=5).with_eps(eps), 0, COUNT).predictions == labels).sum())
        for eps in (0.0, 0.025, 0.05, 0.2, 1.0)
    ]
    assert right[0] > right[2] > right[3] >= right[4] == 0
    assert checks[CheckId.EPS_MONOTONE].detail == (
        f"right of 16 images: {right[0]} at 0, {right[1]} at 0.025, {right[2]} at 0.05, {right[3]} at 51/255, 0 at 1"
    )


def test_an_attack_that_grows_weaker_is_noticed(network: nn.Sequential, bars: ImageSet) -> None:
    checks = checked(runner_for(network, bars), Capped(eps=0.3, cap=0.2))
    assert {one.value for one, check in checks.items() if check.state == "failed"} == {
        "EPS_MONOTONE",
        "FULL_RANGE_BREAKS",
    }
    assert checks[CheckId.EPS_MONOTONE].attack == "Capped(norm=Linf(), eps=0.3, cap=0.2)"


def test_a_model_that_changes_its_mind_fails_at_radius_zero(network: nn.Sequential, bars: ImageSet) -> None:
    class Noisy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = network(images + 0.3 * torch.randn_like(images))
            return logits

    checks = checked(runner_for(Noisy().eval(), bars), PGD(eps=0.05, steps=5))
    assert checks[CheckId.EPS_ZERO_IS_CLEAN].state == "failed"


def test_outcomes_that_contradict_each_other() -> None:
    labels = np.zeros(2000, np.int64)
    clean, attacked = labels.copy(), labels.copy()
    clean[:100] = attacked[:150] = 1
    claimed = attacked != labels
    attack = FGSM(eps=0.1)

    def states(claims: npt.NDArray[np.bool_], after: npt.NDArray[np.int64]) -> list[str]:
        return [check.state for check in check_outcomes(attack, labels, clean, after, claims)]

    assert states(claimed, attacked) == ["passed", "passed"]
    # Two in two thousand may be rounding, three are not.
    for wrong, expected in ((2, "passed"), (3, "failed")):
        claims = claimed.copy()
        claims[150 : 150 + wrong] = True
        assert states(claims, attacked) == ["passed", expected]
    better = attacked.copy()
    better[0] = 0
    assert states(better != labels, better) == ["failed", "passed"]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_not_called_a_pass(network: nn.Sequential, bars: ImageSet, count: int) -> None:
    assert check_per_image(runner_for(network, bars), count).state == "not_checked"


def test_steps_of_rounding_are_no_dependence_on_the_batch(bars: ImageSet) -> None:
    """Whole steps where float32 tells a batch of one from a larger one; in float64 both take the same step."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            means = images.mean(dim=(1, 2, 3)) * self.scale
            noise = 1e-7 * (len(images) - 1) if images.dtype == torch.float32 else 0.0
            return torch.stack([(means + noise > means).to(images.dtype), means], dim=1)

    class Centred(Steps):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images - images.mean())

    steps = check_per_image(runner_for(Steps().eval(), bars), 8)
    assert steps.state == "passed"
    assert "in float64" in steps.detail
    assert check_per_image(runner_for(Centred().eval(), bars), 8).state == "failed"


def test_one_image_is_enough_for_other_radii(network: nn.Sequential, bars: ImageSet) -> None:
    checks = checked(runner_for(network, bars), PGD(eps=0.05, steps=5), count=1)
    assert {check.state for check in checks.values()} == {"passed"}
