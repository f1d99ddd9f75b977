"""Where directives of constraints and mappings apply: the named nodes and the storage levels that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.levels import dummy_name
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.tree import Branch, Kind, Leaf
from codesign.errors import did_you_mean

__all__ = ["Parallel", "Site", "Sites"]


@dataclass(frozen=True, eq=False)
class Site:
    """A node that a directive may target.

    Args:
        name: the node's name.
        kind: storage, compute, container, ...
        level: index of the storage level whose temporal loops and stored dataspaces it names; None if it has none.
        spatial_level: index of the spatial dummy that carries its spatial loops; None without a fan-out.
        fanout: copies under one outer node.
        leaf: the node of the tree; None where only the architecture is known.
    """

    name: str
    kind: Kind
    level: int | None
    spatial_level: int | None
    fanout: int
    leaf: Leaf | None = None


@dataclass(frozen=True, eq=False)
class Parallel:
    """A !Parallel node: the sites of each of its branches, and the !Parallel nodes inside each."""

    node: Node
    branches: tuple[tuple[Site, ...], ...]
    inner: tuple[tuple[Parallel, ...], ...]


@dataclass(frozen=True, eq=False)
class Sites:
    """All sites of an architecture, outermost first, and the !Parallel nodes that are not inside another one."""

    sites: tuple[Site, ...]
    parallels: tuple[Parallel, ...] = ()

    @classmethod
    def of_tree(cls, tree: Branch, architecture: Architecture) -> Sites:
        """The sites of a tree; a leaf that is switched off is a site without levels."""
        sites = {leaf: _site_of_leaf(leaf, architecture) for leaf in tree.leaves()}
        return cls(tuple(sites.values()), tuple(_parallels(tree, sites)))

    @classmethod
    def of_architecture(cls, architecture: Architecture) -> Sites:
        """The sites of a linear architecture; its containers are known by their spatial dummies."""
        dummies = {level.name: index for index, level in enumerate(architecture.storage) if level.spatial_dummy}
        sites = []
        for index, level in reversed(list(enumerate(architecture.storage))):
            if not level.spatial_dummy:
                sites.append(
                    _site(level.name, "storage", index, dummies.pop(dummy_name(level.name), None), architecture)
                )
        compute = architecture.compute.name
        sites.append(_site(compute, "compute", None, dummies.pop(dummy_name(compute), None), architecture))
        for name, index in dummies.items():
            node = name.removeprefix("inter_").removesuffix("_spatial")
            sites.append(_site(node, "container", None, index, architecture))
        return cls(tuple(sites))

    def of_dummy(self, name: str) -> Site | None:
        """The site whose spatial dummy has that name, as the real mapper writes its targets; None if there is none."""
        dummies = (site for site in self.sites if site.spatial_level is not None)
        return next((site for site in dummies if dummy_name(site.name) == name), None)

    def find(self, target: Node) -> Site:
        """The site that a directive names."""
        name = target.text("the target")
        for site in self.sites:
            if site.name == name:
                return site
        known = [site.name for site in self.sites]
        raise target.error("the target must be a node of the architecture", got=name, fix=did_you_mean(name, known))


def _site(name: str, kind: Kind, level: int | None, spatial: int | None, architecture: Architecture) -> Site:
    x, y = (1, 1) if spatial is None else architecture.fanout(spatial)
    return Site(name, kind, level, spatial, x * y)


def _site_of_leaf(leaf: Leaf, architecture: Architecture) -> Site:
    if not leaf.enabled or leaf.kind in ("nothing", "network"):
        return Site(leaf.name, leaf.kind, None, None, 1, leaf)
    level = architecture.level_index(leaf.name) if leaf.kind == "storage" else None
    spatial = architecture.level_index(dummy_name(leaf.name)) if leaf.fanout > 1 else None
    return Site(leaf.name, leaf.kind, level, spatial, leaf.fanout, leaf)


def _parallels(branch: Branch, sites: dict[Leaf, Site]) -> Iterator[Parallel]:
    """The outermost !Parallel nodes inside a branch, itself included."""
    if branch.parallel:
        yield Parallel(
            branch.node,
            tuple(tuple(sites[leaf] for leaf in _leaves(child)) for child in branch.children),
            tuple(tuple(_parallels(child, sites)) if isinstance(child, Branch) else () for child in branch.children),
        )
        return
    for child in branch.children:
        if isinstance(child, Branch):
            yield from _parallels(child, sites)


def _leaves(child: Leaf | Branch) -> Sequence[Leaf]:
    return tuple(child.leaves()) if isinstance(child, Branch) else (child,)
