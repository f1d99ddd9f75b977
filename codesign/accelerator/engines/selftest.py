"""One case with an answer that can be worked out by hand: does an engine run on this machine?"""

from __future__ import annotations

from codesign.accelerator.engines import Engine, embedded
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

__all__ = ["known_answer", "known_case"]

_M, _C, _N = 4, 3, 2


def known_case() -> Case:
    """A 4 x 3 x 2 matrix product that lies in one memory below the MAC."""
    bounds = _M, _C, _N
    problem = Problem(
        "product",
        ("M", "C", "N"),
        bounds,
        (
            Dataspace("Weights", ((Term(0),), (Term(1),))),
            Dataspace("Inputs", ((Term(1),), (Term(2),))),
            Dataspace("Outputs", ((Term(0),), (Term(2),)), read_write=True),
        ),
    )
    architecture = Architecture("top", (Storage("memory", "SRAM"),), Compute("mac", "intmac"))
    loops = tuple(Loop(dimension, bound, bound) for dimension, bound in enumerate(bounds))
    mapping = Mapping((LevelMapping(loops, (), (), (True, True, True)),))
    unit = Provenance("one energy unit an action, for counting", confidence="user")
    actions = [("memory", action) for action in ("read", "write", "update")] + [("mac", "compute")]
    table = EnergyTable(tuple(EnergyEntry(component, action, 1.0, unit) for component, action in actions))
    return Case("known case", architecture, problem, mapping, energy=table)


def known_answer(engine: Engine = embedded.simulate) -> tuple[int, int]:
    """Scalar accesses of the known case that the engine counts, and the number that they must be.

    Each of the M*C*N products reads a weight and an input and updates an output, and all but the first of the C sums
    of an output read the partial sum back.
    """
    expected = 4 * _M * _C * _N - _M * _N
    result = engine(known_case())
    if isinstance(result, Infeasible):
        return -1, expected
    stats = result.levels["memory"].dataspaces.values()
    return sum(s.actual_reads + s.actual_fills + s.actual_updates for s in stats), expected
