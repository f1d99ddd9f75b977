"""What a search minimises: one quantity, two in order of importance, or the trade-off between two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from codesign.accelerator.mapper.cost import Objective
from codesign.accelerator.result import Result
from codesign.errors import InputError, did_you_mean

__all__ = ["EDP", "Goal", "value_of"]

# Share of the second quantity's logarithm in the search's score: below any step of the first that could matter.
_TIE_BREAK = 1e-9
# A trade-off is searched from these directions, as exponents of (first, second) quantity.
_DIRECTIONS = ((1.0, 1e-6), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (1e-6, 1.0))


def value_of(result: Result, objective: Objective) -> float:
    """Energy in pJ, latency in cycles, or their product."""
    cycles = float(result.cycles)
    return {"edp": result.energy_pJ * cycles, "energy": result.energy_pJ, "latency": cycles}[objective]


@dataclass(frozen=True, slots=True)
class Goal:
    """``objectives`` in order of importance, or with ``pareto`` two that are traded off against each other.

    ``perfect_only`` leaves out imperfect factors. In space these pad a dimension, and the real program's count of
    computes, which this package reproduces, then holds work that the layer does not have.
    """

    objectives: tuple[Objective, ...] = ("edp",)
    pareto: bool = False
    perfect_only: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.objectives) <= 2 or len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"Goal: one objective or two different ones are needed (got {self.objectives!r})")
        if self.pareto and len(self.objectives) != 2:
            raise ValueError(f"Goal: a trade-off is between two objectives (got {self.objectives!r})")

    @classmethod
    def parse(cls, text: str, *, pareto: bool = False) -> Goal:
        """``edp``, ``latency,energy`` (the first one counts, the second one breaks ties).

        Raises:
            InputError: an objective is unknown, there are more than two, or a trade-off has not two.
        """
        names = [name.strip() for name in text.split(",")]
        known = get_args(Objective)
        objectives: list[Objective] = []
        for name in names:
            match: list[Objective] = [option for option in known if option == name]
            if not match:
                raise InputError(
                    "an objective must be known", got=name, key="--objective", fix=did_you_mean(name, known)
                )
            objectives += match
        if len(objectives) > 2 or len(set(objectives)) != len(objectives) or (pareto and len(objectives) != 2):
            rule = "a Pareto set is of two different objectives" if pareto else "at most two different objectives"
            raise InputError(rule, got=text, key="--objective", fix="e.g. --objective latency,energy")
        return cls(tuple(objectives), pareto)

    def __str__(self) -> str:
        return ("pareto:" if self.pareto else "") + ",".join(self.objectives)

    def key(self, result: Result) -> tuple[float, ...]:
        """What mappings are compared by, smallest first."""
        return tuple(value_of(result, objective) for objective in self.objectives)

    def weights(self) -> tuple[tuple[float, float], ...]:
        """Exponents (energy, cycles) of the products that the search minimises, one search each."""
        directions = _DIRECTIONS if self.pareto else ((1.0, _TIE_BREAK)[: len(self.objectives)],)
        found = []
        for direction in directions:
            energy = cycles = 0.0
            for share, objective in zip(direction, self.objectives, strict=True):
                energy += share * (objective != "latency")
                cycles += share * (objective != "energy")
            found.append((energy, cycles))
        return tuple(found)

    @property
    def single(self) -> Literal["edp", "energy", "latency"]:
        """The most important objective."""
        return self.objectives[0]


EDP = Goal()
"""Energy-delay product alone."""
