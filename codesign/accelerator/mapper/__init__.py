"""Finding mappings: the documented heuristic (docs/mapper.md), and scoring of many mappings at a time."""

from __future__ import annotations

from codesign.accelerator.mapper.cost import Objective
from codesign.accelerator.mapper.heuristic import Effort, heuristic_mapping

__all__ = ["Effort", "Objective", "heuristic_mapping"]
