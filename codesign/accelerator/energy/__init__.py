"""Energy per action and area of accelerator components, every figure with its source and scaling law."""

from __future__ import annotations

from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator, Figure
from codesign.accelerator.energy.estimate import estimate
from codesign.accelerator.energy.registry import BUILTIN
from codesign.accelerator.energy.user_tables import read_user_table

__all__ = ["BUILTIN", "Component", "ComponentEstimate", "Estimator", "Figure", "estimate", "read_user_table"]
