from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]

from codesign.robustness.statistics import (
    Accuracy,
    clopper_pearson_interval,
    mcnemar_exact,
    wilson_interval,
)


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial, term by term."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


# R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I: methods 3 (Wilson) and 5 (Clopper-Pearson).
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("correct", "total", "wilson", "exact"), NEWCOMBE)
def test_intervals_of_newcombe_1998(
    correct: int, total: int, wilson: tuple[float, float], exact: tuple[float, float]
) -> None:
    assert wilson_interval(correct, total) == pytest.approx(wilson, abs=5e-5)
    assert clopper_pearson_interval(correct, total) == pytest.approx(exact, abs=5e-5)


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None)
@given(counts, st.floats(0.5, 0.999))
def test_clopper_pearson_ends_are_where_each_tail_has_half_the_error(pair: tuple[int, int], confidence: float) -> None:
    k, n = pair
    low, high = clopper_pearson_interval(k, n, confidence)
    tail = (1 - confidence) / 2
    assert low == 0.0 if k == 0 else 1 - at_most(k - 1, n, low) == pytest.approx(tail, abs=1e-9)
    assert high == 1.0 if k == n else at_most(k, n, high) == pytest.approx(tail, abs=1e-9)


@settings(deadline=None)
@given(counts)
def test_wilson_ends_solve_the_score_equation(pair: tuple[int, int]) -> None:
    k, n = pair
    z = 1.959963984540054
    for end in wilson_interval(k, n):
        assert (end - k / n) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-12)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.37, 0.5, 0.93])
def test_clopper_pearson_covers_every_true_value_and_wilson_most(p: float) -> None:
    n = 40
    weights = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    covered = {"exact": 0.0, "wilson": 0.0}
    for k, weight in enumerate(weights):
        for name, interval in (("exact", clopper_pearson_interval(k, n)), ("wilson", wilson_interval(k, n))):
            covered[name] += weight * (interval[0] <= p <= interval[1])
    assert covered["exact"] >= 0.95
    assert 0.90 <= covered["wilson"] <= 1.0


@settings(deadline=None)
@given(counts)
def test_intervals_hold_the_share_and_mirror(pair: tuple[int, int]) -> None:
    k, n = pair
    for method in ("wilson", "clopper-pearson"):
        accuracy = Accuracy.from_counts(k, n, method=method)
        mirrored = Accuracy.from_counts(n - k, n, method=method)
        assert accuracy.low <= k / n <= accuracy.high
        assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((accuracy.low, accuracy.high), abs=1e-12)


def test_accuracy_record() -> None:
    accuracy = Accuracy.from_outcomes(np.array([True, True, False, True]))
    low, high = wilson_interval(3, 4)
    assert accuracy.to_json() == {
        "correct": 3,
        "total": 4,
        "value": 0.75,
        "low": low,
        "high": high,
        "method": "wilson",
        "confidence": 0.95,
    }


@pytest.mark.parametrize(
    ("correct", "total", "kind"),
    [
        (1, 0, ValueError),
        (-1, 5, ValueError),
        (6, 5, ValueError),
        ("2", 5, TypeError),
        (2, 5.0, TypeError),
        (True, 5, TypeError),
    ],
)
def test_counts_that_cannot_be(correct: object, total: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="Accuracy: "):
        Accuracy.from_counts(correct, total)  # type: ignore[arg-type]


def test_an_accuracy_cannot_contradict_itself() -> None:
    with pytest.raises(ValueError, match="low <= value <= high"):
        Accuracy(5, 10, 0.6, 0.9, "wilson")
    with pytest.raises(ValueError, match="confidence"):
        Accuracy(5, 10, 0.4, 0.9, "wilson", 95.0)
    with pytest.raises(ValueError, match="method must be one of wilson, clopper-pearson"):
        Accuracy.from_counts(5, 10, method="wald")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bool"):
        Accuracy.from_outcomes(np.array([1, 0]))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_is_the_sign_test_on_discordant_images(b: int, c: int, both: int, neither: int) -> None:
    if b + c + both + neither == 0:
        both = 1
    first = np.array([True] * b + [False] * c + [True] * both + [False] * neither)
    second = np.array([False] * b + [True] * c + [True] * both + [False] * neither)
    test = mcnemar_exact(first, second)
    n = b + c
    # Both tails: outcomes at least as far from n / 2 as the one seen.
    extreme = sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(b - c))
    assert test.p_value == pytest.approx(float(Fraction(extreme, 2**n)), rel=1e-12)
    assert test.p_value == pytest.approx(binomtest(b, n).pvalue if n else 1.0, rel=1e-9)
    assert (test.only_first, test.only_second) == (b, c)
    assert test.difference == pytest.approx((first.sum() - second.sum()) / len(first))


def test_mcnemar_holds_for_many_images_and_refuses_unpaired_ones() -> None:
    first = np.zeros(20_000, bool)
    first[:9_000] = True
    assert mcnemar_exact(first, ~first).p_value < 1e-40
    assert mcnemar_exact(first, first).p_value == 1.0
    with pytest.raises(ValueError, match="same images"):
        mcnemar_exact(first, first[:5])
    with pytest.raises(ValueError, match="bool"):
        mcnemar_exact(first.astype(int), first)


def test_the_mean_of_a_random_model_has_the_interval_of_whole_outcomes_with_that_mean() -> None:
    half = Accuracy.from_shares(np.full(40, 0.5))
    whole = Accuracy.from_counts(20, 40)
    assert (half.value, half.low, half.high) == (whole.value, whole.low, whole.high)
    assert Accuracy.from_shares(np.array([0.25, 1.0, 0.0])).correct == 1.25
    assert isinstance(Accuracy.from_shares(np.array([1.0, 1.0])).correct, int)
    with pytest.raises(TypeError, match="shares must be float64"):
        Accuracy.from_shares(np.array([1.5]))
