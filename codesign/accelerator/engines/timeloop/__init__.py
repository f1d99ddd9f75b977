"""The real Timeloop and Accelergy, driven as programs, for whoever has them installed."""

from __future__ import annotations

from codesign.accelerator.engines.timeloop.engine import TimeloopEngine
from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.accelerator.engines.timeloop.installation import Installation, find_installation

__all__ = ["Installation", "ProgramError", "TimeloopEngine", "find_installation"]
