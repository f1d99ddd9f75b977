"""From the tree to the linear hierarchy that the engine knows: fan-outs, inheritance, power gating.

The order is that of the real front end: nodes are placed in file order, a fan-out multiplies the mesh of everything
after it and puts a spatial dummy before the node, and a container's attributes hold for everything after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.attributes import NOT_INHERITED, STORAGE_DEFAULTS, AttributeSet
from codesign.accelerator.spec.levels import compute_level, dummy_name, spatial_dummy, storage_level
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.tree import Branch, Leaf

__all__ = ["linearise"]

_DUMMY: Mapping[str, object] = MappingProxyType({"width": 1, "depth": 1, "datawidth": 1, "technology": -1})
_CYCLE = "global_cycle_seconds"
_UNKNOWN_CYCLE = 1e-9


def linearise(tree: Branch, variables: Mapping[str, object]) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture of a tree, and what the reader of its results should know.

    Raises:
        InputError: there is no compute, or it is not the last component; a fan-out stands under !Parallel; a storage
            attribute is missing or senseless.
    """
    placer = _Placer(variables)
    for leaf in tree.leaves():
        if leaf.enabled:
            placer.place(leaf)
    return placer.architecture(tree)


@dataclass
class _Gating:
    """Where power gating is, as the real front end tracks it while it walks.

    It gives every container a ``power_gated_at`` (empty unless set), which everything after it inherits; so
    ``has_power_gating`` only works where no container stands before.
    """

    container_seen: bool = False
    inherited: str | None = None
    current: str | None = None
    pending: bool = False

    def passed(self, name: str) -> None:
        """A level is placed: the first below a gating node is the one that is switched."""
        if self.pending:
            self.current, self.pending = name, False

    def level_of(self, leaf: Leaf) -> str | None:
        """Name of the level that switches this component; None for the component itself."""
        own = leaf.values.get("power_gated_at")
        if isinstance(own, str):
            return own
        gated_at = self.inherited if self.container_seen else self.current
        return None if gated_at == leaf.name else gated_at


class _Placer:
    """Walks the leaves and collects the levels, outermost first."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self._variables = dict(variables)
        self._inherited: dict[str, object] = {}
        self._inherited_places: dict[str, Node] = {}
        self._gating = _Gating()
        self._mesh = (1, 1)
        self._storage: list[Storage] = []
        self._storage_leaves: list[Leaf] = []
        self._compute: Compute | None = None
        self._last: Leaf | None = None
        self._warnings: list[str] = []

    def place(self, leaf: Leaf) -> None:
        """Add the level or levels of one leaf."""
        if leaf.kind == "nothing":
            return
        self._check_parallel(leaf)
        if leaf.kind == "container":
            self._enter(leaf)
        elif self._compute is not None:
            raise leaf.node.error(
                "the compute must be the last component", got=f"{leaf.name} after {self._compute.name}"
            )
        gates = leaf.values.get("has_power_gating") is True
        if leaf.fanout > 1:
            self._gating.passed(dummy_name(leaf.name))
            self._gating.pending = gates
            self._storage.append(spatial_dummy(leaf, self._attributes(leaf, dict(_DUMMY), {}), self._mesh))
            self._mesh = (self._mesh[0] * leaf.mesh[0], self._mesh[1] * leaf.mesh[1])
        self._last = leaf
        if leaf.kind != "container":
            self._gating.passed(leaf.name)
        if leaf.kind == "storage":
            attributes = self._attributes(leaf, {**STORAGE_DEFAULTS, **leaf.values}, leaf.places)
            gated_at = self._gating.level_of(leaf)
            self._storage.append(storage_level(leaf, attributes, self._mesh, gated_at))
            self._storage_leaves.append(leaf)
        elif leaf.kind == "compute":
            self._compute = compute_level(leaf, self._attributes(leaf, dict(leaf.values), leaf.places), self._mesh)
        elif leaf.kind == "network":
            self._warnings.append(f"the network component {leaf.name} is not connected to any level and is ignored")
        if gates:
            self._note_gating(leaf)

    def architecture(self, tree: Branch) -> tuple[Architecture, tuple[str, ...]]:
        """What was collected, innermost first."""
        if self._compute is None:
            raise tree.node.error(
                "an architecture needs a compute as its last component",
                got=f"{self._last.name} as the last one" if self._last else "no component",
                fix='add one with, for example, class: intmac (a class that contains "mac" or "compute")',
            )
        if not self._storage_leaves:
            raise tree.node.error("an architecture needs at least one storage")
        self._check_gating()
        first = next((leaf for leaf in tree.leaves() if leaf.enabled), None)
        name = first.name if first is not None and first.kind == "container" else "top"
        cycle = self._compute.attributes.get(_CYCLE)
        if not isinstance(cycle, int | float) or cycle <= 0:
            # Counts need no time; `Design.cycle_seconds` is the error for whoever does.
            cycle = _UNKNOWN_CYCLE
        top = dict(self._variables) | (dict(first.values) if first is not None and first.kind == "container" else {})
        architecture = Architecture(
            name=name,
            storage=tuple(reversed(self._storage)),
            compute=self._compute,
            global_cycle_seconds=float(cycle),
            attributes=MappingProxyType(top),
        )
        return architecture, tuple(self._warnings)

    def _attributes(self, leaf: Leaf, own: dict[str, object], places: Mapping[str, Node]) -> AttributeSet:
        """Own attributes over those of the containers before it over the variables."""
        inherited = {name: value for name, value in self._inherited.items() if name not in NOT_INHERITED}
        own.pop("power_gated_at", None)
        return AttributeSet(
            {**inherited, **own}, {**self._inherited_places, **places}, leaf.node, variables=self._variables
        )

    def _enter(self, leaf: Leaf) -> None:
        self._inherited.update(leaf.values)
        self._inherited_places.update(leaf.places)
        gated_at = leaf.values.get("power_gated_at")
        self._gating.container_seen = True
        self._gating.inherited = gated_at if isinstance(gated_at, str) else None

    def _note_gating(self, leaf: Leaf) -> None:
        self._gating.pending = True
        if self._gating.container_seen:
            self._warnings.append(
                f"has_power_gating of {leaf.name} has no effect: as in the real program, it only works where no "
                "container stands before; name the level with power_gated_at instead"
            )

    def _check_parallel(self, leaf: Leaf) -> None:
        if leaf.under_parallel and leaf.kind == "container":
            raise leaf.node.error("a container may not stand directly under !Parallel", got=leaf.name)
        if leaf.under_parallel and leaf.fanout > 1:
            raise leaf.node.error("a node directly under !Parallel may have no fan-out", got=leaf.name)

    def _check_gating(self) -> None:
        names = {level.name for level in self._storage}
        levels: Sequence[Storage] = [level for level in self._storage if not level.spatial_dummy]
        for leaf, level in zip(self._storage_leaves, levels, strict=True):
            if level.power_gated_at is not None and level.power_gated_at not in names:
                raise leaf.node.error(
                    f"power_gated_at of {leaf.name} must name a storage",
                    got=level.power_gated_at,
                    fix=f"one of {sorted(names)}",
                )
