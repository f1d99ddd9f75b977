"""Reads Accelergy's energy and area reference tables (ERT and ART)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from codesign.accelerator.spec.energy_table import AreaEntry, EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node

__all__ = ["read_tables"]

_VERSIONS = ("0.3", "0.4")
_RANGE = re.compile(r"\[[^\]]*\]")


def read_tables(ert: Node | None, art: Node | None) -> EnergyTable | None:
    """The energy table; None where no energies are given, since areas alone say nothing of energy.

    Raises:
        InputError: a key is unknown or missing, a number is negative or not finite, a component is given twice.
    """
    areas = tuple(_areas(art)) if art is not None else ()
    if ert is None:
        return None
    return EnergyTable(tuple(_energies(ert)), areas)


def _energies(section: Node) -> Iterator[EnergyEntry]:
    provenance = Provenance(section.path.name)
    for component, table in _tables(section, "energy of a component"):
        for action in table.required("actions", f"the table of {component}").items("actions"):
            action.only(keys("action energy"), "an action")
            name = action.required("name", "an action").text("an action's name")
            energy = _positive(
                action.required("energy", f"{name} of {component}"), f"the energy of {name} of {component}"
            )
            yield EnergyEntry(component, name, energy, provenance)


def _areas(section: Node) -> Iterator[AreaEntry]:
    provenance = Provenance(section.path.name)
    for component, table in _tables(section, "area of a component"):
        yield AreaEntry(component, _positive(table.required("area", component), f"the area of {component}"), provenance)


def _tables(section: Node, kind: str) -> Iterator[tuple[str, Node]]:
    section.only(keys("table"), section.key)
    version = section.mapping().get("version")
    if version is not None and str(version.value) not in _VERSIONS:
        raise version.error(f"tables of version {' and '.join(_VERSIONS)} are read", got=version.describe())
    seen: dict[str, Node] = {}
    for table in section.required("tables", section.key).items("tables"):
        table.only(keys(kind), "a table")
        place = table.required("name", "a table")
        # The path may hold ranges at any level: PE[1..4].buffer[1..2] is the component "buffer".
        component = _RANGE.sub("", place.text("a table's name")).rsplit(".", 1)[-1]
        if not component:
            raise place.error("a table must name its component", got=place.describe())
        if component in seen:
            raise place.error(
                "a component may have one table", got=component, fix=f"also on line {seen[component].line}"
            )
        seen[component] = place
        yield component, table


def _positive(node: Node, what: str) -> float:
    value = node.number(what)
    if value < 0:
        raise node.error(f"{what} must not be negative", got=value)
    return value
