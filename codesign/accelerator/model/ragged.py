"""Masks in a nest with imperfect loops: as in the perfect nest around it, of which only a part exists.

Where factors do not divide a bound, the digits of a dimension could count further than its bound. That they do not is
one more event: a tensor of ones up to the bound, and zeros beyond, must not be empty where something happens. Shares
are then those among what exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from codesign.accelerator.model.events import Digit, Event, all_digits, event_of, scalar, served
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.survival import Survival
from codesign.accelerator.spec.density import DENSE, ActualData, Density
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.errors import InputError

__all__ = ["Existence", "share_of"]


class Existence:
    """Which operations and deliveries of a nest exist.

    ``survival`` counts in the nest around; ``operations`` are the events that must not happen for an operation to
    exist: none in a perfect nest.

    Raises:
        InputError: a tensor of which only a density is known, or a ragged dimension that moves a sliding window.
    """

    def __init__(self, problem: Problem, nest: Nest) -> None:
        digits = all_digits(nest)
        reach = [1] * len(problem.bounds)
        for digit in digits:
            reach[digit.dimension] *= digit.bound
        self._nest = nest
        self._ragged = tuple(d for d, bound in enumerate(problem.bounds) if reach[d] > bound)
        self._markers = {d: len(problem.dataspaces) + number for number, d in enumerate(self._ragged)}
        around = _around(problem, reach, self._ragged) if self._ragged else problem
        self.survival = Survival(around, digits)
        self.operations = tuple(scalar(marker) for marker in self._markers.values())

    def deliveries(
        self,
        mapping: Sequence[LevelMapping],
        dataspace: Dataspace,
        index: int,
        level: int,
        child: int | None,
        block: int,
        *,
        apart: bool = False,
    ) -> tuple[Event, ...]:
        """What must not happen for a word of a delivery to exist; see ``events.served`` for the arguments.

        Deliveries of a sliding window count as one each, since its words are shared with its neighbours.

        Args:
            apart: count what every receiver of a multicast gets.
        """
        if not self._ragged:
            return ()
        self._check_stays(dataspace, child)
        digits = self.survival.digits
        merged = served(digits, mapping, dataspace, index, level, child, block)
        windows = any(len(rank) > 1 for rank in dataspace.ranks)
        found = []
        for d, marker in self._markers.items():
            if d in dataspace.dimensions and not windows:
                found.append(scalar(marker))
                continue
            own = {i: n for i, n in merged.items() if not (apart and _receives(digits[i], child))}
            found.append(event_of(self.survival.problem.dataspaces[marker], marker, digits, own))
        return tuple(found)

    def _check_stays(self, dataspace: Dataspace, child: int | None) -> None:
        """A loop that sometimes has a single iteration then does not move what it moves otherwise."""
        once = False
        for level, part in enumerate(self._nest.levels):
            if child is None or level <= child:
                continue
            for loop in part.temporal:
                if loop.dimension in dataspace.dimensions:
                    once |= loop.residual == 1 < loop.bound
                elif once:
                    raise InputError(
                        f"not modelled: masks where a loop that moves {dataspace.name} has one iteration at the edge, "
                        "inside one that does not move it",
                        key="mapping",
                        fix="choose factors that divide the bounds",
                    )


def _receives(digit: Digit, child: int | None) -> bool:
    return digit.spatial and child is not None and digit.level > child


def _around(problem: Problem, reach: Sequence[int], ragged: Sequence[int]) -> Problem:
    """The problem of the nest around: masks with zeros beyond the bounds, and a marker for each ragged dimension."""
    densities: list[Density] = []
    for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True):
        if isinstance(density, ActualData):
            density = replace(density, padding=_padding(problem, dataspace, density, reach, ragged))
        elif density != DENSE:
            raise InputError(
                f"not modelled: the density of {dataspace.name} beside masks in a nest with imperfect loops",
                got=repr(density),
                key=f"problem.instance.densities.{dataspace.name}",
                fix="give its actual data, or choose factors that divide the bounds",
            )
        densities.append(density)
    markers = [Dataspace(f"exists {problem.dimensions[d]}", ((Term(d),),)) for d in ragged]
    there = [ActualData.of(np.arange(reach[d]) < problem.bounds[d], varies=False) for d in ragged]
    return Problem(
        problem.name,
        problem.dimensions,
        tuple(reach),
        (*problem.dataspaces, *markers),
        (*densities, *there),
    )


def _padding(
    problem: Problem, dataspace: Dataspace, data: ActualData, reach: Sequence[int], ragged: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    known = data.padding or ((0, 0),) * len(dataspace.ranks)
    found = []
    for rank, (low, high) in zip(dataspace.ranks, known, strict=True):
        moving = [term for term in rank if reach[term.dimension] > 1]
        own = [term for term in moving if term.dimension in ragged]
        if own and len(moving) > 1:
            raise InputError(
                f"not modelled: masks of {dataspace.name} with imperfect loops over a sliding window",
                got=", ".join(problem.dimensions[term.dimension] for term in own),
                key="mapping",
                fix="choose factors that divide the bounds of these dimensions",
            )
        more = sum(abs(t.coefficient) * (reach[t.dimension] - problem.bounds[t.dimension]) for t in own)
        backwards = any(term.coefficient < 0 for term in own)
        found.append((low + more, high) if backwards else (low, high + more))
    return tuple(found)


def share_of(survival: Survival, wanted: Iterable[Event], existing: Sequence[Event]) -> Fraction | float:
    """Share of what exists for which no event happens."""
    share = survival.none_empty((*wanted, *existing))
    return share / survival.none_empty(existing) if existing else share
