"""Random sampling, as the real mapper's ``random`` does it: the baseline that a search must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.compiled import compiled
from codesign.accelerator.mapper.kernel import objective, score
from codesign.accelerator.mapper.moves import Choices, RandomState, draw_mapping, random_state
from codesign.accelerator.mapper.nest import Batch, BoolArray, FloatArray, IntArray

__all__ = ["Sampled", "sample"]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The best of ``tried`` random mappings, of which ``valid`` were legal; None if none was."""

    best: Batch | None
    tried: int
    valid: int


@compiled
def _sample(
    t: IntArray,
    p: FloatArray,
    rows: IntArray,
    start: IntArray,
    factors: IntArray,
    order: IntArray,
    keep: BoolArray,
    state: RandomState,
    count: int,
    weights: FloatArray,
) -> int:
    """Draw and score ``count`` mappings in row 1 of the arrays; row 0 holds the best. Returns how many were legal."""
    w, x = np.zeros(t[at.WORK_INTEGERS], np.int64), np.zeros(t[at.WORK_NUMBERS])
    best, valid = np.inf, 0
    for _ in range(count):
        if not draw_mapping(t, rows, start, factors[1], order[1], keep[1], state):
            continue
        energy_pJ, cycles = score(t, p, w, x, factors[1], order[1], keep[1])
        value = objective(energy_pJ, cycles, weights[0], weights[1])
        valid += energy_pJ >= 0
        if value < best:
            best = value
            factors[0], order[0], keep[0] = factors[1], order[1], keep[1]
    return valid


def sample(
    evaluator: BatchEvaluator,
    choices: Choices,
    count: int,
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    seed: int = 0,
    stream: int = 0,
) -> Sampled:
    """Random mappings, every factorisation, order and bypass as likely as any other."""
    t = evaluator.tables.integers
    slots, dimensions, blocks = int(t[at.SLOTS]), int(t[at.DIMENSIONS]), int(t[at.BLOCKS])
    factors, order = np.ones((2, slots, dimensions), np.int64), np.zeros((2, blocks, dimensions), np.int64)
    keep = np.zeros((2, int(t[at.LEVELS]), int(t[at.SPACES])), np.bool_)
    state = random_state(seed, stream)
    valid = _sample(
        t, evaluator.tables.numbers, choices.rows, choices.start, factors, order, keep, state, count, np.array(weights)
    )
    best = Batch(factors[:1], order[:1], keep[:1]) if valid else None
    return Sampled(best, count, int(valid))
