"""Reads densities that the real program does not have: a tensor's own mask, and the structure of output masks."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accelerator.spec.actual_data import ActualData, load_mask
from codesign.accelerator.spec.density import StructuredNM, Vectors
from codesign.accelerator.spec.glossary import keys
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Dataspace
from codesign.errors import InputError, did_you_mean

__all__ = ["read_actual_data", "read_structured_nm", "read_vectors"]


def read_actual_data(node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> ActualData:
    """``{distribution: actual_data, file, tensor, sample_axis, axes, padding}``; the file is relative to the YAML file.

    Raises:
        InputError: the file is missing, empty, damaged or holds NaN, or a key is not valid.
    """
    entries = node.only(keys("density"), "a density")
    place = node.required("file", "actual data")
    tensor, varies = entries.get("tensor"), entries.get("sample_axis")
    try:
        data = load_mask(
            node.path.parent / place.text("file"),
            None if tensor is None else tensor.text("tensor"),
            varies=None if varies is None else varies.boolean("sample_axis"),
            ranks=_axes(entries.get("axes"), dataspace, dimensions),
            padding=_padding(entries.get("padding"), dataspace, dimensions),
        )
    except InputError as error:
        raise place.error(error.rule, got=error.got or str(error.path), fix=error.fix) from error
    except ValueError as error:
        raise node.error("one axis a rank is needed", got=str(error), fix="give `axes`") from error
    return data


def read_structured_nm(node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> StructuredNM:
    """``{distribution: n_m_structured, n, m, rank}``."""
    n, m = (node.required(key, "an N:M density").integer(key) for key in ("n", "m"))
    if not 0 <= n <= m or m < 1:
        raise node.error("N:M needs 0 <= n <= m and m >= 1", got=f"{n}:{m}")
    return StructuredNM(n, m, _rank(node.required("rank", "an N:M density"), dataspace, dimensions))


def read_vectors(node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> Vectors:
    """``{distribution: vector, density, length, rank}``."""
    share = node.required("density", "a vector density").number("density")
    if not 0.0 <= share <= 1.0:
        raise node.error("a density is from 0 to 1", got=share)
    length = node.required("length", "a vector density").integer("length")
    if length < 1:
        raise node.error("the length of vectors must be at least 1", got=length)
    return Vectors(share, length, _rank(node.required("rank", "a vector density"), dataspace, dimensions))


def _rank(node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> int:
    """The rank that a dimension moves along."""
    return _rank_of(node.text("the dimension of a rank"), node, dataspace, dimensions)


def _rank_of(name: str, node: Node, dataspace: Dataspace, dimensions: Sequence[str]) -> int:
    found = [i for i, rank in enumerate(dataspace.ranks) if any(dimensions[term.dimension] == name for term in rank)]
    if len(found) != 1:
        known = sorted({dimensions[term.dimension] for rank in dataspace.ranks for term in rank})
        raise node.error(
            f"a rank of {dataspace.name} is named by a dimension that moves along it alone",
            got=name,
            fix=did_you_mean(name, known),
        )
    return found[0]


def _axes(node: Node | None, dataspace: Dataspace, dimensions: Sequence[str]) -> tuple[int, ...] | None:
    if node is None:
        return None
    return tuple(_rank_of(name, node, dataspace, dimensions) for name in node.texts("axes"))


def _padding(node: Node | None, dataspace: Dataspace, dimensions: Sequence[str]) -> tuple[tuple[int, int], ...]:
    if node is None:
        return ()
    found = [(0, 0)] * len(dataspace.ranks)
    for name, entry in node.mapping("padding").items():
        sides = [item.integer("padding") for item in entry.items("padding")]
        if len(sides) != 2:
            raise entry.error("padding is [before, after]", got=sides)
        found[_rank_of(name, entry, dataspace, dimensions)] = (sides[0], sides[1])
    return tuple(found)
