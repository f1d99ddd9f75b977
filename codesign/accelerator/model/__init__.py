"""The analytical model: nest analysis, accesses, sparsity, cycles, energy and area of one mapping."""

from __future__ import annotations

from codesign.accelerator.model.evaluation import Semantics, evaluate
from codesign.accelerator.model.nest_analysis import StrideRule

__all__ = ["Semantics", "StrideRule", "evaluate"]
