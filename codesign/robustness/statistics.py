"""Accuracies with their confidence interval, and when one model may be called better than another.

Sources: E. B. Wilson, JASA 22 (1927) 209-212, doi 10.1080/01621459.1927.10502953; C. J. Clopper and E. S. Pearson,
Biometrika 26 (1934) 404-413, doi 10.1093/biomet/26.4.404; Q. McNemar, Psychometrika 12 (1947) 153-157,
doi 10.1007/BF02295996; the choice among them: L. D. Brown, T. T. Cai and A. DasGupta, Statistical Science 16 (2001)
101-133, doi 10.1214/ss/1009213286.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv  # type: ignore[import-untyped]

__all__ = ["Accuracy", "IntervalMethod", "PairedTest", "clopper_pearson_interval", "mcnemar_exact", "wilson_interval"]

IntervalMethod = Literal["wilson", "clopper-pearson"]


def _check_counts(correct: float, total: int, confidence: float) -> None:
    if not isinstance(correct, int | float | np.integer) or isinstance(correct, bool):
        raise TypeError(f"Accuracy: correct must be a number (got {correct!r})")
    if not isinstance(total, int | np.integer) or isinstance(total, bool):
        raise TypeError(f"Accuracy: total must be an integer (got {total!r})")
    if total < 1:
        raise ValueError(f"Accuracy: total must be at least 1 image (got {total!r})")
    if not 0 <= correct <= total:
        raise ValueError(f"Accuracy: correct must be in 0..{total} (got {correct!r})")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Accuracy: confidence must be between 0 and 1 (got {confidence!r})")


def wilson_interval(correct: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a binomial share: about ``confidence`` coverage on average, also near 0 and 1.

    Raises TypeError or ValueError for counts that cannot be.
    """
    _check_counts(correct, total, confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = correct / total
    shrink = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / shrink
    half = z / shrink * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # Rounding must not leave an interval that excludes the observed share at its ends.
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def clopper_pearson_interval(correct: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial share: at least ``confidence`` coverage for every true value, hence wider.

    Raises TypeError or ValueError for counts that cannot be.
    """
    _check_counts(correct, total, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if correct == 0 else float(betaincinv(correct, total - correct + 1, tail))
    high = 1.0 if correct == total else float(betaincinv(correct + 1, total - correct, 1 - tail))
    return low, high


_INTERVALS = {"wilson": wilson_interval, "clopper-pearson": clopper_pearson_interval}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of correctly classified images with its confidence interval.

    Args:
        correct, total: images; of a random model, ``correct`` is the mean over draws and need not be whole.
        low, high: the interval's ends, as shares in [0, 1].
        method: how the interval was made.
        confidence: its level.
    """

    correct: float
    total: int
    low: float
    high: float
    method: IntervalMethod
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_counts(self.correct, self.total, self.confidence)
        if self.method not in _INTERVALS:
            raise ValueError(f"Accuracy: method must be one of {', '.join(_INTERVALS)} (got {self.method!r})")
        if not 0.0 <= self.low <= self.value <= self.high <= 1.0:
            raise ValueError(
                f"Accuracy: 0 <= low <= value <= high <= 1 must hold (got {self.low!r}, {self.value!r}, {self.high!r})"
            )

    @classmethod
    def from_counts(
        cls, correct: float, total: int, *, method: IntervalMethod = "wilson", confidence: float = 0.95
    ) -> Accuracy:
        """The accuracy ``correct / total`` with the interval that ``method`` gives."""
        if method not in _INTERVALS:
            raise ValueError(f"Accuracy: method must be one of {', '.join(_INTERVALS)} (got {method!r})")
        low, high = _INTERVALS[method](correct, total, confidence)
        exact = int(correct) if correct == int(correct) else float(correct)
        return cls(exact, int(total), low, high, method, confidence)

    @classmethod
    def from_outcomes(
        cls, correct: npt.NDArray[np.bool_], *, method: IntervalMethod = "wilson", confidence: float = 0.95
    ) -> Accuracy:
        """The accuracy of one outcome per image."""
        if correct.dtype != np.bool_ or correct.ndim != 1:
            raise TypeError(f"Accuracy: outcomes must be bool (n,) (got {correct.dtype} {correct.shape})")
        return cls.from_counts(int(correct.sum()), len(correct), method=method, confidence=confidence)

    @classmethod
    def from_shares(
        cls, right: npt.NDArray[np.float64], *, method: IntervalMethod = "wilson", confidence: float = 0.95
    ) -> Accuracy:
        """The mean accuracy of a random model from the share of draws in which it has each image right, (n,) in [0, 1].

        The interval is that of as many whole outcomes with the same mean. It is on the wide side: shares between 0 and
        1 vary less from image to image than zeros and ones.
        """
        if right.dtype != np.float64 or right.ndim != 1 or not bool(((right >= 0) & (right <= 1)).all()):
            raise TypeError(f"Accuracy: shares must be float64 (n,) in [0, 1] (got {right.dtype} {right.shape})")
        return cls.from_counts(float(right.sum()), len(right), method=method, confidence=confidence)

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.correct / self.total

    def to_json(self) -> dict[str, int | float | str]:
        """The record's form; ``value``, ``low`` and ``high`` are shares in [0, 1]."""
        return {
            "correct": self.correct,
            "total": self.total,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "method": self.method,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two models on the same images.

    Args:
        only_first, only_second: images that only the first (only the second) model has right.
        total: images.
        p_value: of the hypothesis that the two are equally accurate, two-sided.
    """

    only_first: int
    only_second: int
    total: int
    p_value: float

    @property
    def difference(self) -> float:
        """Accuracy of the first minus accuracy of the second, as a share."""
        return (self.only_first - self.only_second) / self.total


def mcnemar_exact(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> PairedTest:
    """McNemar's test in its exact form: the discordant images as tosses of a fair coin, both tails.

    Args:
        first, second: bool (n,), whether each model has image i right; the same images in the same order.

    Raises ValueError for arrays that are not such a pair.
    """
    for outcomes in (first, second):
        if outcomes.dtype != np.bool_ or outcomes.ndim != 1 or not len(outcomes):
            got = f"{outcomes.dtype} {outcomes.shape}"
            raise ValueError(f"mcnemar_exact: outcomes must be bool (n,), n > 0 (got {got})")
    if len(first) != len(second):
        raise ValueError(f"mcnemar_exact: both models need the same images (got {len(first)} and {len(second)})")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    # Integers until the last division: exact for any number of images. Each term of the sum comes from the one before.
    term = tail = 1
    for k in range(1, min(only_first, only_second) + 1):
        term = term * (discordant - k + 1) // k
        tail += term
    return PairedTest(only_first, only_second, len(first), min(1.0, 2 * tail / 2**discordant))
