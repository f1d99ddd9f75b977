"""Reads constraints for a mapper: what the directives of an architecture fix, and what they leave free."""

from __future__ import annotations

from collections.abc import Iterable

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.directives import Directive
from codesign.accelerator.spec.loops import listed_order
from codesign.accelerator.spec.macros import apply_macros
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.rules import LoopRules, SiteRules, collect_rules
from codesign.accelerator.spec.sites import Sites

__all__ = ["read_constraints"]


def read_constraints(
    directives: Iterable[Directive], sites: Sites, architecture: Architecture, problem: Problem
) -> Constraints:
    """The constraints of an architecture for one problem, macros resolved.

    As in the real mapper, a limit above the bound of its dimension is ignored, and the outermost level keeps every
    dataspace that no directive speaks of.

    Raises:
        InputError: directives name what does not exist or contradict each other.
    """
    rules = collect_rules(directives, problem)
    apply_macros(rules, sites, problem)
    temporal = {site.level: rule for site, rule in rules.items() if site.level is not None}
    spatial = {site.spatial_level: rule for site, rule in rules.items() if site.spatial_level is not None}
    last = len(architecture.storage) - 1
    levels = []
    for index, storage in enumerate(architecture.storage):
        if storage.spatial_dummy:
            levels.append(_dummy(spatial.get(index, SiteRules()), problem))
        else:
            levels.append(_level(temporal.get(index, SiteRules()), problem, outermost=index == last))
    least = [rule.min_parallelism for rule in rules.values() if rule.min_parallelism is not None]
    return Constraints(tuple(levels), min_parallelism=max(least, default=0.0))


def _level(rules: SiteRules, problem: Problem, *, outermost: bool) -> LevelConstraints:
    said = rules.dataspace.keep
    free = True if outermost else None
    return LevelConstraints(
        keep=tuple(said[d][0] if d in said else free for d in range(len(problem.dataspaces))),
        temporal=_loops(rules.temporal, problem),
        no_temporal_reuse=frozenset(rules.temporal.no_reuse),
        no_coalesce=frozenset(rules.dataspace.no_coalesce),
        rmw_first_update=frozenset(rules.temporal.rmw_first_update),
    )


def _dummy(rules: SiteRules, problem: Problem) -> LevelConstraints:
    dimensions = tuple(range(len(problem.dimensions)))
    return LevelConstraints(
        keep=(False,) * len(problem.dataspaces),
        temporal=LoopConstraints(tuple(FactorLimit(d, "=", 1) for d in dimensions), inner=dimensions),
        spatial=_loops(rules.spatial, problem),
        no_multicast=frozenset(rules.spatial.no_reuse),
        no_link_transfer=frozenset(rules.spatial.no_link_transfer),
    )


def _loops(rules: LoopRules, problem: Problem) -> LoopConstraints:
    limits = [
        FactorLimit(factor.dimension, factor.relation, factor.value)
        for factor in rules.factors
        if factor.value <= problem.bounds[factor.dimension]
    ]
    for dimension in range(len(problem.dimensions)):
        if not rules.mentions(dimension):
            if rules.default_max is not None:
                limits.append(FactorLimit(dimension, "<=", rules.default_max))
            if rules.default_min is not None:
                limits.append(FactorLimit(dimension, ">=", min(rules.default_min, problem.bounds[dimension])))
    stated = [order for order in rules.orders if order.inner is not None]
    for order in stated[:-1]:
        if (order.inner, order.outer) != (stated[-1].inner, stated[-1].outer):
            raise order.place.error(
                "two constraints give this node a different loop order",
                fix=f"the other is on line {stated[-1].place.line}",
            )
    splits = [order.split for order in rules.orders if order.split is not None]
    inner = listed_order((stated[-1].inner or ()) if stated else (), rules, problem)
    outer = stated[-1].outer if stated else ()
    return LoopConstraints(
        factors=tuple(limits),
        inner=tuple(dimension for dimension in inner if dimension not in outer),
        outer=outer,
        split=min(splits[-1], len(problem.dimensions)) if splits else None,
    )
