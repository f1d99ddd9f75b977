"""Directives that depend on more than their own node: ``factors_only``, ``maximize_dims`` and !Parallel nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from math import ceil

from codesign.accelerator.spec.factors import Factor
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.rules import LoopRules, SiteRules
from codesign.accelerator.spec.sites import Parallel, Site, Sites

__all__ = ["apply_macros", "largest_factors"]

_MAX_STATES = 100_000


def apply_macros(rules: dict[Site, SiteRules], sites: Sites, problem: Problem) -> None:
    """Turn macros into plain factors and keeps, in the order of the real front end.

    Raises:
        InputError: a macro contradicts a directive, or a dataspace has no branch or two branches of a !Parallel.
    """
    for site in rules.values():
        for loops in (site.temporal, site.spatial):
            _fill_with_ones(loops, problem)
    _maximize(rules, sites, problem)
    everything = set(range(len(problem.dataspaces)))
    for parallel in sites.parallels:
        _distribute(parallel, everything, rules, problem)


def _fill_with_ones(loops: LoopRules, problem: Problem) -> None:
    place = loops.factors_only
    if place is None:
        return
    for dimension in range(len(problem.dimensions)):
        if not loops.mentions(dimension):
            loops.add_factor(Factor(dimension, "=", 1, 1, place), problem)


def _maximize(rules: dict[Site, SiteRules], sites: Sites, problem: Problem) -> None:
    """Spatial loops first, then temporal ones, each from the innermost node outwards."""
    left = list(problem.bounds)
    for site in rules.values():
        for loops in (site.temporal, site.spatial):
            for factor in loops.factors:
                if factor.relation == "=":
                    left[factor.dimension] = ceil(left[factor.dimension] / factor.value)
    inner_first = [(site, rules[site]) for site in reversed(sites.sites) if site in rules]
    for node, rule in inner_first:
        _maximize_loops(rule.spatial, rule.spatial.maximize_capacity or node.fanout, left, problem)
    for _, rule in inner_first:
        loops = rule.temporal
        if loops.maximize and loops.maximize_capacity is None and loops.maximize_place is not None:
            raise loops.maximize_place.error("maximize_dims of loops in time needs maximize_dims_capacity")
        _maximize_loops(loops, loops.maximize_capacity or 1, left, problem)


def _maximize_loops(loops: LoopRules, capacity: int, left: list[int], problem: Problem) -> None:
    for wanted in loops.maximize:
        place = loops.maximize_place
        if place is None:
            return
        room = capacity
        for factor in loops.factors:
            if factor.relation in ("=", ">="):
                room //= factor.value
        for dimension in wanted:
            if loops.mentions(dimension):
                name = problem.dimensions[dimension]
                raise place.error("maximize_dims may not name a dimension that has a factor already", got=name)
        found = largest_factors({dimension: left[dimension] for dimension in wanted}, room, place)
        for dimension in wanted:
            value = found.get(dimension, 1)
            loops.add_factor(Factor(dimension, "=", value, value, place), problem)
            left[dimension] = ceil(left[dimension] / value)


def largest_factors(bounds: Mapping[int, int], capacity: int, place: Node) -> dict[int, int]:
    """Factors of ``bounds`` that use a capacity best, as the real front end's ``maximize_dims`` chooses them.

    It tries prime factors in turn, and for a bound above the capacity also one imperfect factor; the utilisation of
    that is its average over the executions. The first of equally good choices wins.
    """
    order = tuple(bounds)
    states = 0

    @cache
    def best(sizes: tuple[int, ...], room: int) -> tuple[float, tuple[tuple[int, int], ...]]:
        nonlocal states
        states += 1
        if states > _MAX_STATES:
            raise place.error("maximize_dims has too many choices here", fix="name fewer dimensions, or factors")
        top: tuple[float, tuple[tuple[int, int], ...]] = (1.0, ())
        if room <= 1:
            return top
        for index, size in enumerate(sizes):
            if size > room:
                executions = ceil(size / room)
                factor = ceil(size / executions)
                used = (factor * (executions - 1) + size % factor) / executions
                if used > top[0]:
                    top = (used, ((index, factor),))
            for prime in _primes(size):
                if prime > room:
                    continue
                smaller = (*sizes[:index], size // prime, *sizes[index + 1 :])
                used, chosen = best(smaller, room // prime)
                if used * prime > top[0]:
                    top = (used * prime, ((index, prime), *chosen))
        return top

    found: dict[int, int] = {}
    for index, factor in best(tuple(bounds.values()), capacity)[1]:
        found[order[index]] = found.get(order[index], 1) * factor
    return found


@lru_cache(maxsize=1024)
def _primes(number: int) -> tuple[int, ...]:
    """The different prime factors, smallest first."""
    found, divisor = [], 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            found.append(divisor)
            while number % divisor == 0:
                number //= divisor
        divisor += 1
    return tuple(found) if number == 1 else (*found, number)


def _distribute(parallel: Parallel, reaching: set[int], rules: dict[Site, SiteRules], problem: Problem) -> None:
    """Each dataspace that reaches a !Parallel goes through the branch that keeps it and bypasses the others."""
    kept = [set().union(*(_rules(rules, site).dataspace.kept() for site in branch)) for branch in parallel.branches]
    everything = set(range(len(problem.dataspaces)))
    for dataspace in sorted(everything):
        count = sum(dataspace in branch for branch in kept)
        if count > 1 or (count == 0 and dataspace in reaching):
            raise parallel.node.error(
                "every dataspace must be kept in exactly one branch of a !Parallel",
                got=f"{problem.dataspaces[dataspace].name} is kept in {count}",
                fix="keep it in one; to bypass all, add !Nothing {constraints: {dataspace: {keep: [...]}}}",
            )
    for branch, mine, inner in zip(parallel.branches, kept, parallel.inner, strict=True):
        for site in branch:
            _rules(rules, site).dataspace.say(sorted(everything - mine), False, parallel.node, problem)
        for nested in inner:
            _distribute(nested, mine, rules, problem)


def _rules(rules: dict[Site, SiteRules], site: Site) -> SiteRules:
    return rules.setdefault(site, SiteRules())
