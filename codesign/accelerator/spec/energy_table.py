"""Energy per action and area per component (ERT and ART), each number with where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["AreaEntry", "EnergyEntry", "EnergyTable", "Provenance"]

Confidence = Literal["measured", "published", "simulated", "scaled", "user"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number comes from: citation or file, the scaling applied ("none" if as published), how sure it is."""

    source: str
    scaling: str = "none"
    confidence: Confidence = "user"


@dataclass(frozen=True, slots=True)
class EnergyEntry:
    """Energy of one action of one component, pJ per vector access (leak: pJ per cycle and instance)."""

    component: str
    action: str
    energy_pJ: float
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class AreaEntry:
    """Area of one instance of a component, square micrometres."""

    component: str
    area_um2: float
    provenance: Provenance


@dataclass(frozen=True)
class EnergyTable:
    """All energies (ERT) and areas (ART) of one architecture. A look-up that misses raises; there is no default."""

    energies: tuple[EnergyEntry, ...]
    areas: tuple[AreaEntry, ...] = ()

    def __iter__(self) -> Iterator[EnergyEntry]:
        return iter(self.energies)

    def actions(self, component: str) -> dict[str, float]:
        """Action -> pJ of one component; several entries of one action give the largest, as in the real program.

        Raises:
            KeyError: the component is in no table.
        """
        found: dict[str, float] = {}
        for entry in self.energies:
            if entry.component == component:
                found[entry.action] = max(entry.energy_pJ, found.get(entry.action, entry.energy_pJ))
        if not found:
            raise KeyError(component)
        return found

    def first(self, component: str, actions: Iterable[str]) -> float | None:
        """Energy in pJ of the first of ``actions`` that the component has; None if it has none of them."""
        table = self.actions(component)
        return next((table[action] for action in actions if action in table), None)

    def area_um2(self, component: str) -> float:
        """Area of one instance; KeyError if no table gives it."""
        for entry in self.areas:
            if entry.component == component:
                return entry.area_um2
        raise KeyError(component)
