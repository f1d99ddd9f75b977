"""One case with an answer that can be worked out by hand: does the embedded engine run on this machine?"""

from __future__ import annotations

from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

__all__ = ["known_answer"]


def known_answer() -> tuple[int, int]:
    """Scalar accesses of a 4 x 3 x 2 matrix product that the engine counts, and the number that they must be.

    Everything lies in one memory below the MAC: each of the M*C*N products reads a weight and an input and updates an
    output, and all but the first of the C sums of an output read the partial sum back.
    """
    bounds = m, c, n = 4, 3, 2
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
    architecture = Architecture("one memory", (Storage("memory", "SRAM"),), Compute("mac", "intmac"))
    loops = tuple(Loop(dimension, bound, bound) for dimension, bound in enumerate(bounds))
    mapping = Mapping((LevelMapping(loops, (), (), (True, True, True)),))
    unit = Provenance("one energy unit an action, for counting", confidence="user")
    actions = [("memory", action) for action in ("read", "write", "update")] + [("mac", "compute")]
    table = EnergyTable(tuple(EnergyEntry(component, action, 1.0, unit) for component, action in actions))
    result = evaluate(architecture, problem, mapping, table)
    if isinstance(result, Infeasible):
        return -1, 4 * m * c * n - m * n
    stats = result.levels["memory"].dataspaces.values()
    return sum(s.actual_reads + s.actual_fills + s.actual_updates for s in stats), 4 * m * c * n - m * n
