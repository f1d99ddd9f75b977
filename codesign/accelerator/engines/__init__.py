"""Engines: each turns a case into a result. ``embedded`` needs nothing but this package."""

from __future__ import annotations

from typing import Protocol

from codesign.accelerator.model import Semantics, StrideRule
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case

__all__ = ["Engine"]


class Engine(Protocol):
    """Anything that can be called as ``simulate(case)``."""

    def __call__(
        self, case: Case, *, semantics: Semantics = "clean", stride_rule: StrideRule = "current"
    ) -> Result | Infeasible:
        """Evaluate the case; an illegal mapping is a result, bad input raises InputError."""
        ...
