"""Reads a mapping: all directives together, as one nest of loops over the levels of an architecture.

For a simulation the real front end takes the constraints at the nodes, the top-level constraints and the mapping as
one mapping; so does this reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as MappingLike

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.directives import Directive
from codesign.accelerator.spec.loops import LoopOrder, check_orders, loop_order
from codesign.accelerator.spec.macros import apply_macros
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.rules import LoopRules, SiteRules, collect_rules
from codesign.accelerator.spec.sites import Site, Sites
from codesign.errors import InputError

__all__ = ["read_mapping"]


def read_mapping(
    directives: Iterable[Directive], sites: Sites, architecture: Architecture, problem: Problem, place: Node | None
) -> Mapping:
    """The mapping that all directives together describe; ``place`` is where the files give it, for messages.

    Raises:
        InputError: directives contradict each other, the factors of a dimension miss its bound, a dataspace is kept
            nowhere, or spatial loops have no fan-out.
    """
    rules = collect_rules(directives, problem)
    apply_macros(rules, sites, problem)
    temporal: dict[int, SiteRules] = {}
    spatial: dict[int, SiteRules] = {}
    for site, rule in rules.items():
        if site.level is not None:
            temporal[site.level] = rule
        if site.spatial_level is not None:
            spatial[site.spatial_level] = rule
        else:
            _refuse_spatial_loops(site, rule, problem)
    levels = []
    for index, storage in enumerate(architecture.storage):
        if storage.spatial_dummy:
            levels.append(_dummy(spatial.get(index, SiteRules()), problem))
        else:
            levels.append(_level(temporal.get(index, SiteRules()), problem))
    mapping = Mapping(tuple(levels))
    _check_product(mapping, architecture, problem, place)
    _check_kept(mapping, problem, place)
    return mapping


def _level(rules: SiteRules, problem: Problem) -> LevelMapping:
    order, loops = _loops(rules.temporal, problem)
    said = rules.dataspace.keep
    return LevelMapping(
        temporal=tuple(loops[dimension] for dimension in order.dimensions),
        spatial_x=(),
        spatial_y=(),
        keep=tuple(said[d][0] if d in said else True for d in range(len(problem.dataspaces))),
        no_temporal_reuse=frozenset(rules.temporal.no_reuse),
        no_coalesce=frozenset(rules.dataspace.no_coalesce),
        rmw_first_update=frozenset(rules.temporal.rmw_first_update),
    )


def _dummy(rules: SiteRules, problem: Problem) -> LevelMapping:
    """The level of a fan-out: loops in space only; it keeps nothing."""
    order, loops = _loops(rules.spatial, problem)
    ordered = [loops[dimension] for dimension in order.dimensions]
    return LevelMapping(
        temporal=tuple(Loop(dimension, 1, 1) for dimension in range(len(problem.dimensions))),
        spatial_x=tuple(ordered[: order.split]),
        spatial_y=tuple(ordered[order.split :]),
        keep=(False,) * len(problem.dataspaces),
        no_multicast=frozenset(rules.spatial.no_reuse),
        no_link_transfer=frozenset(rules.spatial.no_link_transfer),
    )


def _loops(rules: LoopRules, problem: Problem) -> tuple[LoopOrder, MappingLike[int, Loop]]:
    """The order of the loops and the loop of every dimension; a factor that is not given is 1."""
    loops = {}
    for dimension in range(len(problem.dimensions)):
        factor = rules.equal(dimension)
        bound, residual = (1, 1) if factor is None else (factor.value, factor.residual)
        loops[dimension] = Loop(dimension, bound, residual)
        for limit in rules.factors:
            if limit.dimension == dimension and limit.relation == ">=" and bound < limit.value:
                raise limit.place.error(
                    "the mapping breaks a limit", got=f"{limit.text(problem)}, but the factor is {bound}"
                )
    order = loop_order(rules, problem)
    check_orders(rules, order, [loops[dimension].bound for dimension in range(len(problem.dimensions))], problem)
    return order, loops


def _refuse_spatial_loops(site: Site, rules: SiteRules, problem: Problem) -> None:
    """A node without a fan-out has no loops in space; the real program loses them or aborts."""
    if site.leaf is not None and not site.leaf.enabled:
        return
    for factor in rules.spatial.factors:
        if factor.value > 1 and factor.relation != "<=":
            raise factor.place.error(
                f"{site.name} has no fan-out, so it can have no loops in space",
                got=factor.text(problem),
                fix="target the node with `spatial: {meshX: ...}`",
            )


def _check_product(mapping: Mapping, architecture: Architecture, problem: Problem, place: Node | None) -> None:
    """The factors of every dimension must give its bound, by the real program's rule for imperfect ones too."""
    last = [0] * len(problem.bounds)
    shares: list[list[str]] = [[] for _ in problem.bounds]
    for level, storage in zip(reversed(mapping.levels), reversed(architecture.storage), strict=True):
        for loop in (*reversed(level.temporal), *reversed(level.spatial_y), *reversed(level.spatial_x)):
            last[loop.dimension] = last[loop.dimension] * loop.bound + loop.residual - 1
            if loop.bound > 1:
                shares[loop.dimension].append(f"{loop.bound} at {_node_name(storage.name)}")
    for dimension, bound in enumerate(problem.bounds):
        if last[dimension] + 1 != bound:
            name = problem.dimensions[dimension]
            raise _error(
                place,
                f"the factors of {name} must multiply to its bound {bound}",
                got=f"{last[dimension] + 1}: {', '.join(shares[dimension]) or 'no factor at any level'}",
                fix="correct a factor" if place is not None else "give a mapping; `codesign map` finds one",
            )


def _check_kept(mapping: Mapping, problem: Problem, place: Node | None) -> None:
    for index, dataspace in enumerate(problem.dataspaces):
        if not any(level.keep[index] for level in mapping.levels):
            raise _error(place, "every dataspace must be kept at some level", got=f"{dataspace.name} is kept at none")


def _node_name(level: str) -> str:
    return level.removeprefix("inter_").removesuffix("_spatial") if level.startswith("inter_") else level


def _error(place: Node | None, rule: str, *, got: str, fix: str | None = None) -> InputError:
    return InputError(rule, got=got, key="mapping", fix=fix) if place is None else place.error(rule, got=got, fix=fix)
