"""Loop orders: what permutation and split mean once the factors are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.rules import LoopRules, Order

__all__ = ["LoopOrder", "check_orders", "listed_order", "loop_order"]


@dataclass(frozen=True, slots=True)
class LoopOrder:
    """All dimensions from the innermost loop outwards; the first ``split`` of them lie on the X axis."""

    dimensions: tuple[int, ...]
    split: int


def listed_order(inner: Sequence[int], rules: LoopRules, problem: Problem) -> tuple[int, ...]:
    """The permutation after the real front end's PermutationOptimizer.

    Every dimension whose factor or bound is 1 and that is not in the permutation goes to its front, one after the
    other, so that the one found last is the innermost. A ``split`` counts these loops too.
    """
    order = list(inner)
    ones = [factor.dimension for factor in rules.factors if factor.value == 1]
    ones += [dimension for dimension, bound in enumerate(problem.bounds) if bound == 1]
    for dimension in ones:
        if dimension not in order:
            order.insert(0, dimension)
    return tuple(order)


def loop_order(rules: LoopRules, problem: Problem) -> LoopOrder:
    """The order that the last permutation and the last split give; what they leave out is outermost, in id order."""
    stated = [order for order in rules.orders if order.inner is not None]
    inner, outer = (stated[-1].inner or (), stated[-1].outer) if stated else ((), ())
    listed = listed_order((*inner, *outer), rules, problem) if not outer else _with_outer(inner, outer, rules, problem)
    missing = tuple(dimension for dimension in range(len(problem.dimensions)) if dimension not in listed)
    splits = [order.split for order in rules.orders if order.split is not None]
    count = len(problem.dimensions)
    return LoopOrder(listed + missing, min(splits[-1], count) if splits else count)


def _with_outer(inner: Sequence[int], outer: Sequence[int], rules: LoopRules, problem: Problem) -> tuple[int, ...]:
    listed = listed_order(inner, rules, problem)
    front = tuple(dimension for dimension in listed if dimension not in outer)
    free = tuple(d for d in range(len(problem.dimensions)) if d not in front and d not in outer)
    return front + free + tuple(outer)


def check_orders(rules: LoopRules, order: LoopOrder, bounds: Sequence[int], problem: Problem) -> None:
    """Every statement of an order must agree with the final one, as far as loops of more than one iteration go.

    A later permutation may so refine an earlier one: it may order what the earlier one left open.

    Raises:
        InputError: two statements contradict each other.
    """
    real = tuple(dimension for dimension in order.dimensions if bounds[dimension] > 1)
    on_x = {dimension for position, dimension in enumerate(order.dimensions) if position < order.split}
    for statement in rules.orders:
        if statement.inner is not None:
            inner, outer = ([d for d in part if bounds[d] > 1] for part in (statement.inner, statement.outer))
            tail = list(real[len(real) - len(outer) :])
            if list(real[: len(inner)]) != inner or tail != outer:
                raise _contradiction(statement, rules, problem, "loop order")
        if statement.split is not None:
            axes = _axes(statement, rules, problem)
            if any(axes.get(dimension, dimension in on_x) != (dimension in on_x) for dimension in real):
                raise _contradiction(statement, rules, problem, "split between the axes")


def _axes(statement: Order, rules: LoopRules, problem: Problem) -> dict[int, bool]:
    """Dimensions that a statement's split puts on X (True) or Y (False) for certain."""
    split, count = statement.split or 0, len(problem.dimensions)
    if split >= count or split == 0:
        return dict.fromkeys(range(count), split > 0)
    if statement.inner is None:
        return {}
    listed = listed_order(statement.inner, rules, problem)
    axes = {dimension: position < split for position, dimension in enumerate(listed)}
    if split <= len(listed):
        axes.update({dimension: False for dimension in range(count) if dimension not in axes})
    return axes


def _contradiction(statement: Order, rules: LoopRules, problem: Problem, what: str) -> Exception:
    other = next((order for order in reversed(rules.orders) if order is not statement), statement)
    names = "".join(problem.dimensions[dimension] for dimension in statement.inner or ())
    split = "" if statement.split is None else f" split {statement.split}"
    return statement.place.error(
        f"two directives give this node a different {what}",
        got=f"{names}{split}",
        fix=f"the other is in {other.place.path}, line {other.place.line}",
    )
