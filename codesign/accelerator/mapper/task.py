"""One problem to be mapped on one architecture, and the identity of that task by content."""

from __future__ import annotations

import json
from collections.abc import Mapping as AnyMapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from hashlib import sha256

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import Constraints
from codesign.accelerator.spec.density import DENSE
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem, Term
from codesign.accelerator.spec.sparse import SparseOptimizations

__all__ = ["Task"]

# Part of an architecture that no evaluation reads: what the energies were estimated from, which the table stands for.
_NOT_CONTENT = frozenset({"attributes", "name"})


@dataclass(frozen=True)
class Task:
    """Everything that decides how good a mapping is.

    Args:
        energy: pJ per action; the ranking of mappings depends on it as much as on the architecture.
    """

    architecture: Architecture
    problem: Problem
    constraints: Constraints
    energy: EnergyTable
    sparse: SparseOptimizations = field(default_factory=SparseOptimizations)

    def evaluate(self, mapping: Mapping) -> Result | Infeasible:
        """The exact engine's answer."""
        return evaluate(self.architecture, self.problem, mapping, self.energy, self.sparse)

    @property
    def leaves_work_out(self) -> bool:
        """Whether sparse optimisations change a number: they need zeros, or layouts with metadata."""
        zeros = any(density != DENSE for density in self.problem.densities)
        return bool(self.sparse) and (zeros or any(level.formats for level in self.sparse.levels))

    def digest(self) -> str:
        """Hash of the content: equal for two tasks for which the same mapping is best. Names of layers do not count."""
        # Nine digits: an estimate may differ in its last bits from machine to machine.
        energies = sorted((own.component, own.action, f"{own.energy_pJ:.9g}") for own in self.energy.energies)
        content = {
            "architecture": [_named(level) for level in (*self.architecture.storage, self.architecture.compute)],
            "problem": _problem(self.problem),
            "constraints": _plain(self.constraints),
            "energy": energies,
            "sparse": _plain(self.sparse),
        }
        return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _named(level: object) -> object:
    return [getattr(level, "name", ""), _plain(level)]


def _problem(problem: Problem) -> object:
    """Dimensions, projections and densities; a coefficient of a dimension of bound 1 and the order of terms are not."""

    def term(item: Term) -> tuple[int, int]:
        return item.dimension, item.coefficient if problem.bounds[item.dimension] > 1 else 1

    spaces = [
        [space.name, space.read_write, [sorted(term(item) for item in rank) for rank in space.ranks]]
        for space in problem.dataspaces
    ]
    return [problem.dimensions, problem.bounds, spaces, [repr(density) for density in problem.densities]]


def _says(own: Field[object], value: object) -> bool:
    """Whether a field says more than its default: keys then outlive new fields of the value objects."""
    default = own.default_factory() if own.default_factory is not MISSING else own.default
    return own.name not in _NOT_CONTENT and getattr(value, own.name) != default


def _plain(value: object) -> object:
    """Value objects as JSON; sets in order."""
    if is_dataclass(value) and not isinstance(value, type):
        return {own.name: _plain(getattr(value, own.name)) for own in fields(value) if _says(own, value)}
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)  # type: ignore[type-var]
    if isinstance(value, AnyMapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)
