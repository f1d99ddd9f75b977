"""Whether a density fits the tensor that it is given for: said where it stands in the file, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accelerator.spec.density import ActualData, Banded, Density, StructuredNM, Vectors
from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.problem import Dataspace
from codesign.errors import InputError

__all__ = ["check_density"]


def check_density(density: Density, node: Node, dataspace: Dataspace, bounds: Sequence[int]) -> None:
    """Raise InputError unless a mask has the tensor's extents, a band a square matrix, and groups divide their rank.

    Args:
        density: as read from ``node``.
        bounds: of the dimensions.
    """
    extents = [high - low for low, high in dataspace.tile([0] * len(bounds), [bound - 1 for bound in bounds])]
    if isinstance(density, ActualData):
        try:
            density.check_fit(dataspace.name, extents)
        except InputError as error:
            raise node.error(error.rule, got=error.got, fix=error.fix) from error
    elif isinstance(density, Banded):
        if len(extents) != 2 or extents[0] != extents[1]:
            raise node.error(
                f"a banded density needs a square matrix, which {dataspace.name} is not",
                got=f"extents {extents}",
                fix="use fixed_structured or hypergeometric",
            )
    elif isinstance(density, StructuredNM | Vectors):
        group = density.m if isinstance(density, StructuredNM) else density.length
        if extents[density.rank] % group:
            raise node.error(
                f"groups of a structured density must divide the extent of their rank of {dataspace.name}",
                got=f"groups of {group} among {extents[density.rank]}",
            )
