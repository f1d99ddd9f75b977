"""Compound component classes: energies and areas as sums over subcomponents, with Accelergy's rules.

A compound class becomes an estimator like any other: it asks the estimators of its subcomponents' classes, which may be
compounds themselves. Composition, for an action of the compound:

    energy = sum over the action's parts of: energy of the subcomponent's action x energy_scale of that action
             x copies that the action names x energy_scale of the subcomponent
    area = sum over subcomponents of: area x area_scale x copies that the definition names

An action with argument ranges has one energy per combination in Accelergy; the largest counts, as it does in Timeloop.
Unlike Accelergy nothing is rounded to six digits, and an argument given to a subcomponent's action is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import cast

from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator, Figure
from codesign.accelerator.energy.registry import ask
from codesign.accelerator.spec.compound import (
    MUST_SPECIFY,
    CompoundAction,
    CompoundClass,
    Formula,
    Subcomponent,
    SubcomponentAction,
)
from codesign.accelerator.spec.energy_table import Confidence, Provenance
from codesign.accelerator.spec.expressions import ExpressionError, evaluate_text
from codesign.errors import InputError, did_you_mean

__all__ = ["with_compounds"]

_RANGE = re.compile(r"(?P<base>[^\[]+)\[(?P<low>.+)\.\.(?P<high>.+)\]")
_INDEX = re.compile(r"(?P<base>[^\[]+)\[(?P<index>.+)\]")
_PROPAGATED = ("technology", "global_cycle_seconds")
_DEEPEST = 20
_CERTAINTY = ("measured", "published", "simulated", "scaled", "user")
"""From the surest on: a sum is as sure as its least sure part."""


def with_compounds(classes: Sequence[CompoundClass], estimators: Mapping[str, Estimator]) -> Mapping[str, Estimator]:
    """``estimators`` and one more for each compound class; a compound comes before an estimator of the same name."""
    known = dict(estimators)
    everything = MappingProxyType(known)
    for compound in classes:
        known[compound.name] = _Compound(compound, everything)
    return everything


@dataclass(frozen=True, eq=False)
class _Part:
    """A subcomponent that has answered."""

    definition: Subcomponent
    answer: ComponentEstimate
    energy_scale: float


@dataclass(frozen=True, eq=False)
class _Compound:
    """The estimator of one compound class."""

    definition: CompoundClass
    estimators: Mapping[str, Estimator]

    def __call__(self, component: Component) -> ComponentEstimate:
        """Energies of the actions that the class defines, and the area."""
        if component.name.count(".") > _DEEPEST:
            raise InputError(
                "compound classes may not contain themselves", got=self.definition.name, key=component.name
            )
        symbols = _symbols(self.definition, component)
        parts: dict[str, _Part] = {}
        areas = []
        for definition in self.definition.subcomponents:
            place = f"{component.name}.{_base(definition.name)}"
            answer = ask(_subcomponent(definition, symbols, place), self.estimators)
            scale = _number(definition.energy_scale, symbols, f"{place}.energy_scale")
            parts[_base(definition.name)] = _Part(definition, answer, scale)
            factor = _number(definition.area_scale, symbols, f"{place}.area_scale")
            copies = _copies(definition.name, symbols, place)
            areas.append((_base(definition.name), answer.area_um2, factor * copies))
        energies = {
            action.name: self._energy(action, parts, symbols, f"{component.name}.{action.name}")
            for action in self.definition.actions
        }
        return ComponentEstimate(energies, self._sum(areas))

    def _energy(
        self, action: CompoundAction, parts: Mapping[str, _Part], symbols: Mapping[str, object], place: str
    ) -> Figure:
        combinations = [
            dict(zip(action.arguments, values, strict=True)) for values in _arguments(action, symbols, place)
        ]
        return max(
            (self._sum(_terms(action, parts, {**symbols, **chosen}, place)) for chosen in combinations),
            key=lambda figure: figure.value,
        )

    def _sum(self, terms: Sequence[tuple[str, Figure, float]]) -> Figure:
        """The weighted sum of figures, its provenance telling the terms."""
        provenances = [figure.provenance for _, figure, _ in terms]
        told = " + ".join(f"{factor:g} x {name} {figure.value:.6g}" for name, figure, factor in terms)
        sources = "; ".join(dict.fromkeys(provenance.source for provenance in provenances))
        certainty = max((_CERTAINTY.index(provenance.confidence) for provenance in provenances), default=0)
        return Figure(
            sum(figure.value * factor for _, figure, factor in terms),
            Provenance(
                f"compound class {self.definition.name} of: {sources or 'nothing'}",
                told or "no part acts",
                cast(Confidence, _CERTAINTY[certainty]),
            ),
        )


def _terms(
    action: CompoundAction, parts: Mapping[str, _Part], symbols: Mapping[str, object], place: str
) -> list[tuple[str, Figure, float]]:
    terms = []
    for named in action.parts:
        base = _base(named.subcomponent)
        part = parts[base]
        copies = _copies(named.subcomponent, symbols, place)
        for inner in named.actions:
            figure = _inner(part, inner, f"{place}.{base}")
            scale = _number(inner.energy_scale, symbols, f"{place}.{base}.{inner.name}.energy_scale")
            terms.append((f"{base}.{inner.name}", figure, scale * copies * part.energy_scale))
    return terms


def _inner(part: _Part, action: SubcomponentAction, place: str) -> Figure:
    if action.arguments:
        raise InputError(
            "arguments of a subcomponent's action are not modelled",
            got=dict(action.arguments),
            key=f"{place}.{action.name}",
        )
    try:
        return part.answer.action(action.name)
    except KeyError as error:
        raise InputError(
            f"class {part.definition.component_class!r} has no such action",
            got=action.name,
            key=place,
            fix=did_you_mean(action.name, part.answer.energies),
        ) from error


def _symbols(definition: CompoundClass, component: Component) -> dict[str, object]:
    """The class's attributes, each seeing those before it; the component's own come first."""
    symbols: dict[str, object] = dict(component.attributes)
    for name, default in definition.attributes.items():
        if component.has(name):
            continue
        # Unquoted, the word is a formula; quoted, it is text.
        if default == MUST_SPECIFY or (isinstance(default, Formula) and default.text == MUST_SPECIFY):
            raise InputError(
                f"compound class {definition.name!r} needs {name}, which is not given",
                key=f"{component.name}.attributes.{name}",
                fix=f"add {name} to the attributes of {component.name} or of a container around it",
            )
        symbols[name] = _value(default, symbols, f"{component.name}.attributes.{name}")
    return symbols


def _subcomponent(definition: Subcomponent, symbols: Mapping[str, object], place: str) -> Component:
    attributes: dict[str, object] = {name: symbols[name] for name in _PROPAGATED if symbols.get(name) is not None}
    for name, value in definition.attributes.items():
        attributes[name] = _value(value, symbols, f"{place}.attributes.{name}")
    return Component(place, definition.component_class, attributes)


def _arguments(action: CompoundAction, symbols: Mapping[str, object], place: str) -> Iterator[tuple[object, ...]]:
    """Every combination of the action's arguments; a range is written "lo..hi", both included."""
    ranges: list[Sequence[object]] = []
    for name, value in action.arguments.items():
        text = value.text if isinstance(value, Formula) else value
        if isinstance(text, str) and ".." in text:
            low, high = (_bound(end, symbols, f"{place}.{name}") for end in text.split("..", 1))
            ranges.append(range(low, high + 1))
        else:
            ranges.append((_value(value, symbols, f"{place}.{name}"),))
    return product(*ranges)


def _base(name: str) -> str:
    return name.split("[", 1)[0]


def _copies(name: str, symbols: Mapping[str, object], place: str) -> int:
    """Identical parts that a name stands for: x is one, x[2] is one, x[0..3] are four."""
    match = _RANGE.fullmatch(name)
    if match is not None:
        copies = _bound(match["high"], symbols, place) - _bound(match["low"], symbols, place) + 1
        if copies < 0:
            raise InputError("a range must not end before it begins", got=name, key=place)
        return copies
    if "[" in name and _INDEX.fullmatch(name) is None:
        raise InputError("a subcomponent's name is x, x[i] or x[i..j]", got=name, key=place)
    return 1


def _bound(text: str, symbols: Mapping[str, object], place: str) -> int:
    value = _value(Formula(text), symbols, place)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise InputError("the ends of a range must be whole numbers", got=text, key=place)
    return int(value)


def _number(value: object, symbols: Mapping[str, object], place: str) -> float:
    evaluated = _value(value, symbols, place)
    if isinstance(evaluated, bool) or not isinstance(evaluated, int | float) or evaluated < 0:
        raise InputError("a scale must be a number of at least 0", got=evaluated, key=place)
    return float(evaluated)


def _value(value: object, symbols: Mapping[str, object], place: str) -> object:
    if not isinstance(value, Formula):
        return value
    try:
        return evaluate_text(value.text, symbols)
    except ExpressionError as error:
        raise InputError(
            f"the expression cannot be evaluated: {error}",
            got=value.text,
            key=place,
            fix=f'if it is meant as text, put it in quotes: "{value.text}"',
        ) from error
