"""The embedded engine: Timeloop's and Sparseloop's analytical model in plain Python."""

from __future__ import annotations

from codesign.accelerator.model import Semantics, StrideRule, evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.errors import InputError

__all__ = ["simulate"]


def simulate(case: Case, *, semantics: Semantics = "clean", stride_rule: StrideRule = "current") -> Result | Infeasible:
    """Evaluate one case (see ``codesign.accelerator.model.evaluate``).

    Raises:
        InputError: the case has no energy table, the mapping does not fit the problem, or a feature is not modelled.
    """
    if case.energy is None:
        raise InputError(
            f"case {case.name} has no energy table",
            key="ERT",
            fix="add a file with ERT (and ART) tables to the case, or estimate one with `codesign energy`",
        )
    try:
        case.mapping.check(case.architecture, case.problem)
    except ValueError as error:
        raise InputError(str(error), key=f"{case.name}.mapping") from error
    return evaluate(
        case.architecture,
        case.problem,
        case.mapping,
        case.energy,
        case.sparse,
        semantics=semantics,
        stride_rule=stride_rule,
    )
