"""What all directives of an input together say of each node, for one problem; contradictions are errors.

The constraints at the nodes, the top-level constraints and the mapping add up, as in the real front end. It refuses
any second permutation or split; here a later one may also be a refinement of an earlier one (see ``loops``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from codesign.accelerator.spec.directives import Directive
from codesign.accelerator.spec.factors import Factor, dataspaces, dimensions, factors, permutation
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sites import Site

__all__ = ["KeepRules", "LoopRules", "Order", "SiteRules", "collect_rules"]


@dataclass(frozen=True, slots=True)
class Order:
    """One statement of a loop order; None where it does not speak of it. Parts run from the innermost outwards."""

    place: Node
    inner: tuple[int, ...] | None
    outer: tuple[int, ...]
    split: int | None


@dataclass
class LoopRules:
    """What is said of the temporal or the spatial loops of one node.

    ``oversized`` are constraints above the bound of their dimension: the real mapper ignores them, so a mapping may say
    otherwise; where it says nothing they hold.
    """

    factors: list[Factor] = field(default_factory=list)
    oversized: list[Factor] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    factors_only: Node | None = None
    maximize: tuple[tuple[int, ...], ...] = ()
    maximize_capacity: int | None = None
    maximize_place: Node | None = None
    default_max: int | None = None
    default_min: int | None = None
    no_reuse: set[int] = field(default_factory=set)
    no_link_transfer: set[int] = field(default_factory=set)
    rmw_first_update: set[int] = field(default_factory=set)

    def add_factor(self, factor: Factor, problem: Problem) -> None:
        """Add a factor; an error if it contradicts an earlier one."""
        for other in self.factors:
            if other.same(factor):
                return
            if other.dimension == factor.dimension and _contradict(other, factor):
                raise factor.place.error(
                    "two directives contradict each other",
                    got=f"{factor.text(problem)} and {other.text(problem)}",
                    fix=f"the other is in {other.place.path}, line {other.place.line}",
                )
        self.factors.append(factor)

    def equal(self, dimension: int) -> Factor | None:
        """The factor that fixes the bound of a dimension, if any."""
        return next((f for f in self.factors if f.dimension == dimension and f.relation == "="), None)

    def mentions(self, dimension: int) -> bool:
        """True if any factor speaks of the dimension."""
        return any(factor.dimension == dimension for factor in self.factors)


@dataclass
class KeepRules:
    """What is said of the dataspaces of one node: kept (True) or bypassed (False), with where it is said."""

    keep: dict[int, tuple[bool, Node]] = field(default_factory=dict)
    no_coalesce: set[int] = field(default_factory=set)

    def say(self, ids: Iterable[int], kept: bool, place: Node, problem: Problem) -> None:
        """Keep or bypass dataspaces; an error if an earlier directive says the opposite."""
        for dataspace in ids:
            earlier, where = self.keep.setdefault(dataspace, (kept, place))
            if earlier is not kept:
                raise place.error(
                    "two directives contradict each other",
                    got=f"{problem.dataspaces[dataspace].name} is both kept and bypassed",
                    fix=f"the other is in {where.path}, line {where.line}",
                )

    def kept(self) -> set[int]:
        """Dataspaces that a directive keeps."""
        return {dataspace for dataspace, (kept, _) in self.keep.items() if kept}


@dataclass
class SiteRules:
    """Everything that is said of one node."""

    temporal: LoopRules = field(default_factory=LoopRules)
    spatial: LoopRules = field(default_factory=LoopRules)
    dataspace: KeepRules = field(default_factory=KeepRules)
    min_parallelism: float | None = None


def collect_rules(directives: Iterable[Directive], problem: Problem) -> dict[Site, SiteRules]:
    """The rules of every node that a directive names, in the order of the directives.

    Raises:
        InputError: a directive names an unknown dimension or dataspace, or contradicts another.
    """
    rules: dict[Site, SiteRules] = {}
    for directive in directives:
        site = rules.setdefault(directive.site, SiteRules())
        if directive.kind == "dataspace":
            _add_dataspace(site.dataspace, directive, problem)
        elif directive.kind == "idle":
            _check_idle(directive, problem)
        elif directive.kind == "utilization":
            least = directive.entries.get("min")
            site.min_parallelism = None if least is None else least.number("min")
        else:
            _add_loops(site.temporal if directive.kind == "temporal" else site.spatial, directive, problem)
    for site in rules.values():
        for loops in (site.temporal, site.spatial):
            for factor in loops.oversized:
                if factor.relation == "=" and not loops.mentions(factor.dimension):
                    loops.add_factor(factor, problem)
    return rules


def _contradict(a: Factor, b: Factor) -> bool:
    """True if no bound satisfies both (factors of one dimension)."""
    if a.relation == b.relation:
        return a.relation == "="
    low, high = (max((f.value for f in (a, b) if f.relation in ("=", r)), default=None) for r in (">=", "<="))
    if low is None or high is None:
        return False
    fixed, limit = (a, b) if a.relation == "=" else (b, a)
    if fixed.relation == "=":
        return fixed.value > limit.value if limit.relation == "<=" else fixed.value < limit.value
    return low > high


def _check_idle(directive: Directive, problem: Problem) -> None:
    """What is said of a spatial dummy's loops in time and dataspaces must be that there are none."""
    entries = directive.entries
    loops = factors(entries["factors"], problem) if "factors" in entries else ()
    if any(factor.value > 1 for factor in loops) or entries.keys() & {"keep", "keep_only", "bypass_only"}:
        rule = f"the level of the fan-out of {directive.site.name} has loops in space only and keeps nothing"
        raise directive.node.error(rule, fix=f"target {directive.site.name} or an inner storage")


def _add_dataspace(rules: KeepRules, directive: Directive, problem: Problem) -> None:
    everything = set(range(len(problem.dataspaces)))
    for key, node in directive.entries.items():
        ids = dataspaces(node, problem)
        if key == "no_coalesce":
            rules.no_coalesce.update(ids)
        else:
            kept = key.startswith("keep")
            rules.say(ids, kept, node, problem)
            if key.endswith("_only"):
                rules.say(sorted(everything - set(ids)), not kept, node, problem)


def _add_loops(rules: LoopRules, directive: Directive, problem: Problem) -> None:
    entries = directive.entries
    for key in ("factors", "factors_only"):
        if key in entries:
            for factor in factors(entries[key], problem, any_problem=directive.constraint):
                if directive.constraint and factor.value > problem.bounds[factor.dimension]:
                    rules.oversized.append(factor)
                else:
                    rules.add_factor(factor, problem)
    rules.factors_only = entries.get("factors_only", rules.factors_only)
    _add_iteration_macros(rules, directive, problem)
    _add_order(rules, directive, problem)
    for key, known in (
        ("no_reuse", rules.no_reuse),
        ("no_link_transfer", rules.no_link_transfer),
        ("rmw_first_update", rules.rmw_first_update),
    ):
        if key in entries:
            known.update(dataspaces(entries[key], problem))
    if "maximize_dims" in entries:
        rules.maximize_place = entries["maximize_dims"]
        rules.maximize = _maximize(entries["maximize_dims"], problem)
    if "maximize_dims_capacity" in entries:
        rules.maximize_capacity = _count(entries["maximize_dims_capacity"], least=1)
    if "default_max_factor" in entries:
        rules.default_max = _count(entries["default_max_factor"], least=1)
    if "default_min_factor" in entries:
        rules.default_min = _count(entries["default_min_factor"], least=1)


def _add_iteration_macros(rules: LoopRules, directive: Directive, problem: Problem) -> None:
    """``no_iteration_over_dataspaces`` and ``must_iterate_over_dataspaces`` as factors of 1."""
    for key in ("no_iteration_over_dataspaces", "must_iterate_over_dataspaces"):
        node = directive.entries.get(key)
        if node is None:
            continue
        named = {dimension for ds in dataspaces(node, problem) for dimension in problem.dataspaces[ds].dimensions}
        ones = named if key.startswith("no_") else set(range(len(problem.dimensions))) - named
        for dimension in sorted(ones):
            rules.add_factor(Factor(dimension, "=", 1, 1, node), problem)


def _add_order(rules: LoopRules, directive: Directive, problem: Problem) -> None:
    entries = directive.entries
    if "permutation" not in entries and "split" not in entries:
        return
    inner, outer = permutation(entries["permutation"], problem) if "permutation" in entries else (None, ())
    split = _count(entries["split"], least=0) if "split" in entries else None
    place = entries.get("permutation") or entries["split"]
    rules.orders.append(Order(place, inner, outer, split))


def _maximize(node: Node, problem: Problem) -> tuple[tuple[int, ...], ...]:
    """A list of lists of dimensions, or one list."""
    items = node.items("maximize_dims")
    if all(item.is_list for item in items):
        return tuple(dimensions(item, problem) for item in items)
    return (dimensions(node, problem),)


def _count(node: Node, *, least: Literal[0, 1]) -> int:
    value = node.integer(node.key.rsplit(".", 1)[-1])
    if value < least:
        raise node.error(f"this must be at least {least}", got=value)
    return value
