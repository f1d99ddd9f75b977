"""Random sampling, as the real mapper's ``random`` does it: the baseline that a search must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.accelerator.mapper import layout as at
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.compiled import compiled
from codesign.accelerator.mapper.kernel import UNKNOWN, objective, score
from codesign.accelerator.mapper.kernel_memo import Zeros
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
    tally: IntArray,
    count: int,
    weights: FloatArray,
    best: FloatArray,
    z: Zeros | None,
) -> bool:
    """Draw and score mappings in row 1 of the arrays until ``count`` are tried; row 0 holds the best.

    ``tally``: tried, legal, whether row 1 waits for its score. False: it waits for what the memo lacks.
    """
    w, x = np.zeros(t[at.WORK_INTEGERS], np.int64), np.zeros(t[at.WORK_NUMBERS])
    while tally[0] < count:
        if not tally[2] and not draw_mapping(t, rows, start, factors[1], order[1], keep[1], state):
            tally[0] += 1
            continue
        energy_pJ, cycles = score(t, p, w, x, factors[1], order[1], keep[1], z)
        if z is not None and energy_pJ == UNKNOWN:
            tally[2] = 1
            return False
        tally[0] += 1
        tally[2] = 0
        value = objective(energy_pJ, cycles, weights[0], weights[1])
        tally[1] += energy_pJ >= 0
        if value < best[0]:
            best[0] = value
            factors[0], order[0], keep[0] = factors[1], order[1], keep[1]
    return True


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
    tally, zeros = np.zeros(3, np.int64), evaluator.zeros()
    rows = choices.rows, choices.start, factors, order, keep, random_state(seed, stream), tally
    rest = count, np.array(weights), np.full(1, np.inf)
    while not _sample(t, evaluator.tables.numbers, *rows, *rest, zeros):
        assert evaluator.memo is not None
        assert zeros is not None
        zeros = evaluator.memo.learn(zeros)
    best = Batch(factors[:1], order[:1], keep[:1]) if tally[1] else None
    return Sampled(best, count, int(tally[1]))
