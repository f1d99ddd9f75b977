"""Reads the compound classes of ``components`` (or ``compound_components``) sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from codesign.accelerator.spec.compound import (
    ActionPart,
    CompoundAction,
    CompoundClass,
    Formula,
    Subcomponent,
    SubcomponentAction,
)
from codesign.accelerator.spec.document import check_version
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node
from codesign.errors import did_you_mean

__all__ = ["read_compound_classes"]


def read_compound_classes(sections: Sequence[Node]) -> tuple[CompoundClass, ...]:
    """All compound classes of the files.

    Raises:
        InputError: a key is unknown or missing, two classes have one name, an action names an unknown subcomponent.
    """
    found: dict[str, CompoundClass] = {}
    for section in sections:
        section.only(keys("components"), "components")
        check_version(section)
        classes = section.mapping().get("classes")
        for node in () if classes is None else _flat(classes):
            compound = _class(node)
            if compound.name in found:
                raise node.error("the names of compound classes must differ", got=compound.name)
            found[compound.name] = compound
    return tuple(found.values())


def _flat(node: Node) -> Iterator[Node]:
    """The entries of a list, lists inside it opened, as in the real front end."""
    for item in node.items("classes"):
        if item.is_list:
            yield from _flat(item)
        else:
            yield item


def _class(node: Node) -> CompoundClass:
    entries = node.only(keys("compound class"), "a compound class")
    name = node.required("name", "a compound class").text("the name of a class")
    parts = tuple(_subcomponent(part) for part in _list(entries, "subcomponents"))
    actions = tuple(_action(action, [_base(part.name) for part in parts]) for action in _list(entries, "actions"))
    return CompoundClass(name, _values(entries.get("attributes")), parts, actions)


def _list(entries: Mapping[str, Node], key: str) -> Sequence[Node]:
    return entries[key].items(key) if key in entries else ()


def _base(name: str) -> str:
    return name.split("[", 1)[0]


def _subcomponent(node: Node) -> Subcomponent:
    entries = node.only(keys("subcomponent"), "a subcomponent")
    return Subcomponent(
        name=node.required("name", "a subcomponent").text("the name of a subcomponent"),
        component_class=node.required("class", "a subcomponent").text("the class of a subcomponent"),
        attributes=_values(entries.get("attributes")),
        area_scale=_value(entries["area_scale"]) if "area_scale" in entries else 1.0,
        energy_scale=_value(entries["energy_scale"]) if "energy_scale" in entries else 1.0,
    )


def _action(node: Node, known: Sequence[str]) -> CompoundAction:
    entries = node.only(keys("compound action"), "an action")
    parts = []
    for part in _list(entries, "subcomponents"):
        inner = part.only(keys("compound action part"), "a subcomponent of an action")
        place = part.required("name", "a subcomponent of an action")
        name = place.text("the name of a subcomponent")
        if _base(name) not in known:
            raise place.error(
                "an action must name a subcomponent of its class", got=name, fix=did_you_mean(name, known)
            )
        parts.append(ActionPart(name, tuple(_part_action(action) for action in _list(inner, "actions"))))
    name = node.required("name", "an action").text("the name of an action")
    return CompoundAction(name, tuple(parts), _values(entries.get("arguments")))


def _part_action(node: Node) -> SubcomponentAction:
    entries = node.only(keys("subcomponent action"), "a subcomponent's action")
    scale = entries.get("energy_scale") or entries.get("repeat")
    return SubcomponentAction(
        name=node.required("name", "a subcomponent's action").text("the name of an action"),
        arguments=_values(entries.get("arguments")),
        energy_scale=1.0 if scale is None else _value(scale),
    )


def _values(node: Node | None) -> Mapping[str, object]:
    if node is None:
        return MappingProxyType({})
    return MappingProxyType({key: _value(value) for key, value in node.mapping().items()})


def _value(node: Node) -> object:
    """Plain data, or a Formula for unquoted text."""
    if isinstance(node.value, dict):
        return MappingProxyType({key: _value(value) for key, value in node.value.items()})
    if isinstance(node.value, list):
        return tuple(_value(value) for value in node.value)
    if isinstance(node.value, str) and not node.quoted:
        return Formula(node.value)
    return node.value
