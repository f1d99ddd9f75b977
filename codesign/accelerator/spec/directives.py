"""Collects the directives of an input: constraints at nodes, top-level constraints, and the mapping.

A directive is still bound to no problem here: its keys are checked, its dimensions and dataspaces are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from codesign.accelerator.spec.document import check_version
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.sites import Site, Sites
from codesign.errors import did_you_mean

__all__ = ["Directive", "mapping_directives", "node_directives", "target_directives"]

DirectiveKind = Literal["temporal", "spatial", "dataspace", "utilization", "idle"]

_KINDS: Mapping[str, DirectiveKind] = {
    "temporal": "temporal",
    "spatial": "spatial",
    "dataspace": "dataspace",
    "bypass": "dataspace",
    "datatype": "dataspace",
    "utilization": "utilization",
    "parallelism": "utilization",
}
"""Directive types; the real program's older names mean the same."""

_MEANINGFUL_IF_EMPTY = frozenset({"factors_only", "must_iterate_over_dataspaces", "keep_only", "bypass_only"})


@dataclass(frozen=True, eq=False)
class Directive:
    """One statement about one node: its keys are known, ``type`` and ``target`` are taken off.

    An "idle" directive is one that the real mapper writes for a spatial dummy's loops in time or its dataspaces: it
    may only say that there are none. ``constraint`` is False for what stands in a mapping.
    """

    site: Site
    kind: DirectiveKind
    node: Node
    entries: Mapping[str, Node]
    constraint: bool = True


def node_directives(sites: Sites) -> Iterator[Directive]:
    """The ``constraints`` that stand at the nodes themselves."""
    for site in sites.sites:
        constraints = None if site.leaf is None else site.leaf.constraints
        if constraints is None:
            continue
        for name, node in constraints.only(keys("node constraints"), "constraints").items():
            if name == "max_overbooked_proportion":
                _refuse_overbooking(node)
            elif node.mapping(name):
                yield _directive(site, _KINDS[name], node)


def target_directives(sections: Sequence[Node], sites: Sites) -> Iterator[Directive]:
    """The entries of top-level ``constraints: {targets: [...]}``."""
    for section in sections:
        section.only(keys("section"), section.key)
        check_version(section)
        targets = section.mapping().get("targets")
        if targets is not None:
            yield from _list(targets, sites)


def mapping_directives(sections: Sequence[Node], sites: Sites) -> Iterator[Directive]:
    """The entries of the top-level ``mapping``."""
    for section in sections:
        for directive in _list(section, sites):
            yield replace(directive, constraint=False)


def _list(section: Node, sites: Sites) -> Iterator[Directive]:
    for node in section.items(section.key):
        target = node.required("target", "a directive")
        place = node.required("type", "a directive")
        name = place.text("the type of a directive")
        if name == "max_overbooked_proportion":
            _refuse_overbooking(node)
            continue
        if name not in _KINDS:
            raise place.error("the type of a directive must be known", got=name, fix=did_you_mean(name, _KINDS))
        kind = _KINDS[name]
        dummy = sites.of_dummy(target.text("the target"))
        if dummy is None:
            yield _directive(sites.find(target), kind, node)
        else:
            directive = _directive(dummy, kind, node, of_dummy=True)
            yield directive if kind == "spatial" else replace(directive, kind="idle")


def _refuse_overbooking(node: Node) -> None:
    if node.mapping():
        raise node.error("max_overbooked_proportion is not supported")


def _directive(site: Site, kind: DirectiveKind, node: Node, *, of_dummy: bool = False) -> Directive:
    allowed = {
        "temporal": ("iteration", "temporal only"),
        "spatial": ("iteration", "spatial only"),
        "dataspace": ("dataspace",),
        "utilization": ("utilization",),
        "idle": ("iteration", "dataspace"),
    }[kind]
    entries = {
        key: entry
        for key, entry in node.only(keys(*allowed, "directive"), f"a {kind} directive").items()
        if key not in ("type", "target") and not _empty(key, entry)
    }
    if "remainders" in entries:
        raise entries["remainders"].error("remainders belong to the real mapper's ruby search space and are not read")
    active = not of_dummy and (site.leaf is None or site.leaf.enabled)
    if entries and active and kind in ("temporal", "dataspace") and site.kind in ("container", "compute", "network"):
        raise node.error(
            f"a {kind} directive must be for a storage",
            got=f"{site.name}, a {site.kind}",
            fix="only a storage has loops in time",
        )
    return Directive(site, kind, node, entries)


def _empty(key: str, node: Node) -> bool:
    """Nothing means that the key is not given; so does an empty list, except where it speaks of all that it lacks."""
    if node.value is None:
        return True
    return isinstance(node.value, list | dict) and not node.value and key not in _MEANINGFUL_IF_EMPTY
