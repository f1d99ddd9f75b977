"""One simulation case: everything that a set of Timeloop v0.4 files says, parsed and checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.compound import CompoundClass
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """Architecture, problem, mapping, sparse optimisations and, if the files give them, energy and area tables.

    ``warnings`` are what the front end had to assume or ignore; ``compound_classes`` are for the energy estimator.
    """

    name: str
    architecture: Architecture
    problem: Problem
    mapping: Mapping
    sparse: SparseOptimizations = field(default_factory=SparseOptimizations)
    energy: EnergyTable | None = None
    compound_classes: tuple[CompoundClass, ...] = ()
    warnings: tuple[str, ...] = ()
