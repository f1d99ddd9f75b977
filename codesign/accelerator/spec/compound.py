"""Compound component classes as data: attributes, subcomponents and actions, their expressions not yet evaluated.

Accelergy evaluates them for every component that uses the class; so does the energy estimator here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from codesign.accelerator.spec.expressions import evaluate_text

__all__ = [
    "MUST_SPECIFY",
    "ActionPart",
    "CompoundAction",
    "CompoundClass",
    "Formula",
    "Subcomponent",
    "SubcomponentAction",
]

MUST_SPECIFY = "must_specify"
"""Default of an attribute that the component itself has to give."""

_EMPTY: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression, as written (unquoted text)."""

    text: str

    def value(self, symbols: Mapping[str, object]) -> object:
        """Its value; raises ExpressionError with the reason if it has none."""
        return evaluate_text(self.text, symbols)


@dataclass(frozen=True, slots=True)
class Subcomponent:
    """A part of a compound; ``name`` may hold a range ("pointer[0..1]"). Values are plain or a Formula."""

    name: str
    component_class: str
    attributes: Mapping[str, object] = field(default_factory=lambda: _EMPTY)
    area_scale: object = 1.0
    energy_scale: object = 1.0


@dataclass(frozen=True, slots=True)
class SubcomponentAction:
    """One action of a subcomponent; ``energy_scale`` is plain or a Formula."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=lambda: _EMPTY)
    energy_scale: object = 1.0


@dataclass(frozen=True, slots=True)
class ActionPart:
    """What one subcomponent (or a range of them) does in an action."""

    subcomponent: str
    actions: tuple[SubcomponentAction, ...]


@dataclass(frozen=True, slots=True)
class CompoundAction:
    """An action of the compound: its energy is the sum over its parts."""

    name: str
    parts: tuple[ActionPart, ...]
    arguments: Mapping[str, object] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class CompoundClass:
    """A compound class. ``attributes`` in file order: later ones may refer to earlier ones."""

    name: str
    attributes: Mapping[str, object]
    subcomponents: tuple[Subcomponent, ...]
    actions: tuple[CompoundAction, ...]

    def action(self, name: str) -> CompoundAction:
        """The action of that name; KeyError if there is none."""
        for action in self.actions:
            if action.name == name:
                return action
        raise KeyError(name)
