"""What the real program says of a mapping that does not fit, as an ``Infeasible`` like the embedded engine's."""

from __future__ import annotations

import re

from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.case import Case

__all__ = ["read_verdict"]

_COULD_NOT = re.compile(r"ERROR: couldn't map level (?P<level>\S+): (?P<reason>.+)")
_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_UNIT = {"instances": "instances", "X expansion": "meshX", "Y expansion": "meshY"}
_TILE = re.compile(rf"mapped (metadata )?tile size {_NUMBER} exceeds (?:metadata )?buffer capacity {_NUMBER}")
_LITTLE = re.compile(rf"mapped tile size {_NUMBER} is less than constrained minimum utilization {_NUMBER}")
_SPREAD = re.compile(
    rf"mapped (?:max Arithmetic )?(instances|X expansion|Y expansion) {_NUMBER} exceeds (?:available )?"
    rf"hardware instances {_NUMBER}"
)
_RANKS = re.compile(r"more compression ranks needed than supported in hardware\. dataspace name: (\S+)")


def read_verdict(output: str, case: Case) -> Infeasible | None:
    """The first complaint about the mapping in a program's output; None if there is none that is understood."""
    match = _COULD_NOT.search(output)
    if match is None:
        return None
    level, reason = match["level"].split("[")[0], match["reason"].strip()
    return _capacity(level, reason) or _spread(level, reason) or _ranks(level, reason, case)


def _capacity(level: str, reason: str) -> Infeasible | None:
    match = _TILE.match(reason)
    if match is not None:
        unit = "metadata bits" if match[1] else "words"
        return _infeasible(
            level,
            match[2],
            match[3],
            unit,
            f"{level}: the mapped tiles take {match[2]} {unit}, the capacity is {match[3]}",
            (f"smaller factors at {level} and inside", f"a larger {level}"),
        )
    match = _LITTLE.match(reason)
    if match is None:
        return None
    return _infeasible(
        level,
        match[1],
        match[2],
        "words",
        f"{level}: the tiles fill {match[1]} words, min_utilization asks for {match[2]}",
        (f"larger factors at {level} and inside", "a smaller min_utilization"),
    )


def _spread(level: str, reason: str) -> Infeasible | None:
    match = _SPREAD.match(reason)
    if match is None:
        return None
    unit = _UNIT[match[1]]
    return _infeasible(
        level,
        match[2],
        match[3],
        unit,
        f"{level}: the mapping uses {match[2]} {unit}, the hardware has {match[3]}",
        ("smaller spatial factors", "another split between X and Y"),
    )


def _ranks(level: str, reason: str, case: Case) -> Infeasible | None:
    match = _RANKS.match(reason)
    if match is None:
        return None
    given = next(
        (
            len(layout.ranks)
            for entry in case.sparse.levels
            for layout in entry.formats
            if entry.level == level and layout.dataspace == match[1]
        ),
        0,
    )
    return Infeasible(
        level=level,
        demand=given + 1,
        capacity=given,
        unit="compression ranks",
        message=f"{level}: the mapping of {match[1]} needs more compression ranks than the {given} given",
        dataspace=match[1],
    )


def _infeasible(level: str, demand: str, capacity: str, unit: str, message: str, levers: tuple[str, ...]) -> Infeasible:
    return Infeasible(level, float(demand), float(capacity), unit, message, levers=levers)
