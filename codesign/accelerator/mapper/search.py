"""The moves of the heuristic: where to start in space, how to grow tiles, how to improve what is there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import prod

import numpy as np

from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.closed_form import ClosedForm
from codesign.accelerator.mapper.cost import CostModel, Objective
from codesign.accelerator.mapper.feasible import divisors
from codesign.accelerator.mapper.nest import Batch, FloatArray, IntArray
from codesign.accelerator.mapper.space import MapSpace

__all__ = ["Pool", "Scorer", "grow", "improve", "spatial_starts"]

_SLOT_CHOICES = 48
_SPATIAL_CHOICES = 400


class Scorer:
    """The objective of mappings; infinite for those that are not legal. Searches end when its ``clock`` runs out."""

    def __init__(self, space: MapSpace, cost: CostModel, objective: Objective) -> None:
        self.space = space
        self.cost = cost
        self.looked_at = 0
        self.clock: Clock | None = None
        self._objective = objective
        self._closed_form = ClosedForm(space.architecture, space.problem, space.nest, flags=space.constraints.levels)

    @property
    def expired(self) -> bool:
        """Whether what is found by now has to do."""
        return self.clock is not None and self.clock.out()

    def __call__(self, batch: Batch) -> FloatArray:
        """(B,) objective."""
        self.looked_at += len(batch)
        values = np.full(len(batch), np.inf)
        good = self.legal(batch)
        if len(good):
            legal = batch.take(good)
            values[good] = self.cost.cost(self._closed_form.counts(legal), legal.keep).objective(self._objective)
        return values

    def legal(self, batch: Batch) -> IntArray:
        """Rows that are allowed and whose kept tiles fit."""
        good = np.flatnonzero(self.space.allowed(batch.factors))
        kept = (self._closed_form.tiles(batch.factors[good]) * batch.keep[good]).sum(axis=-1)
        return np.asarray(good[(kept <= self.cost.capacity).all(axis=1)])


class Pool:
    """The best different mappings seen."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: dict[bytes, tuple[float, int, Batch]] = {}
        self._count = 0

    def add(self, batch: Batch, values: FloatArray) -> None:
        """Look at those mappings."""
        for row in np.argsort(values, kind="stable")[: self._size]:
            if not np.isfinite(values[row]):
                break
            one = batch.take(slice(row, row + 1))
            key = one.factors.tobytes() + one.order.tobytes() + one.keep.tobytes()
            if key not in self._seen:
                self._seen[key] = (float(values[row]), self._count, one)
                self._count += 1
        best = sorted(self._seen.items(), key=lambda item: item[1][:2])[: self._size]
        self._seen = dict(best)

    def best(self) -> list[tuple[float, Batch]]:
        """Value and mapping (batches of one), best first."""
        return [(value, one) for value, _, one in self._seen.values()]


def _primes(space: MapSpace) -> list[tuple[int, int]]:
    """(dimension index, prime factor of its bound)."""
    pairs = []
    for index, bound in enumerate(space.bounds.tolist()):
        pairs += [(index, p) for p in divisors(bound)[1:] if all(p % q for q in range(2, int(p**0.5) + 1))]
    return pairs


def spatial_starts(scorer: Scorer, base: Batch, count: int) -> Batch:
    """The base with factors moved from the outermost temporal loops onto the mesh axes, ``count`` best ways of it.

    Each axis takes at most two dimensions beyond those that the base puts there. Of the ways that use most instances,
    half of those returned use most of them, and half have the best objective with everything else still at the
    outermost level, which is to say that they share most.
    """
    space = scorer.space
    source = space.nest.temporal[-1]
    available = base.factors[0, source]
    spatial = [index for index, slot in enumerate(space.nest.slots) if slot.axis != "T"]
    ways = np.ones((1, len(space.nest.slots), len(available)), np.int64)
    for slot in spatial:
        room = int(space.fanout[slot]) // int(base.factors[0, slot].prod())
        most = space.upper(slot) // base.factors[0, slot]
        choices = np.array(_axis_choices(available.tolist(), most.tolist(), room))
        grown = np.repeat(ways, len(choices), axis=0)
        grown[:, slot] = np.tile(choices, (len(ways), 1))
        grown = grown[(available % grown.prod(axis=1) == 0).all(axis=1)]
        ways = _most_used(scorer, base, grown[np.argsort(-grown.prod(axis=(1, 2)), kind="stable")])
    starts = _onto_mesh(base, ways, source)
    return starts.take(_shortlist(scorer(starts), ways.prod(axis=(1, 2)), count))


def _most_used(scorer: Scorer, base: Batch, ways: IntArray) -> IntArray:
    """The first legal ones; what is illegal here stays illegal on further axes."""
    found: list[IntArray] = []
    for start in range(0, len(ways), _SPATIAL_CHOICES):
        chunk = ways[start : start + _SPATIAL_CHOICES]
        found.append(chunk[scorer.legal(_onto_mesh(base, chunk, scorer.space.nest.temporal[-1]))])
        if sum(map(len, found)) >= _SPATIAL_CHOICES:
            break
    return np.concatenate(found)[:_SPATIAL_CHOICES]


def _onto_mesh(base: Batch, ways: IntArray, source: int) -> Batch:
    """The base with factors (B, slots, dimensions) moved from slot ``source`` to other slots."""
    factors = base.factors * ways
    factors[:, source] //= ways.prod(axis=1)
    return Batch(factors, np.repeat(base.order, len(ways), 0), np.repeat(base.keep, len(ways), 0))


def _shortlist(values: FloatArray, used: IntArray, count: int) -> IntArray:
    """Rows, taken in turn by the objective and by the number of instances in use."""
    legal = np.flatnonzero(np.isfinite(values))
    by_value = legal[np.argsort(values[legal], kind="stable")]
    by_use = legal[np.lexsort((values[legal], -used[legal]))]
    alternating = np.stack([by_value, by_use], axis=1).ravel()
    _, first = np.unique(alternating, return_index=True)
    return alternating[np.sort(first)][:count]


def _axis_choices(available: list[int], most: list[int], room: int) -> list[list[int]]:
    """Factors of one axis, by size; at most two dimensions, each at most ``most``."""
    choices = [[1] * len(available)]
    for index, bound in enumerate(available):
        for factor in divisors(bound)[1:]:
            if factor <= min(room, most[index]):
                choices.append([factor if d == index else 1 for d in range(len(available))])
    single = choices[1:]
    for one, other in combinations(single, 2):
        both = [a * b for a, b in zip(one, other, strict=True)]
        if prod(both) <= room and max(both) < prod(both):
            choices.append(both)
    best = sorted(choices, key=lambda choice: -prod(choice))[:_SLOT_CHOICES]
    return best if choices[0] in best else [*best, choices[0]]


def grow(scorer: Scorer, batch: Batch) -> Batch:
    """Grow tiles from the innermost level outwards, each mapping by the step that helps most, as long as one helps.

    A step moves a prime factor of one dimension from its outermost temporal loop to the level at hand.
    """
    space = scorer.space
    temporal = np.array(space.nest.temporal)
    moves = np.array(_primes(space), np.int64).reshape(-1, 2)
    values = scorer(batch)
    for rank in range(len(temporal) - 1):
        active = np.arange(len(batch))
        while len(active) and not scorer.expired:
            row, move, source = _sources(batch.factors[active], temporal, rank, moves)
            step = _moved(batch.take(active[row]), moves[move], source, np.full(len(row), temporal[rank]))
            active = _accept(batch, values, step, scorer(step), active[row], ties=True)
    return batch


def _sources(factors: IntArray, temporal: IntArray, rank: int, moves: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Rows, moves and outermost slots from which a prime of a dimension can be taken for the temporal slot ``rank``."""
    there = factors[:, temporal[rank + 1 :]][:, :, moves[:, 0]] % moves[:, 1] == 0
    row, move = np.nonzero(there.any(axis=1))
    outermost = len(temporal) - 1 - there[:, ::-1].argmax(axis=1)
    return row, move, temporal[outermost[row, move]]


def _moved(batch: Batch, move: IntArray, source: IntArray, target: IntArray) -> Batch:
    """One (dimension, prime) a row moved from slot to slot."""
    row = np.arange(len(batch))
    factors = batch.factors.copy()
    factors[row, source, move[:, 0]] //= move[:, 1]
    factors[row, target, move[:, 0]] *= move[:, 1]
    return Batch(factors, batch.order, batch.keep)


def _accept(
    batch: Batch, values: FloatArray, step: Batch, new: FloatArray, owner: IntArray, *, ties: bool = False
) -> IntArray:
    """Replace each owner by the best of its steps if that is better; the rows that changed."""
    best = np.lexsort((new, owner))
    first = best[np.r_[True, owner[best][1:] != owner[best][:-1]]] if len(best) else best
    old = values[owner[first]]
    better = new[first] <= old * (1 - 1e-9 * (not ties))
    chosen = first[better & np.isfinite(new[first])]
    changed = owner[chosen]
    values[changed] = new[chosen]
    batch.factors[changed], batch.order[changed] = step.factors[chosen], step.order[chosen]
    batch.keep[changed] = step.keep[chosen]
    return changed


def improve(scorer: Scorer, batch: Batch, rounds: int, pool: Pool) -> Batch:
    """Replace each mapping by its best neighbour until none is better, at most ``rounds`` times.

    Neighbours: one prime factor in another slot; two primes of two dimensions that change places; another loop order
    at one level; another choice of what a level keeps.
    """
    values = scorer(batch)
    pool.add(batch, values)
    active = np.arange(len(batch))
    tables = _Neighbours(scorer.space)
    for _ in range(rounds):
        if scorer.expired:
            break
        found = list(tables.of(batch.take(active)))
        owner = np.concatenate([active[row] for row, _ in found])
        step = Batch.join([steps for _, steps in found])
        new = scorer(step)
        pool.add(step, new)
        active = _accept(batch, values, step, new, owner)
        if not len(active):
            break
    return batch


class _Neighbours:
    """All single changes of a mapping."""

    def __init__(self, space: MapSpace) -> None:
        self._space = space
        primes = _primes(space)
        slots = range(len(space.nest.slots))
        self._single = np.array([(a, b, d, p) for a in slots for b in slots if a != b for d, p in primes])
        self._double = np.array(
            [(a, b, *x, *y) for a, b in combinations(slots, 2) for x in primes for y in primes if x[0] != y[0]]
        )

    def of(self, batch: Batch) -> Iterator[tuple[IntArray, Batch]]:
        """Pairs of the row that is changed and the changed mappings."""
        factors = batch.factors
        if len(self._single):
            a, b, d, p = self._single.T
            row, move = np.nonzero(factors[:, a, d] % p == 0)
            table = self._single[move]
            yield row, _moved(batch.take(row), table[:, 2:], table[:, 0], table[:, 1])
        if len(self._double):
            a, b, d, p, e, q = self._double.T
            row, move = np.nonzero((factors[:, a, d] % p == 0) & (factors[:, b, e] % q == 0))
            table = self._double[move]
            once = _moved(batch.take(row), table[:, 2:4], table[:, 0], table[:, 1])
            yield row, _moved(once, table[:, 4:6], table[:, 1], table[:, 0])
        for rank in range(len(self._space.orders)):
            for option in range(len(self._space.full_orders[rank])):
                order = batch.order.copy()
                order[:, rank] = self._space.orders[rank, option]
                yield np.arange(len(batch)), Batch(factors, order, batch.keep)
        for level, choices in enumerate(self._space.keep):
            for dataspace, keep in enumerate(choices):
                if keep is None:
                    kept = batch.keep.copy()
                    kept[:, level, dataspace] ^= True
                    here = np.flatnonzero(kept.any(axis=1).min(axis=1))
                    yield here, Batch(factors[here], batch.order[here], kept[here])
