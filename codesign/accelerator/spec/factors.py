"""Loop factors and permutations as the files write them: "C=4", "P=4,3", "M<=8", "R1 S1", [K, M], "KM"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Problem
from codesign.errors import did_you_mean

__all__ = ["Factor", "dataspaces", "dimensions", "factors", "permutation"]

Relation = Literal["=", "<=", ">="]

_FACTOR = re.compile(r"\s*([A-Za-z]+)\s*(<=|>=|=)?\s*(\d{1,18})\s*(?:,\s*(\d{1,18})(?![\w<>=]))?\s*,?")


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """``dimension relation value``; ``residual`` is the bound of the last execution (an imperfect factor)."""

    dimension: int
    relation: Relation
    value: int
    residual: int
    place: Node

    def same(self, other: Factor) -> bool:
        """True if both say the same."""
        mine = (self.dimension, self.relation, self.value, self.residual)
        return mine == (other.dimension, other.relation, other.value, other.residual)

    def text(self, problem: Problem) -> str:
        """As a file writes it."""
        residual = "" if self.residual == self.value else f",{self.residual}"
        return f"{problem.dimensions[self.dimension]}{self.relation}{self.value}{residual}"


def factors(node: Node, problem: Problem, *, any_problem: bool = False) -> tuple[Factor, ...]:
    """The factors of a list or of a text; 0 is the full bound of the dimension.

    A whole number after a factor in a list is its residual: YAML splits ``[P=4,3]`` at the comma. With
    ``any_problem`` a factor of 1 may be of a dimension that this problem lacks, since it then holds anyway: an
    architecture's constraints are written for many problems.
    """
    if not node.is_list:
        return tuple(_from_text(node, node.text("factors"), problem, any_problem))
    found: list[Factor] = []
    for item in node.items("factors"):
        if isinstance(item.value, int) and not isinstance(item.value, bool) and found:
            last = found.pop()
            found.append(_factor(last.place, problem, last.dimension, last.relation, last.value, item.value))
            continue
        found.extend(_from_text(item, item.text("a factor"), problem, any_problem))
    return tuple(found)


def _from_text(node: Node, text: str, problem: Problem, any_problem: bool) -> Iterator[Factor]:
    position = 0
    while position < len(text):
        match = _FACTOR.match(text, position)
        if match is None:
            if not text[position:].strip():
                return
            raise node.error(
                "a factor is a dimension, one of = <= >=, and a whole number",
                got=repr(text[position:].strip()),
                fix='e.g. "C=4"',
            )
        position = match.end()
        name, relation, value, residual = match.groups()
        if any_problem and name not in problem.dimensions and len(name) == 1 and (int(value), residual) == (1, None):
            continue
        dimension = _dimension(node, name, problem)
        yield _factor(
            node, problem, dimension, _relation(relation), int(value), None if residual is None else int(residual)
        )


def _relation(text: str | None) -> Relation:
    # The real mapper writes "C4" for "C=4".
    return "<=" if text == "<=" else ">=" if text == ">=" else "="


def _factor(
    node: Node, problem: Problem, dimension: int, relation: Relation, value: int, residual: int | None
) -> Factor:
    value = value or problem.bounds[dimension]
    residual = value if residual is None else residual
    if residual != value and (relation != "=" or not 1 <= residual <= value):
        raise node.error("the residual of an imperfect factor is from 1 to the factor", got=f"{value},{residual}")
    return Factor(dimension, relation, value, residual, node)


def _dimension(node: Node, name: str, problem: Problem) -> int:
    if name not in problem.dimensions:
        raise node.error(
            "a directive must name a dimension of the problem", got=name, fix=did_you_mean(name, problem.dimensions)
        )
    return problem.dimensions.index(name)


def dimensions(node: Node, problem: Problem) -> tuple[int, ...]:
    """A list of dimensions, or a text of one-letter dimensions."""
    names = _letters(node)
    return tuple(_dimension(node, name, problem) for name in names)


def permutation(node: Node, problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Dimensions fixed innermost and, after ``_``, those fixed outermost, each from the innermost outwards."""
    names = _letters(node)
    if names.count("_") > 1:
        raise node.error("a permutation may hold one _ between its inner and its outer part", got="".join(names))
    cut = names.index("_") if "_" in names else len(names)
    inner, outer = (tuple(_dimension(node, name, problem) for name in part) for part in (names[:cut], names[cut + 1 :]))
    both = inner + outer
    if len(set(both)) != len(both):
        twice = next(problem.dimensions[dimension] for dimension in both if both.count(dimension) > 1)
        raise node.error("a permutation may name a dimension once", got=twice)
    return inner, outer


def _letters(node: Node) -> list[str]:
    if node.is_list:
        return [item.text("a dimension") for item in node.items()]
    return [letter for letter in node.text("a permutation") if letter not in ", "]


def dataspaces(node: Node, problem: Problem) -> tuple[int, ...]:
    """Ids of the named dataspaces; ``*`` is all of them."""
    names = [dataspace.name for dataspace in problem.dataspaces]
    found: list[int] = []
    for name in node.texts("a list of dataspaces"):
        if name == "*":
            found.extend(range(len(names)))
        elif name in names:
            found.append(names.index(name))
        else:
            raise node.error(
                "a directive must name a dataspace of the problem", got=name, fix=did_you_mean(name, names)
            )
    return tuple(dict.fromkeys(found))
