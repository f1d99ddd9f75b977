"""evaluate_robustness: the record, its reproducibility, resuming, memory, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import FGSM, L2, PGD, Attack, AttackResult, Linf, Norm
from codesign.robustness.inference import Model
from codesign.robustness.progress import Progress
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.result import RobustnessResult
from codesign.robustness.streams import RandomStreams

ATTACKS = (PGD(eps=0.05, steps=5, restarts=2), FGSM(eps=0.05), PGD(eps=0.4, steps=5, norm=L2(), loss="dlr"))


def evaluate(model: nn.Module, images: ImageSet, attacks: Any = ATTACKS, **options: Any) -> RobustnessResult:
    return evaluate_robustness(model, images, attacks, **{"batch_size": 32, "seed": 0, "sanity_images": 6, **options})


def record(result: RobustnessResult) -> dict[str, Any]:
    """The record without what may differ between two equal runs."""
    plain = result.to_json()
    plain.pop("clean_seconds")
    for attack in plain["attacks"]:
        attack.pop("seconds")
    return plain


def perturbed(result: RobustnessResult, attack: int | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.concatenate([batch.images for batch in result.adversarial_batches(attack)])


def assert_same(first: RobustnessResult, second: RobustnessResult) -> None:
    assert record(first) == record(second)
    assert np.array_equal(first.clean_correct, second.clean_correct)
    for one, other in zip(first.attacks, second.attacks, strict=True):
        assert np.array_equal(one.correct, other.correct)
    for number in (*range(len(first.attacks)), None):
        assert np.array_equal(perturbed(first, number), perturbed(second, number))


class Wrapped(nn.Module):
    def __init__(self, network: nn.Sequential, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network = network
        self.call = forward

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.call(self.network, images)


def test_the_record_is_what_the_perturbed_images_say(network: nn.Sequential, bars: ImageSet) -> None:
    result = evaluate(network, bars)
    pixels = bars.images.astype(np.float32) / np.float32(255)
    with torch.no_grad():
        clean = network(torch.from_numpy(pixels)).argmax(1).numpy() == bars.labels
    assert np.array_equal(result.clean_correct, clean)
    assert result.clean.correct == clean.sum()
    assert result.clean.total == len(bars)
    everywhere = clean.copy()
    for number, outcome in enumerate(result.attacks):
        moved = perturbed(result, number)
        assert moved.dtype == np.float32
        with torch.no_grad():
            right = network(torch.from_numpy(moved)).argmax(1).numpy() == bars.labels
        assert np.array_equal(outcome.correct, right)
        assert outcome.accuracy.correct == right.sum()
        everywhere &= right
    assert result.robust is not None
    assert result.robust.correct == everywhere.sum()
    assert np.array_equal(result.robust_correct, everywhere)
    assert 0 < result.robust.correct < min(outcome.accuracy.correct for outcome in result.attacks[1:])
    assert result.trusted
    assert result.notes == ()
    assert json.loads(json.dumps(result.to_json())) == result.to_json()


def test_the_worst_image_of_each_comes_from_the_first_attack_that_breaks_it(
    network: nn.Sequential, bars: ImageSet
) -> None:
    result = evaluate(network, bars, (ATTACKS[1], ATTACKS[0]))
    batches = list(result.adversarial_batches())
    assert [batch.start for batch in batches] == [0, 32, 64, 96]
    chosen = np.concatenate([batch.attack for batch in batches])
    images = np.concatenate([batch.images for batch in batches])
    fgsm, pgd = result.attacks
    assert np.array_equal(chosen, np.where(fgsm.correct & ~pgd.correct, 1, 0))
    assert set(chosen) == {0, 1}
    with torch.no_grad():
        right = network(torch.from_numpy(images)).argmax(1).numpy() == bars.labels
    assert np.array_equal(right, result.robust_correct)


def test_same_seed_same_record_and_no_trace_in_the_global_state(network: nn.Sequential, bars: ImageSet) -> None:
    before, numpy_before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    first = evaluate(network, bars)
    torch.manual_seed(5)
    shifted = torch.get_rng_state()
    assert_same(first, evaluate(network, bars))
    assert torch.equal(torch.get_rng_state(), shifted)
    assert str(np.random.get_state()) == numpy_before  # noqa: NPY002
    torch.set_rng_state(before)
    assert not np.array_equal(perturbed(first, 0), perturbed(evaluate(network, bars, seed=1), 0))
    assert all(one.grad is None for one in network.parameters())


@pytest.mark.parametrize("batch_size", [1, 7, 120, 500])
def test_the_batch_size_changes_no_outcome(network: nn.Sequential, bars: ImageSet, batch_size: int) -> None:
    images = bars.take(np.arange(40))
    whole, parts = evaluate(network, images), evaluate(network, images, batch_size=batch_size)
    for one, other in zip(whole.attacks, parts.attacks, strict=True):
        assert np.array_equal(one.correct, other.correct)
    for number in range(len(ATTACKS)):
        np.testing.assert_allclose(perturbed(whole, number), perturbed(parts, number), atol=1e-5)


class Counter:
    """Counts the images that a model sees, and can end the run like Ctrl-C."""

    def __init__(self, module: nn.Module) -> None:
        self.images = 0
        self.events: list[Progress] = []
        self.stop_after: int | None = None
        self.handle = module.register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.images += len(inputs[0])

    def __call__(self, progress: Progress, /) -> None:
        self.events.append(progress)
        if self.stop_after == len(self.events):
            raise KeyboardInterrupt


@pytest.mark.parametrize("events", [2, 6, 9, 15, 18])
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(
    network: nn.Sequential, bars: ImageSet, tmp_path: Path, events: int
) -> None:
    model = deepcopy(network)
    counter = Counter(model)  # before the first run: a model with hooks is attacked without the faster copy
    whole = evaluate(model, bars, folder=tmp_path / "whole")
    counter.stop_after = events
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, bars, folder=tmp_path / "part", progress=counter)
    finished = len(list((tmp_path / "part").glob("batch_*.npz")))
    counter.stop_after, counter.images = None, 0
    resumed = evaluate(model, bars, folder=tmp_path / "part", progress=counter)
    again = counter.images
    counter.images = 0
    assert_same(whole, resumed)
    assert_same(whole, evaluate(model, bars, folder=tmp_path / "fresh", progress=counter))
    assert not list(tmp_path.glob("*/*.partial"))
    # Finished batches are not computed again.
    assert finished == 0 or again < counter.images - finished * 32


def test_a_finished_run_is_read_back(network: nn.Sequential, bars: ImageSet, tmp_path: Path) -> None:
    first = evaluate(network, bars, folder=tmp_path)
    second = evaluate(network, bars, folder=tmp_path)
    assert_same(first, second)
    assert first.to_json()["attacks"][0]["seconds"] == second.to_json()["attacks"][0]["seconds"]
    assert_same(first, evaluate(network, bars))
    with np.load(tmp_path / "batch_00000.npz") as arrays:
        assert arrays["adversarial"].shape == (3, 32, 1, 8, 8)


def test_a_folder_of_another_run_is_refused(network: nn.Sequential, bars: ImageSet, tmp_path: Path) -> None:
    small = bars.take(np.arange(8))
    evaluate(network, small, PGD(eps=0.05, steps=2), folder=tmp_path)
    other = deepcopy(network)
    with torch.no_grad():
        next(reversed(list(other.parameters())))[0] += 1e-6
    cases: list[tuple[nn.Module, ImageSet, Attack, dict[str, int], str]] = [
        (network, small, PGD(eps=0.05, steps=2), {"seed": 1}, "different: seed"),
        (network, small, PGD(eps=0.05, steps=2), {"batch_size": 4}, "different: batch_size"),
        (network, small, PGD(eps=0.05, steps=3), {}, "different: attacks"),
        (network, bars.take(np.arange(1, 9)), PGD(eps=0.05, steps=2), {}, "different: data_sha256"),
        (other, small, PGD(eps=0.05, steps=2), {}, "different: model_sha256"),
    ]
    for model, images, attack, options, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate(model, images, attack, folder=tmp_path, **options)


def test_damaged_folders(network: nn.Sequential, bars: ImageSet, tmp_path: Path) -> None:
    small = bars.take(np.arange(8))
    attack = PGD(eps=0.05, steps=2)
    evaluate(network, small, attack, folder=tmp_path)
    batch = tmp_path / "batch_00000.npz"
    batch.write_bytes(batch.read_bytes()[:200])
    with pytest.raises(InputError, match=r"batch_00000\.npz: a stored batch must be readable.*delete this file"):
        evaluate(network, small, attack, folder=tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json: .*readable JSON"):
        evaluate(network, small, attack, folder=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"needs its run\.json"):
        evaluate(network, small, attack, folder=tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError("Unable to allocate 4 GiB"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(network: nn.Sequential, bars: ImageSet, error: Exception) -> None:
    def limited(inner: nn.Module, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 9:
            raise error
        logits: torch.Tensor = inner(images)
        return logits

    counter = Counter(nn.Identity())
    result = evaluate(Wrapped(network, limited).eval(), bars, progress=counter)
    free = evaluate(network, bars)
    for one, other in zip(result.attacks, free.attacks, strict=True):
        assert np.array_equal(one.correct, other.correct)
    assert result.notes == (
        "a batch of 32 images did not fit the memory of cpu; going on with 16",
        "a batch of 16 images did not fit the memory of cpu; going on with 8",
    )
    assert [event.note for event in counter.events if event.note] == list(result.notes)


def test_an_image_that_does_not_fit_and_other_runtime_errors(network: nn.Sequential, bars: ImageSet) -> None:
    def fails(message: str) -> nn.Module:
        def call(inner: nn.Module, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(message)

        return Wrapped(network, call).eval()

    with pytest.raises(InputError, match="one image must fit memory"):
        evaluate(fails("not enough memory: you tried to allocate 9 bytes"), bars)
    with pytest.raises(InputError, match=r"model must accept float32 images of shape \(1, 1, 8, 8\) \(got boom\)"):
        evaluate(fails("boom"), bars)


def test_progress_counts_up_to_the_result(network: nn.Sequential, bars: ImageSet) -> None:
    counter = Counter(nn.Identity())
    result = evaluate(network, bars, progress=counter)
    events = counter.events
    assert [event.stage for event in events if event.stage != "attack"] == ["preflight", "sanity", "finished"]
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert {event.total for event in events} == {3 * 120}
    last = events[-1]
    assert result.robust is not None
    assert (last.done, last.images) == (360, 120)
    assert (last.clean_correct, last.robust_correct) == (result.clean.correct, result.robust.correct)
    assert all(event.robust_correct <= event.clean_correct <= event.images for event in events)


def test_modes_and_gradients_are_put_back(network: nn.Sequential, bars: ImageSet) -> None:
    model = deepcopy(network)
    model.train()
    model[2].eval()
    modes = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    result = evaluate(model, bars, ATTACKS[0])
    assert [flag.id for flag in result.raised] == ["TRAIN_MODE"]
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert np.array_equal(result.attacks[0].correct, evaluate(network, bars, ATTACKS[0]).attacks[0].correct)
    counter = Counter(nn.Identity())
    counter.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, bars, progress=counter)
    assert [part.training for part in model.modules()] == modes


def test_probabilities_are_measured_and_flagged(network: nn.Sequential, bars: ImageSet) -> None:
    squashed = Wrapped(network, lambda inner, images: inner(images).softmax(1)).eval()
    result = evaluate(squashed, bars, ATTACKS[0])
    assert "PROBABILITIES" in [flag.id for flag in result.raised]
    assert not result.trusted
    assert result.clean.correct == evaluate(network, bars, ()).clean.correct


def test_a_random_model_is_flagged_and_still_reproducible(network: nn.Sequential, bars: ImageSet) -> None:
    noisy = Wrapped(network, lambda inner, images: inner(images + 0.1 * torch.randn_like(images))).eval()
    before = torch.get_rng_state()
    first = evaluate(noisy, bars, PGD(eps=0.03, steps=3))
    torch.rand(3)
    second = evaluate(noisy, bars, PGD(eps=0.03, steps=3))
    torch.set_rng_state(before)
    assert_same(first, second)
    assert "RANDOMISED" in [flag.id for flag in first.raised]
    assert not first.trusted
    assert first.draws == 20
    assert any("means over 20 draws" in note for note in first.notes)
    shares = first.attacks[0].shares
    assert first.attacks[0].accuracy.value == pytest.approx(float(shares.mean()))
    assert np.array_equal(first.attacks[0].correct, shares >= 0.5)
    assert bool(((shares > 0) & (shares < 1)).any())
    assert "SUCCESS_VERIFIED" in [check.id for check in first.failed]


def test_masked_gradients_fail_the_full_range(network: nn.Sequential, bars: ImageSet) -> None:
    rounding = Wrapped(network, lambda inner, images: inner((images * 15).round() / 15)).eval()
    result = evaluate(rounding, bars, PGD(eps=0.05, steps=5, random_start=False))
    assert [flag.id for flag in result.raised] == ["ZERO_GRAD", "BLACKBOX_WINS"]
    assert {check.id for check in result.failed} >= {"FULL_RANGE_BREAKS", "RANDOM_SEARCH"}


def test_answers_that_depend_on_the_batch_are_noticed(network: nn.Sequential, bars: ImageSet) -> None:
    centred = Wrapped(network, lambda inner, images: inner(images - images.mean() + 0.5)).eval()
    result = evaluate(centred, bars, FGSM(eps=0.05))
    assert "PER_IMAGE" in [check.id for check in result.failed]


def test_sanity_can_be_left_out_but_is_not_called_passed(network: nn.Sequential, bars: ImageSet) -> None:
    result = evaluate(network, bars, ATTACKS[0], sanity_images=0)
    states = {check.id.value: check.state for check in result.checks}
    assert states == {
        "PER_IMAGE": "not_checked",
        "ROBUST_NOT_ABOVE_CLEAN": "passed",
        "SUCCESS_VERIFIED": "passed",
        "EPS_ZERO_IS_CLEAN": "not_checked",
        "EPS_MONOTONE": "not_checked",
        "FULL_RANGE_BREAKS": "not_checked",
        "MORE_STEPS": "not_checked",
        "MORE_RESTARTS": "not_checked",
        "RANDOM_SEARCH": "not_checked",
    }


@dataclass(frozen=True, kw_only=True)
class Faulty(Attack):
    """A user's attack that breaks a promise."""

    norm: Norm = Linf()  # noqa: RUF009
    eps: float
    fault: Literal["far", "dark", "shape", "nan", "boast", "none"]

    def perturb(
        self,
        model: Model,  # noqa: ARG002
        images: torch.Tensor,
        labels: torch.Tensor,  # noqa: ARG002
        streams: RandomStreams,  # noqa: ARG002
    ) -> AttackResult:
        success = torch.zeros(len(images), dtype=torch.bool)
        if self.fault == "far":
            images = (images + 2 * self.eps).clamp(0, 1)
        elif self.fault == "dark":
            images = images - self.eps
            images[0, 0, 0, 0] = -self.eps / 2
        elif self.fault == "shape":
            images = images[:, :, :4]
        elif self.fault == "nan":
            images = images * float("nan")
        elif self.fault == "boast":
            success = ~success
        return AttackResult(images, success)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("far", r"must stay within Linf 0\.1 .*too far"),
        ("dark", r"must stay within"),
        ("nan", "must return finite images"),
    ],
)
def test_what_an_attack_returns_is_measured(network: nn.Sequential, bars: ImageSet, fault: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(network, bars, Faulty(eps=0.1, fault=fault))


def test_what_an_attack_claims_is_verified(network: nn.Sequential, bars: ImageSet) -> None:
    result = evaluate(network, bars, Faulty(eps=0.1, fault="boast"))
    assert result.robust is not None
    assert result.robust.correct == result.clean.correct
    assert "SUCCESS_VERIFIED" in [check.id for check in result.failed]
    harmless = evaluate(network, bars, Faulty(eps=0.1, fault="none"))
    assert [check.id for check in harmless.failed] == ["FULL_RANGE_BREAKS", "RANDOM_SEARCH"]
    assert result.attacks[0].to_json()["configuration"] == {
        "attack": "Faulty",
        "norm": "Linf",
        "eps": 0.1,
        "fault": "boast",
    }


def test_no_attack_gives_clean_accuracy_only(network: nn.Sequential, bars: ImageSet, tmp_path: Path) -> None:
    for _ in range(2):
        result = evaluate(network, bars, (), folder=tmp_path)
        assert result.robust is None
        assert result.to_json()["robust"] is None
        assert result.clean.correct == evaluate(network, bars).clean.correct
        with pytest.raises(ValueError, match="no attack was run"):
            next(result.adversarial_batches())
    with pytest.raises(IndexError, match=r"0\.\.2"):
        next(evaluate(network, bars).adversarial_batches(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"batch_size": 2.0}, "batch_size must be an integer"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"sanity_images": -1}, "sanity_images must be"),
        ({"device": "gpu"}, r'device must be usable \(got gpu: .*; use "cpu"'),
        ({"attacks": "pgd"}, "attacks must be Attack objects"),
        ({"attacks": [FGSM(eps=0.1), FGSM(eps=0.1)]}, "attacks must differ"),
        ({"attacks": PGD(eps=8)}, "at most 1 in Linf"),
    ],
)
def test_bad_arguments(network: nn.Sequential, bars: ImageSet, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(network, bars, **options)


def test_bad_intervals_sets_and_models(network: nn.Sequential, bars: ImageSet) -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        evaluate(network, bars, interval="wald")
    with pytest.raises(InputError, match="at least one image"):
        evaluate(network, bars.take(np.arange(0)))
    ten = ImageSet("ten", bars.images, bars.labels + 1, tuple("abcdefghij"))
    with pytest.raises(InputError, match=r"labels must be in 0 .. 3, the model has 4 outputs.*got 1 .. 4"):
        evaluate(network, ten)
    colour = ImageSet("colour", bars.images.repeat(3, axis=1), bars.labels, bars.class_names)
    with pytest.raises(InputError, match=r"model must accept float32 images of shape \(1, 3, 8, 8\) \(got .*channels"):
        evaluate(network, colour)
    broken = deepcopy(network)
    with torch.no_grad():
        next(broken.parameters())[0] = float("inf")
    with pytest.raises(InputError, match="logits must be finite"):
        evaluate(broken, bars)
    cut = Wrapped(network, lambda inner, images: inner(images).detach()).eval()
    with pytest.raises(InputError, match="no gradient reaches the pixels"):
        evaluate(cut, bars)


def test_remarks(network: nn.Sequential, bars: ImageSet) -> None:
    more = ImageSet("six", bars.images, bars.labels, tuple("abcdef"))
    result = evaluate(network, more, FGSM(eps=0.5))
    assert result.notes[0] == "the model has 4 outputs, six has 6 classes"
    assert "a radius meant for L2?" in result.notes[1]
    large = ImageSet("large", np.tile(bars.images, (1, 1, 2, 2)), bars.labels, tuple("abcd"))
    shrinking = Wrapped(network, lambda inner, images: inner(images[:, :, ::2, ::2])).eval()
    (note,) = evaluate(shrinking, large, PGD(eps=8 / 255, norm=L2(), steps=2), sanity_images=0).notes
    assert "a radius meant for Linf?" in note


def test_an_exported_program(network: nn.Sequential, bars: ImageSet) -> None:
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},)).module()
    result = evaluate(exported, bars, ATTACKS[0])
    assert result.trusted
    assert np.array_equal(result.attacks[0].correct, evaluate(network, bars, ATTACKS[0]).attacks[0].correct)
    fixed = torch.export.export(network, (torch.rand(32, 1, 8, 8),)).module()
    with pytest.raises(InputError, match="dynamic batch size"):
        evaluate(fixed, bars)
