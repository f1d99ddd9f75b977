"""From the layers of a model to problems for an accelerator, and to the traffic of everything else."""

from __future__ import annotations

from codesign.workloads.lowering import DIMENSIONS, problem, shape_key
from codesign.workloads.traffic import Fusion, MemoryTraffic, memory_traffic

__all__ = ["DIMENSIONS", "Fusion", "MemoryTraffic", "memory_traffic", "problem", "shape_key"]
