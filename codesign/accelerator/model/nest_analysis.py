"""How many words cross every boundary of a loop nest (Timeloop's nest analysis, with its extrapolation)."""

from __future__ import annotations

from codesign.accelerator.model.encoding import Encoding
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.traffic import Delivery, StrideRule, Traffic
from codesign.accelerator.model.visits import Surroundings, operations
from codesign.accelerator.model.walk import Walk
from codesign.accelerator.spec.mapping import LevelMapping
from codesign.accelerator.spec.problem import Dataspace

__all__ = ["analyse"]

_SOME = Traffic((Delivery(1, 1, 1.0),))


def analyse(
    nest: Nest,
    dataspaces: tuple[Dataspace, ...],
    mapping: tuple[LevelMapping, ...],
    rule: StrideRule,
    hops: bool = False,
) -> tuple[tuple[Traffic, ...], ...]:
    """Traffic below every level (innermost first), for every dataspace.

    Args:
        hops: also follow each multicast over the mesh; only network energies need it.
    """
    extents = nest.levels[-1].boundary.full
    encodings = [Encoding(dataspace, extents) for dataspace in dataspaces]
    steps = Traffic((Delivery(1, 1, operations(nest)),))
    rows = []
    for level, part in enumerate(nest.levels):
        around = Surroundings(nest, level)
        row = []
        for index, dataspace in enumerate(dataspaces):
            if not part.spatial and level == 0:
                # No reuse between the operands of successive operations is modelled.
                row.append(steps)
            elif not (part.spatial or hops or _held(index, mapping[level - 1])):
                # What is passed on is set by the level inside; see the treatment of bypassed levels.
                row.append(_SOME)
            else:
                walk = Walk(around, nest, dataspace, index, level, mapping, encodings[index], rule)
                row.append(walk.traffic(hops))
        rows.append(tuple(row))
    return tuple(rows)


def _held(dataspace_id: int, level: LevelMapping) -> bool:
    return level.keep[dataspace_id] and dataspace_id not in level.no_coalesce
