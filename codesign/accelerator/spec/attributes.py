"""The attributes of a component: evaluated, inherited, and read with the checks that their meaning asks for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from math import isfinite
from types import MappingProxyType

from codesign.accelerator.spec.expressions import evaluate
from codesign.accelerator.spec.glossary import explain_key, keys
from codesign.accelerator.spec.nodes import Node, Value
from codesign.errors import InputError

__all__ = ["NOT_INHERITED", "STORAGE_DEFAULTS", "AttributeSet", "check_names", "evaluate_attributes"]

STORAGE_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "n_banks": 2,
        "cluster_size": 1,
        "reduction_supported": True,
        "multiple_buffering": 1,
        "min_utilization": 0,
        "allow_overbooking": False,
    }
)
"""What the real front end writes into every storage that does not say otherwise."""

NOT_INHERITED = frozenset({*STORAGE_DEFAULTS, "has_power_gating", "power_gated_at"})
"""Attributes that the real front end gives every component a default for, before the containers are looked at."""


_LONGEST_CYCLE_SECONDS = 1e-3
# Similarity of difflib: one wrong, missing or swapped letter in a word of ten. `datawidth_a` is a name of its own.
_ALL_BUT_EQUAL = 0.91


class AttributeSet:
    """Attribute values with the place of each; the first of several names for one thing wins.

    Args:
        values: own and inherited attributes, evaluated.
        places: the node of each value that a file gives.
        owner: the component, for what is missing.
        variables: global names; the energy estimator sees them, the storage rules do not.
    """

    def __init__(
        self, values: Mapping[str, object], places: Mapping[str, Node], owner: Node, variables: Mapping[str, object]
    ) -> None:
        self.values = values
        self.for_estimator: Mapping[str, object] = MappingProxyType({**variables, **values})
        self._places = places
        self._owner = owner

    def has(self, *names: str) -> bool:
        """True if any of the names is given."""
        return self._name(names) is not None

    def integer(self, *names: str, least: int = 1) -> int | None:
        """The integer under the first name given, at least ``least``; None if none is given."""
        found = self.number(*names, least=least)
        if found is None:
            return None
        if not found.is_integer():
            raise self._wrong(names, f"an integer of at least {least}")
        return int(found)

    def number(self, *names: str, least: float | None = None, above: float | None = None) -> float | None:
        """The finite number under the first name given, within its limits; None if none is given."""
        name = self._name(names)
        if name is None:
            return None
        value = self.values[name]
        limit = (
            "" if least is None and above is None else f" of at least {least}" if above is None else f" above {above}"
        )
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self._wrong(names, f"a number{limit}")
        if (least is not None and value < least) or (above is not None and value <= above):
            raise self._wrong(names, f"a number{limit}")
        return float(value)

    def flag(self, name: str) -> bool | None:
        """True or false; None if it is not given."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not isinstance(value, bool):
            raise self._wrong((name,), "true or false")
        return value

    def text(self, name: str) -> str | None:
        """Text; None if it is not given."""
        if not self.has(name):
            return None
        value = self.values[name]
        if not isinstance(value, str) or not value:
            raise self._wrong((name,), "text in quotes")
        return value

    def require(self, name: str, value: int | None) -> int:
        """``value``, or the error that the component lacks ``name``."""
        if value is not None:
            return value
        own = list(self._places)
        near = get_close_matches(name, own, n=1)
        raise self._owner.error(
            f"a storage needs the attribute {name} ({explain_key(name)[0].unit})",
            got=f"only {', '.join(own) or 'no attribute'}",
            fix=f"is {near[0]} meant to be {name}?" if near else None,
        )

    def error(self, name: str, rule: str, *, fix: str | None = None) -> InputError:
        """The error that the attribute ``name`` breaks ``rule``."""
        place = self._places.get(name, self._owner)
        return place.error(rule, got=self.values.get(name), fix=fix)

    def _name(self, names: tuple[str, ...]) -> str | None:
        if not keys("attributes").issuperset(names):
            raise KeyError(f"the glossary lacks one of {names}")
        return next((name for name in names if name in self.values), None)

    def _wrong(self, names: tuple[str, ...], rule: str) -> InputError:
        name = self._name(names) or names[0]
        entries = explain_key(name)
        unit = entries[0].unit if entries else ""
        fix = None
        if isinstance(self.values.get(name), str) and unit:
            fix = f"a plain number; its unit is fixed: {unit}"
        return self.error(name, f"{name} must be {rule}", fix=fix)


def evaluate_attributes(
    attributes: Node | None, symbols: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, Node]]:
    """Own attributes in file order, each seeing ``symbols`` and those before it, and the place of each.

    An attribute without a value counts as not given, as in the real front end.
    """
    values: dict[str, object] = {}
    places: dict[str, Node] = {}
    if attributes is None:
        return values, places
    scope = dict(symbols)
    for name, node in attributes.mapping("attributes").items():
        value = _plain(node) if node.is_mapping or node.is_list else evaluate(node, scope, name)
        if value is None:
            continue
        _check_unit(name, value, node)
        values[name] = scope[name] = value
        places[name] = node
    return values, places


def check_names(places: Mapping[str, Node]) -> None:
    """Raise InputError for an attribute that nobody reads and that is all but one that is read.

    Attributes are free-form, since energy estimators read their own. But `shard_bandwidth` would leave the bandwidth
    unlimited without a word.
    """
    known = keys("attributes")
    for name, node in places.items():
        near = [] if name in known else get_close_matches(name, known, n=1, cutoff=_ALL_BUT_EQUAL)
        if near and near[0] not in places:
            raise node.error(
                "no reader knows this attribute, which is nearly the name of one that is read",
                got=name,
                fix=f"did you mean {near[0]}? (an attribute of your own estimator needs a name that differs more)",
            )


def _plain(node: Node) -> object:
    """A nested value as plain data; text inside lists and mappings is not evaluated, as in the real front end."""
    value: Value = node.value
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_plain(inner) for inner in value)
    return value


def _check_unit(name: str, value: object, node: Node) -> None:
    """Values whose unit cannot be guessed: the process node needs its own, a cycle is in seconds."""
    if name == "technology":
        _check_technology(value, node)
    elif name == "global_cycle_seconds":
        plausible = isinstance(value, int | float) and (value == -1 or 0 < value <= _LONGEST_CYCLE_SECONDS)
        if isinstance(value, bool) or not plausible:
            raise node.error(
                f"global_cycle_seconds must be a number of seconds, above 0 and at most {_LONGEST_CYCLE_SECONDS}",
                got=node.describe(),
                fix="a missing unit? one nanosecond is 1e-9",
            )


def _check_technology(value: object, node: Node) -> None:
    if value == -1:
        return
    text = str(value)
    digits = text.removesuffix("nm").strip()
    if text.endswith("nm") or not digits.replace(".", "", 1).isdigit():
        return
    raise node.error("technology needs its unit", got=node.describe(), fix=f'write "{digits}nm", in quotes')
