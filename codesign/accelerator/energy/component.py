"""What an estimator is asked (a component and its attributes) and what it answers (figures with provenance)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from codesign.accelerator.spec.energy_table import Provenance
from codesign.errors import InputError

__all__ = ["Component", "ComponentEstimate", "Estimator", "Figure"]

_NANOMETRES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:nm)?\s*")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and where it comes from: pJ per action, pJ per cycle (leak), or square micrometres (area)."""

    value: float
    provenance: Provenance

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) or self.value < 0:
            raise ValueError(f"Figure: a finite number of at least 0 is needed (got {self.value!r})")


@dataclass(frozen=True, slots=True)
class ComponentEstimate:
    """Energy of every action that the component knows (pJ; ``leak``: pJ per cycle) and the area of one instance.

    ``dynamic`` applies to every action but ``leak`` that ``energies`` does not name; None if there is no such figure.
    """

    energies: Mapping[str, Figure]
    area_um2: Figure
    dynamic: Figure | None = None

    def action(self, name: str) -> Figure:
        """Energy of one action; KeyError if the component does not know it."""
        if name in self.energies:
            return self.energies[name]
        if name != "leak" and self.dynamic is not None:
            return self.dynamic
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Component:
    """One component as the estimator sees it; attributes include those inherited from its containers.

    The readers below raise InputError with the attribute's dotted key: there is no default for a number that decides
    an energy.
    """

    name: str
    component_class: str
    attributes: Mapping[str, object]

    def has(self, key: str) -> bool:
        """True if the attribute is given."""
        return self.attributes.get(key) is not None

    def error(self, key: str, rule: str, *, fix: str | None = None) -> InputError:
        """The error for a bad or missing attribute, with its place."""
        return InputError(rule, got=self.attributes.get(key), key=f"{self.name}.attributes.{key}", fix=fix)

    def number(self, key: str) -> float:
        """A finite number above 0."""
        value = self._given(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(key, f"{key} must be a number above 0")
        return float(value)

    def integer(self, key: str) -> int:
        """A whole number of at least 1."""
        value = self.number(key)
        if value != int(value):
            raise self.error(key, f"{key} must be a whole number")
        return int(value)

    def text(self, key: str) -> str:
        """A word."""
        value = self._given(key)
        if not isinstance(value, str):
            raise self.error(key, f"{key} must be text", fix=f'put it in quotes: {key}: "{value}"')
        return value

    @property
    def technology_nm(self) -> float:
        """Technology node in nanometres, written as 45, "45" or "45nm"."""
        value = self._given("technology")
        match = _NANOMETRES.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            value = float(match[1])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.error("technology", "technology must be a node in nanometres", fix='write for example "45nm"')
        return float(value)

    @property
    def cycle_seconds(self) -> float:
        """Clock period in seconds."""
        return self.number("global_cycle_seconds")

    def _given(self, key: str) -> object:
        value = self.attributes.get(key)
        if value is None:
            raise InputError(
                f"the energy of class {self.component_class!r} depends on {key}, which is not given",
                key=f"{self.name}.attributes.{key}",
                fix=f"add {key} to the attributes of {self.name} or of a container around it",
            )
        return value


Estimator = Callable[[Component], ComponentEstimate]
"""Energies and area of one component. Raises InputError for a bad attribute."""
