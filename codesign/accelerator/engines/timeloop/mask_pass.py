"""Cases that Timeloop cannot express: its dense counts, and this package's pass for zeros and masks over them.

Timeloop cannot be told of real masks, of masks over outputs, or of structured zeros. What it can count is the dense
case. Where its dense counts are those of the embedded engine, number for number, the embedded engine's savings are
savings on Timeloop's counts; where they are not, there is no answer.
"""

from __future__ import annotations

from dataclasses import replace

from codesign.accelerator.engines import Engine, embedded
from codesign.accelerator.engines.comparison import compare
from codesign.accelerator.model import Semantics
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError

__all__ = ["dense_part", "simulate_with_mask_pass"]


def dense_part(case: Case) -> Case:
    """The case without zeros: dense tensors, no sparse optimisations."""
    return replace(case, problem=replace(case.problem, densities=()), sparse=SparseOptimizations())


def simulate_with_mask_pass(
    case: Case, engine: Engine, why: str, *, semantics: Semantics = "clean"
) -> Result | Infeasible:
    """The savings of ``case`` on the dense counts of ``engine``.

    Args:
        case: what ``engine`` cannot express.
        engine: counts the dense part.
        why: what cannot be expressed; stands in the result's warnings.
        semantics: of the sparse pass.

    Raises:
        InputError: the dense part is illegal, or the engines count it differently.
    """
    dense = dense_part(case)
    counted = engine(dense)
    if isinstance(counted, Infeasible):
        raise InputError(
            f"{why}; its dense counts are needed, but densely the mapping does not fit: {counted.message}",
            key=f"{case.name}.mapping",
            fix="use --engine embedded",
        )
    comparison = compare(case.name, embedded.simulate(dense, semantics="compat").to_json(), counted.to_json())
    if not comparison.agrees:
        shown = "; ".join(
            f"{found.place} {found.name}: embedded {found.first:.10g}, real {found.second:.10g}"
            for found in comparison.differences[:3]
        )
        raise InputError(
            f"{why}; its dense counts differ from the embedded engine's, so no savings can be told on them",
            got=shown or comparison.disagreement,
            key=case.name,
            fix="look at both with codesign crosscheck",
        )
    answer = embedded.simulate(case, semantics=semantics)
    if isinstance(answer, Infeasible):
        return answer
    note = f"dense counts by the real Timeloop; zeros and masks by codesign's own pass, because {why}"
    return replace(answer, warnings=(note, *answer.warnings))
