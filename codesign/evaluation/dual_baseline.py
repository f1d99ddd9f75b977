"""A defended layer on an ordinary accelerator, which cannot leave out masked outputs or work on two things at once.

All three products run one after the other at the array's own precision, the exact one in full: what the method costs
without hardware made for it. Zero inputs are saved where the design saves them, and so are the projection's zero
entries; a projection is multiplied like anything else. Px and z~ go through the outermost level, as every tensor does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.density import DENSE
from codesign.accelerator.spec.problem import Problem
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.hardware import InfeasibleLayerError
from codesign.workloads.dual_module import DualWorkload

__all__ = ["BaselineLayer", "on_one_array"]


@dataclass(frozen=True, slots=True)
class BaselineLayer:
    """Cycles and energy of each product; the layer's are their sums."""

    layer: str
    cycles: dict[str, int]
    energy_pJ: dict[str, float]

    @property
    def latency_cycles(self) -> int:
        """One product after the other."""
        return sum(self.cycles.values())

    @property
    def total_energy_pJ(self) -> float:
        """Of all products. Selection and merging are not in it: such a design has no units for them."""
        return sum(self.energy_pJ.values())


def on_one_array(accelerator: Accelerator, workload: DualWorkload) -> BaselineLayer:
    """One sample of a defended layer on an ordinary accelerator.

    Raises:
        InfeasibleLayerError: a product has no legal mapping.
    """
    exact = replace(workload.exact, densities=(*workload.exact.densities[:2], DENSE))
    parts = {"executor": exact, "projection": workload.projection, "approximate product": workload.approximate}
    results = {name: _run(accelerator, part, workload.layer.name) for name, part in parts.items()}
    return BaselineLayer(
        workload.layer.name,
        {name: result.cycles for name, result in results.items()},
        {name: result.energy_pJ for name, result in results.items()},
    )


def _run(accelerator: Accelerator, workload: Problem, layer: str) -> Result:
    design = accelerator.design
    dense = replace(workload, densities=(DENSE,) * len(workload.dataspaces))
    mapping = heuristic_mapping(
        design.architecture,
        dense,
        design.constraints(dense),
        accelerator.energy,
        evaluate=lambda found: evaluate(design.architecture, dense, found, accelerator.energy, design.sparse),
    )
    answer: Result | Infeasible = (
        mapping
        if isinstance(mapping, Infeasible)
        else evaluate(design.architecture, workload, mapping, accelerator.energy, design.sparse)
    )
    if isinstance(answer, Infeasible):
        raise InfeasibleLayerError(layer, accelerator.name, answer)
    return answer
