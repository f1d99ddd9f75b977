"""Reads the ``problem`` section: shape, instance and densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from codesign.accelerator.spec.density import DENSE, Banded, Density, FixedStructured, Hypergeometric
from codesign.accelerator.spec.density_check import check_density
from codesign.accelerator.spec.document import check_version
from codesign.accelerator.spec.expressions import evaluate
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.mask_reader import read_actual_data, read_structured_nm, read_vectors
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.errors import did_you_mean

__all__ = ["LARGEST_BOUND", "read_problem"]

_BEYOND: Mapping[str, Callable[[Node, Dataspace, Sequence[str]], Density]] = {
    "actual_data": read_actual_data,
    "n_m_structured": read_structured_nm,
    "vector": read_vectors,
}

LARGEST_BOUND = 2**31 - 1
"""Largest bound or coefficient: the real program reads them as 32-bit integers."""


def read_problem(section: Node, variables: Mapping[str, object]) -> Problem:
    """The problem.

    Raises:
        InputError: a key is unknown or missing, a bound is not a positive integer, a projection names what does not
            exist, a density is not valid.
    """
    section.only(keys("problem"), "problem")
    check_version(section)
    shape = section.required("shape", "problem")
    if not shape.is_mapping:
        raise shape.error("the shape must be written out", got=shape.describe(), fix="predefined shapes are not read")
    shape.only(keys("shape"), "shape")
    instance = section.required("instance", "problem")
    dimensions = _dimensions(shape.required("dimensions", "shape"))
    bounds = tuple(_bound(instance, name, variables) for name in dimensions)
    coefficients = _coefficients(shape.mapping().get("coefficients"), instance, variables)
    spaces = shape.required("data_spaces", "shape")
    dataspaces = _dataspaces(spaces, dimensions, coefficients)
    return Problem(
        name=_name(shape.mapping().get("name")),
        dimensions=dimensions,
        bounds=bounds,
        dataspaces=dataspaces,
        densities=_densities(instance, dataspaces, dimensions, bounds),
    )


def _name(node: Node | None) -> str:
    return node.value if node is not None and isinstance(node.value, str) and node.value else "problem"


def _dimensions(node: Node) -> tuple[str, ...]:
    found: list[str] = []
    for item in node.items("dimensions"):
        name = item.text("a dimension")
        if len(name) != 1 or not (name.isascii() and name.isalpha()):
            raise item.error("a dimension's name is one letter, as in the real program", got=name)
        if name in found:
            raise item.error("the names of dimensions must differ", got=name)
        found.append(name)
    if not found:
        raise node.error("a problem needs at least one dimension")
    return tuple(found)


def _bound(instance: Node, dimension: str, variables: Mapping[str, object]) -> int:
    node = instance.required(dimension, "the instance")
    value = _integer(node, variables, f"the bound of {dimension}")
    if not 1 <= value <= LARGEST_BOUND:
        raise node.error(f"the bound of {dimension} must be from 1 to {LARGEST_BOUND}", got=value)
    return value


def _integer(node: Node, variables: Mapping[str, object], what: str) -> int:
    value = evaluate(node, variables, what)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise node.error(f"{what} must be an integer", got=node.describe())
    return value


def _coefficients(node: Node | None, instance: Node, variables: Mapping[str, object]) -> dict[str, int]:
    """Values of the named coefficients: the instance's, else the default."""
    found: dict[str, int] = {}
    for entry in () if node is None else node.items("coefficients"):
        entry.only(keys("coefficient"), "a coefficient")
        name = entry.required("name", "a coefficient").text("a coefficient's name")
        if name in found:
            raise entry.error("the names of coefficients must differ", got=name)
        place = instance.mapping("instance").get(name) or entry.required("default", f"the coefficient {name}")
        value = _integer(place, variables, f"the coefficient {name}")
        if value == 0 or abs(value) > LARGEST_BOUND:
            raise place.error(f"the coefficient {name} must be a nonzero integer of at most {LARGEST_BOUND}", got=value)
        found[name] = value
    return found


def _dataspaces(node: Node, dimensions: Sequence[str], coefficients: Mapping[str, int]) -> tuple[Dataspace, ...]:
    found: dict[str, Dataspace] = {}
    for entry in node.items("data_spaces"):
        entry.only(keys("data_space"), "a data space")
        name = entry.required("name", "a data space").text("a data space's name")
        if name in found or name == "*":
            raise entry.error("the names of data spaces must differ, and * is all of them", got=name)
        projection = entry.required("projection", f"the data space {name}")
        ranks = tuple(_rank(rank, dimensions, coefficients) for rank in projection.items("projection"))
        if not ranks:
            raise projection.error(f"the data space {name} needs at least one rank")
        found[name] = Dataspace(name, ranks, read_write=_flag(entry.mapping().get("read_write")))
    if not found:
        raise node.error("a problem needs at least one data space")
    return tuple(found.values())


def _flag(node: Node | None) -> bool:
    if node is None or node.value is None:
        return False
    if isinstance(node.value, int) and node.value in (0, 1):
        return bool(node.value)
    return node.boolean("read_write")


def _rank(node: Node, dimensions: Sequence[str], coefficients: Mapping[str, int]) -> tuple[Term, ...]:
    """One rank: a dimension (short form), or a list of terms [dimension] or [dimension, coefficient]."""
    if not node.is_list:
        return (_term([node], node, dimensions, coefficients),)
    terms = []
    for term in node.items():
        if not term.is_list:
            raise term.error("a term of a projection is [dimension] or [dimension, coefficient]", got=term.describe())
        terms.append(_term(term.items(), term, dimensions, coefficients))
    if not terms:
        raise node.error("a rank of a projection needs at least one term")
    return tuple(terms)


def _term(parts: Sequence[Node], place: Node, dimensions: Sequence[str], coefficients: Mapping[str, int]) -> Term:
    if not 1 <= len(parts) <= 2:
        raise place.error(
            "a term of a projection is [dimension] or [dimension, coefficient]", got=f"{len(parts)} entries"
        )
    name = parts[0].text("the dimension of a term")
    if name not in dimensions:
        raise parts[0].error(
            "a projection must name a dimension of the shape", got=name, fix=did_you_mean(name, dimensions)
        )
    if len(parts) == 1:
        return Term(dimensions.index(name))
    coefficient = parts[1].text("the coefficient of a term")
    if coefficient not in coefficients:
        raise parts[1].error(
            "a projection must name a coefficient of the shape",
            got=coefficient,
            fix=did_you_mean(coefficient, coefficients),
        )
    return Term(dimensions.index(name), coefficients[coefficient])


def _densities(
    instance: Node, dataspaces: Sequence[Dataspace], dimensions: Sequence[str], bounds: Sequence[int]
) -> tuple[Density, ...]:
    entries = instance.mapping("instance")
    common = entries.get("commonDensity")
    if common is not None and common.value is not None:
        return tuple(_fitting(common, dataspace, dimensions, bounds) for dataspace in dataspaces)
    table = entries.get("densities")
    if table is None:
        return (DENSE,) * len(dataspaces)
    given = table.mapping("densities")
    names = [dataspace.name for dataspace in dataspaces]
    for name, node in given.items():
        if name not in names:
            raise node.error("a density must be of a data space", got=name, fix=did_you_mean(name, names))
    return tuple(
        _fitting(given[dataspace.name], dataspace, dimensions, bounds) if dataspace.name in given else DENSE
        for dataspace in dataspaces
    )


def _fitting(node: Node, dataspace: Dataspace, dimensions: Sequence[str], bounds: Sequence[int]) -> Density:
    density = _density(node, dataspace, dimensions)
    check_density(density, node, dataspace, bounds)
    return density


def _density(node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> Density:
    """A number, which is fixed_structured, or a mapping with its distribution."""
    if not node.is_mapping:
        return FixedStructured(_share(node))
    entries = node.only(keys("density"), "a density")
    kind = node.required("distribution", "a density")
    name = kind.text("distribution")
    if name in ("banded", "diagonal"):
        width = entries.get("band_width")
        band = 0 if width is None else width.integer("band_width")
        if band < 0:
            raise node.error("band_width must not be negative", got=band)
        return Banded(band)
    if name in ("fixed_structured", "fixed"):
        return FixedStructured(_share(node.required("density", "a density")))
    if name == "hypergeometric":
        return Hypergeometric(_share(node.required("density", "a density")))
    if name in _BEYOND:
        return _BEYOND[name](node, dataspace, dimensions)
    known = ("fixed_structured", "hypergeometric", "banded", *_BEYOND)
    raise kind.error("there is no such distribution", got=name, fix=did_you_mean(name, known))


def _share(node: Node) -> float:
    share = node.number("density")
    if not 0.0 <= share <= 1.0:
        raise node.error("a density is from 0 to 1", got=share)
    return share
