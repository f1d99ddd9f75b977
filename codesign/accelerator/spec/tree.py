"""The architecture tree of Timeloop v0.4: nodes in file order, with their attributes evaluated.

``read_tree`` knows tags, keys, names and nesting. What the nodes mean as storage levels is the architecture
reader's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from codesign.accelerator.spec.attributes import check_names, evaluate_attributes
from codesign.accelerator.spec.document import check_version
from codesign.accelerator.spec.expressions import evaluate
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node

__all__ = ["Branch", "Kind", "Leaf", "read_tree", "read_variables"]

Kind = Literal["storage", "compute", "network", "container", "nothing"]

_CLASSES: Mapping[Kind, tuple[str, ...]] = {
    "storage": ("DRAM", "SRAM", "regfile", "smartbuffer", "storage"),
    "compute": ("mac", "intmac", "fpmac", "compute"),
    "network": ("XY_NoC", "Legacy", "ReductionTree", "SimpleMulticast"),
    "nothing": ("nothing",),
}
"""Kind of a component: the first in this order of which a word occurs in its class."""

_BRANCHES = ("!Hierarchical", "!Parallel", "!Pipelined")


@dataclass(frozen=True, eq=False)
class Leaf:
    """A component, container or !Nothing.

    Args:
        name: its name; !Nothing may lack one and is then called "nothing".
        kind: what the class makes of it.
        component_class, subclass: as written; empty for a container.
        values, places: own attributes, evaluated, and where each stands.
        mesh: fan-out (X, Y).
        enabled: False if it or a branch around it is switched off.
        under_parallel: it stands directly under !Parallel.
        constraints, sparse: the nodes of these keys, if given.
    """

    name: str
    kind: Kind
    node: Node
    component_class: str = ""
    subclass: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    places: Mapping[str, Node] = field(default_factory=dict)
    mesh: tuple[int, int] = (1, 1)
    enabled: bool = True
    under_parallel: bool = False
    constraints: Node | None = None
    sparse: Node | None = None
    energy_scale: float = 1.0
    area_scale: float = 1.0

    @property
    def fanout(self) -> int:
        """Copies under one outer node."""
        return self.mesh[0] * self.mesh[1]


@dataclass(frozen=True, eq=False)
class Branch:
    """A !Hierarchical, !Parallel or !Pipelined node, or the whole tree."""

    node: Node
    children: tuple[Leaf | Branch, ...]
    parallel: bool = False

    def leaves(self) -> Iterator[Leaf]:
        """All leaves in file order, those that are switched off included."""
        for child in self.children:
            if isinstance(child, Branch):
                yield from child.leaves()
            else:
                yield child


def read_variables(sections: Sequence[Node]) -> dict[str, object]:
    """The ``variables`` of all files, evaluated in order; one name may not get two values."""
    symbols: dict[str, object] = {}
    for section in sections:
        check_version(section)
        own = {key: node for key, node in section.mapping("variables").items() if key != "version"}
        table = Node(own, path=section.path, line=section.line, key=section.key)
        for name, value in evaluate_attributes(table, symbols)[0].items():
            if symbols.setdefault(name, value) != value:
                raise own[name].error(
                    f"the variable {name} has another value already", got=f"{symbols[name]!r} and {value!r}"
                )
    return symbols


def read_tree(sections: Sequence[Node], variables: Mapping[str, object]) -> Branch:
    """The tree of all ``architecture`` sections, one after the other.

    Raises:
        InputError: a tag, key, class, name, attribute or fan-out is not valid.
    """
    reader = _TreeReader(variables)
    children: list[Leaf | Branch] = []
    for section in sections:
        check_version(section)
        section.only(keys("architecture"), "architecture")
        nodes = section.required("nodes", "architecture")
        children += reader.children(nodes, enabled=True, parallel=False)
    return Branch(sections[0], tuple(children))


class _TreeReader:
    """Walks the tree in file order; what an expression may name grows with every node that is passed."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self._symbols: dict[str, object] = dict(variables)
        self._names: dict[str, Node] = {}

    def children(self, nodes: Node, *, enabled: bool, parallel: bool) -> list[Leaf | Branch]:
        """The nodes of one ``nodes`` list."""
        found: list[Leaf | Branch] = []
        for node in nodes.items("nodes"):
            if node.tag in _BRANCHES:
                found.append(self._branch(node, enabled=enabled))
            else:
                found.append(self._leaf(node, enabled=enabled, parallel=parallel))
        return found

    def _branch(self, node: Node, *, enabled: bool) -> Branch:
        entries = node.only(keys("branch"), f"{node.tag}")
        parallel = node.tag == "!Parallel"
        on = enabled and self._enabled(entries, self._symbols)
        inner = entries.get("nodes")
        children = [] if inner is None else self.children(inner, enabled=on, parallel=parallel)
        return Branch(node, tuple(children), parallel)

    def _leaf(self, node: Node, *, enabled: bool, parallel: bool) -> Leaf:
        if node.tag is None:
            raise node.error(
                "a node needs its tag", got=node.describe(), fix="write !Component or !Container before it"
            )
        entries = node.only(_leaf_keys(node.tag), node.tag)
        kind, component_class = _kind(node)
        name = self._name(node, kind)
        enabled = enabled and self._enabled(entries, self._symbols)
        if not enabled:
            return Leaf(name, kind, node, component_class, enabled=False, constraints=entries.get("constraints"))
        values, places = evaluate_attributes(entries.get("attributes"), self._symbols)
        check_names(places)
        scope = {**self._symbols, **values}
        mesh = _mesh(entries.get("spatial"), scope)
        if kind == "container":
            self._symbols.update(values)
        if name not in self._symbols:
            self._symbols[name] = {"attributes": values, "spatial": {"meshX": mesh[0], "meshY": mesh[1]}}
        _refuse_networks(entries.get("networks"))
        return Leaf(
            name,
            kind,
            node,
            component_class,
            subclass=entries["subclass"].text("subclass") if _given(entries, "subclass") else None,
            values=values,
            places=places,
            mesh=mesh,
            under_parallel=parallel,
            constraints=entries.get("constraints"),
            sparse=entries.get("sparse_optimizations"),
            energy_scale=_scale(entries.get("energy_scale"), scope, "energy_scale"),
            area_scale=_scale(entries.get("area_scale"), scope, "area_scale"),
        )

    def _name(self, node: Node, kind: Kind) -> str:
        if kind == "nothing" and "name" not in node.mapping():
            return "nothing"
        place = node.required("name", f"{node.tag}")
        name = place.text("name")
        if name in self._names:
            first = self._names[name]
            raise node.error(
                "names of components and containers must differ", got=name, fix=f"the first one is on line {first.line}"
            )
        self._names[name] = node
        if any(mark in name for mark in ".[]") or name != name.strip():
            raise place.error("a name may not hold dots, brackets or outer blanks", got=repr(name))
        return name

    def _enabled(self, entries: Mapping[str, Node], symbols: Mapping[str, object]) -> bool:
        node = entries.get("enabled")
        if node is None or node.value is None:
            return True
        value = evaluate(node, symbols, "enabled")
        if not isinstance(value, bool):
            raise node.error("enabled must be true or false", got=node.describe())
        return value


def _given(entries: Mapping[str, Node], key: str) -> bool:
    return key in entries and entries[key].value is not None


def _leaf_keys(tag: str) -> frozenset[str]:
    known = keys("node")
    return known - {"class", "subclass"} if tag == "!Container" else known - {"networks"}


def _kind(node: Node) -> tuple[Kind, str]:
    """Kind and class of a leaf, by its tag and by the words in its class."""
    if node.tag == "!Container":
        return "container", ""
    if node.tag == "!Nothing":
        return "nothing", "nothing"
    place = node.required("class", f"{node.tag}")
    component_class = place.text("class")
    for kind, words in _CLASSES.items():
        if any(word in component_class for word in words):
            return kind, component_class
    raise place.error(
        "a class must contain a word that says what it is",
        got=component_class,
        fix="; ".join(f"{kind}: {', '.join(words)}" for kind, words in _CLASSES.items())
        + "; a subclass may be anything",
    )


def _mesh(spatial: Node | None, symbols: Mapping[str, object]) -> tuple[int, int]:
    if spatial is None:
        return 1, 1
    found = {"meshX": 1, "meshY": 1}
    for axis, node in spatial.only(keys("spatial"), "spatial").items():
        value = evaluate(node, symbols, axis)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
            raise node.error(f"the fan-out {axis} must be a positive integer", got=repr(value))
        found[axis] = int(value)
    return found["meshX"], found["meshY"]


def _scale(node: Node | None, symbols: Mapping[str, object], what: str) -> float:
    if node is None or node.value is None:
        return 1.0
    value = evaluate(node, symbols, what)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise node.error(f"{what} must be a number of at least 0", got=repr(value))
    return float(value)


def _refuse_networks(node: Node | None) -> None:
    if node is not None and node.items("networks"):
        raise node.error("user networks of a container are not modelled", fix="remove `networks`")
