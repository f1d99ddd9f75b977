"""Models compared image by image, so that "better" is only said where the images say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from codesign.evaluation.accuracies import ModelComparison, RobustnessRecord, labelled_threats
from codesign.evaluation.record import ModelRecord
from codesign.robustness.statistics import mcnemar_exact

__all__ = ["bits_of", "compare_models", "outcomes_from_bits"]

_SIGNIFICANT = 0.05


def bits_of(right: npt.NDArray[np.bool_]) -> str:
    """Outcomes bool (n,), one an image, in the form of ``ThreatRecord.right``."""
    return np.packbits(right).tobytes().hex()


def outcomes_from_bits(bits: str, total: int) -> npt.NDArray[np.bool_]:
    """The outcomes bool (total,) that ``bits_of`` packed. Raises ValueError if the text holds another number."""
    packed = np.frombuffer(bytes.fromhex(bits), np.uint8)
    if len(packed) != -(-total // 8):
        raise ValueError(f"outcomes of {total} images take {-(-total // 8)} bytes (got {len(packed)})")
    return np.unpackbits(packed, count=total).astype(np.bool_)


def compare_models(models: Sequence[ModelRecord]) -> tuple[ModelComparison, ...]:
    """Every two models, clean and under every threat that both were measured under; the images must be the same.

    One comparison in twenty of equal models is "significant" by chance. So the p values are adjusted for their number
    (S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70), and ``better`` goes by the adjusted ones.
    """
    found = [test for first, second in combinations(models, 2) for test in _compared(first, second)]
    adjusted = _holm([test.p_value for test in found])
    return tuple(_judged(test, p_value) for test, p_value in zip(found, adjusted, strict=True))


def _compared(first: ModelRecord, second: ModelRecord) -> Iterator[ModelComparison]:
    others = dict(_outcomes(second.robustness))
    for inputs, right in _outcomes(first.robustness):
        other = others.get(inputs)
        if other is None or len(other) != len(right):
            continue
        test = mcnemar_exact(right, other)
        yield ModelComparison(
            inputs=inputs,
            first=first.name,
            second=second.name,
            only_first=test.only_first,
            only_second=test.only_second,
            total=test.total,
            p_value=test.p_value,
            adjusted_p_value=test.p_value,
            better=None,
        )


def _outcomes(robustness: RobustnessRecord) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    if robustness.clean_right:
        yield "clean", outcomes_from_bits(robustness.clean_right, robustness.clean.total)
    for label, threat in labelled_threats(robustness).items():
        yield label, outcomes_from_bits(threat.right, threat.robust.total)


def _judged(test: ModelComparison, adjusted: float) -> ModelComparison:
    better = None
    if adjusted < _SIGNIFICANT:
        better = test.first if test.only_first > test.only_second else test.second
    return replace(test, adjusted_p_value=adjusted, better=better)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted
