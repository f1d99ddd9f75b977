"""Further threats: what attacks them, when they are refused, what is said of small radii, and who is better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from codesign.config import EvaluateConfig, make_config
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.evaluation.accuracies import AccuracyRecord, RobustnessRecord, ThreatRecord, threat_label
from codesign.evaluation.paired import bits_of, compare_models, outcomes_from_bits
from codesign.evaluation.record import ModelRecord
from codesign.evaluation.software import attacks_of
from codesign.evaluation.threats import Measured, check_threats, threat_notes, under_threat, with_threats
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.statistics import mcnemar_exact

SHAPE = (1, 4, 4)


def config(*threats: str, **others: object) -> EvaluateConfig:
    return make_config({"models": ["m"], "threats": list(threats), **others})


def images(count: int = 24) -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet(
        "noise", rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), rng.integers(0, 3, count), ("a", "b", "c")
    )


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    layer = nn.Linear(16, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 16, generator=generator))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer).eval()


class Measuring:
    """Measures one network, and remembers what it was asked."""

    def __init__(self, set_of_images: ImageSet) -> None:
        self.images = set_of_images
        self.network = network()
        self.asked: list[tuple[str, float, str]] = []

    def __call__(self, settings: EvaluateConfig, folder: Path, label: str) -> Measured:
        self.asked.append((settings.norm, settings.eps, label))
        result = evaluate_robustness(
            self.network, self.images, attacks_of(settings), batch_size=8, seed=0, folder=folder, sanity_images=4
        )
        assert result.robust is not None
        accuracy = AccuracyRecord(
            "robust", result.robust.correct, result.robust.total, result.robust.low, result.robust.high
        )
        attacks = tuple(replace(accuracy, name=repr(outcome.attack)) for outcome in result.attacks)
        flags = ({"id": "ZERO_GRAD", "state": "clear", "detail": ""}, {"id": "RANGE", "state": "raised", "detail": ""})
        return result, RobustnessRecord(accuracy, attacks, accuracy, flags)


def test_every_threat_is_a_row_and_the_runs_own_comes_first(tmp_path: Path) -> None:
    settings = config("l2:0.25", "l2:0.5:pgd10; fgsm", eps=0.1, steps=3)
    measure = Measuring(images())
    own = measure(settings, tmp_path / "own", "own")
    record = with_threats(settings, own, measure, tmp_path)
    assert [threat.label for threat in record.threats] == ["Linf 0.1", "L2 0.25", "L2 0.5"]
    assert [len(threat.attacks) for threat in record.threats] == [1, 1, 2]
    assert measure.asked[1:] == [("l2", 0.25, "L2 0.25"), ("l2", 0.5, "L2 0.5")]
    for threat in record.threats:
        right = outcomes_from_bits(threat.right, threat.robust.total)
        assert int(right.sum()) == threat.robust.correct
        assert [row["id"] for row in threat.doubts] == ["RANGE"]
    # A larger ball of the same norm holds the smaller one; nothing is right there that is wrong as it is.
    clean = outcomes_from_bits(record.clean_right, record.clean.total)
    for threat in record.threats:
        assert not (outcomes_from_bits(threat.right, 24) & ~clean).any()


def test_the_runs_own_threat_is_not_attacked_twice(tmp_path: Path) -> None:
    settings = config("linf:0.1", "l2:1", "l2:1.0:pgd:steps=20", eps=0.1)
    measure = Measuring(images())
    own = measure(settings, tmp_path / "own", "own")
    record = with_threats(settings, own, measure, tmp_path)
    assert [threat.label for threat in record.threats] == ["Linf 0.1", "L2 1"]


def test_finished_batches_are_not_computed_again(tmp_path: Path) -> None:
    settings = config("l2:0.5", eps=0.1, steps=3)
    measure = Measuring(images())
    own = measure(settings, tmp_path / "own", "own")
    first = with_threats(settings, own, measure, tmp_path)
    batches = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("batch_*.npz")}
    assert len(batches) == 6
    again = with_threats(settings, own, measure, tmp_path)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("batch_*.npz")} == batches


def test_attacks_of_a_threat_are_its_own_or_the_runs() -> None:
    settings = config("l2:0.5", "l2:0.5:pgd50", steps=7, restarts=2, step_size=0.02)
    first, second = (under_threat(settings, threat) for threat in settings.threats)
    (pgd,) = attacks_of(first)
    assert "steps=7" in repr(pgd)
    assert "restarts=2" in repr(pgd)
    # The step size was meant for the run's own radius.
    assert "step_size=0.02" not in repr(pgd)
    assert "steps=50" in repr(attacks_of(second))
    named = config("l2:0.5", attacks="fgsm")
    assert "FGSM" in repr(attacks_of(under_threat(named, named.threats[0])))


@pytest.mark.parametrize(
    ("threat", "said"),
    [("l2:0.5:autoatack", "autoattack"), ("l2:1e30", "eps"), ("l2:0.5:pgd:steps=x", "whole number")],
)
def test_bad_threats_are_refused_before_any_work(threat: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_threats(config(threat), SHAPE)


@pytest.mark.parametrize(
    "threat", ["l2", "l2:", ":0.5", "l3:0.5", "l2:half", "l2:-1", "linf:8", "l2:0.5:", {"norm": "l2", "epss": 1}]
)
def test_what_is_no_threat(threat: object) -> None:
    with pytest.raises(InputError, match="threat"):
        make_config({"models": ["m"], "threats": [threat]})


def test_a_threat_is_given_once() -> None:
    with pytest.raises(InputError, match="once"):
        config("l2:0.5", "L2:1/2")


@pytest.mark.parametrize(
    ("settings", "small"),
    [
        (config(norm="l2", eps=0.25), True),
        (config("linf:4/255", norm="l2", eps=0.25), True),
        (config("l2:0.5", norm="l2", eps=0.25), False),
        (config("linf:8/255", norm="l2", eps=0.25), False),
        (config(eps=8 / 255), False),
        (config(eps=2 / 255), True),
    ],
)
def test_a_small_radius_never_stands_alone(settings: EvaluateConfig, small: bool) -> None:
    notes = threat_notes(settings)
    assert bool(notes) == small
    for note in notes:
        assert "8/255" in note
        assert "0.5" in note


def test_labels() -> None:
    assert threat_label("linf", 8 / 255) == "Linf 8/255"
    assert threat_label("linf", 0.1) == "Linf 0.1"
    assert threat_label("l2", 0.25) == "L2 0.25"


@given(arrays(np.bool_, st.integers(1, 70)))
def test_outcomes_are_packed_and_unpacked(right: np.ndarray) -> None:
    np.testing.assert_array_equal(outcomes_from_bits(bits_of(right), len(right)), right)


def test_packed_outcomes_of_another_number() -> None:
    with pytest.raises(ValueError, match="9 images take 2 bytes"):
        outcomes_from_bits("ff", 9)


def model(name: str, clean: np.ndarray, attacked: dict[float, np.ndarray]) -> ModelRecord:
    def accuracy(right: np.ndarray) -> AccuracyRecord:
        return AccuracyRecord("a", int(right.sum()), len(right), 0.0, 1.0)

    threats = tuple(
        ThreatRecord("l2", eps, (accuracy(right),), accuracy(right), bits_of(right)) for eps, right in attacked.items()
    )
    robust = accuracy(clean)
    record = RobustnessRecord(accuracy(clean), (), robust, threats=threats, clean_right=bits_of(clean))
    return ModelRecord(name, {}, 0, 0, (), record, (), ())


def test_comparisons_are_mcnemars_with_holms_adjustment() -> None:
    rng = np.random.default_rng(1)
    outcomes = [[rng.random(200) < share for share in (0.9, 0.5)] for _ in range(2)]
    outcomes[1][1] = outcomes[0][1] & (rng.random(200) < 0.85)
    models = [model(name, clean, {0.5: attacked}) for name, (clean, attacked) in zip("ab", outcomes, strict=True)]
    clean, attacked = compare_models(models)
    for found, place in ((clean, 0), (attacked, 1)):
        expected = mcnemar_exact(outcomes[0][place], outcomes[1][place])
        assert (found.only_first, found.only_second) == (expected.only_first, expected.only_second)
        assert found.p_value == expected.p_value
    least, other = sorted((clean.p_value, attacked.p_value))
    assert attacked.adjusted_p_value == pytest.approx(2 * least)
    assert clean.adjusted_p_value == pytest.approx(max(2 * least, other))
    assert (clean.better, attacked.better) == (None, "a")


def test_equal_models_are_not_told_apart_and_three_give_three_pairs() -> None:
    right = np.arange(50) % 3 > 0
    models = [model(name, right, {0.5: right, 1.0: right}) for name in "abc"]
    found = compare_models(models)
    assert [(test.first, test.second) for test in found[::3]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert {test.p_value for test in found} == {1.0}
    assert {test.better for test in found} == {None}


def test_only_what_both_were_measured_under_is_compared() -> None:
    right = np.ones(8, np.bool_)
    found = compare_models([model("a", right, {0.5: right}), model("b", right, {1.0: right})])
    assert [test.inputs for test in found] == ["clean"]
