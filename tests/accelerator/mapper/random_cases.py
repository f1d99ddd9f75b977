"""Random problems, small architectures, constraints and mappings, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from codesign.accelerator.mapper.feasible import divisors
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.constraints import Constraints, FactorLimit, LevelConstraints, LoopConstraints
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

__all__ = ["architectures", "constraint_sets", "mappings", "problems"]

_M, _C, _P, _R = range(4)
_SPACES = 3


@st.composite
def problems(draw: st.DrawFn, largest: int = 8) -> Problem:
    """A convolution over M, C, P, R with stride and dilation, or its transpose."""
    bounds = tuple(draw(st.lists(st.integers(1, largest), min_size=4, max_size=4)))
    window = (Term(_R, draw(st.integers(1, 2))), Term(_P, draw(st.integers(1, 2))))
    inputs: tuple[tuple[Term, ...], ...] = ((Term(_C),), window)
    outputs: tuple[tuple[Term, ...], ...] = ((Term(_M),), (Term(_P),))
    if draw(st.booleans()):
        inputs, outputs = ((Term(_C),), (Term(_P),)), ((Term(_M),), window)
    spaces = (
        Dataspace("Weights", ((Term(_M),), (Term(_C),), (Term(_R),))),
        Dataspace("Inputs", inputs),
        Dataspace("Outputs", outputs, read_write=True),
    )
    return Problem("random", ("M", "C", "P", "R"), bounds, spaces)


@st.composite
def architectures(draw: st.DrawFn, words: st.SearchStrategy[int | None] | None = None) -> Architecture:
    """One to three storage levels, fan-outs between them, the outermost without a size."""
    sizes = st.one_of(st.none(), st.integers(1, 64)) if words is None else words
    levels: list[Storage] = []
    mesh_x = mesh_y = 1
    for index in range(draw(st.integers(1, 3))):
        name = f"level{index}"
        size = None if index == 0 else draw(sizes)
        buffers = 1.0 if index == 0 else draw(st.sampled_from([1.0, 1.0, 2.0]))
        levels.append(Storage(name, "SRAM", mesh_x, mesh_y, size_words=size, multiple_buffering=buffers, block_size=2))
        x, y = draw(st.sampled_from([(1, 1), (1, 1), (4, 1), (1, 3), (2, 3), (4, 4)]))
        if (x, y) != (1, 1):
            levels.append(Storage(f"below{index}", "dummy_storage", mesh_x, mesh_y, spatial_dummy=True))
            mesh_x, mesh_y = mesh_x * x, mesh_y * y
    return Architecture("random", tuple(reversed(levels)), Compute("mac", "intmac", mesh_x, mesh_y))


@st.composite
def mappings(draw: st.DrawFn, architecture: Architecture, problem: Problem, flagged: bool = False) -> Mapping:
    """Perfect factors anywhere that fan-outs allow, any permutation, any bypass; capacities are not respected.

    No transfers over links. ``flagged``: some levels neither reuse nor multicast some dataspaces.
    """
    dimensions = range(len(problem.bounds))
    remaining = list(problem.bounds)
    levels = []
    last = len(architecture.storage) - 1
    no_links = frozenset(range(_SPACES))
    for index, storage in enumerate(architecture.storage):
        axes: list[tuple[Loop, ...]] = [(), ()]
        fanout = architecture.fanout(index)
        if fanout != (1, 1):
            on_x = draw(st.lists(st.booleans(), min_size=len(remaining), max_size=len(remaining)))
            for axis in (0, 1):
                room, loops = fanout[axis], []
                for d in draw(st.permutations([d for d in dimensions if on_x[d] == (axis == 0)])):
                    factor = draw(st.sampled_from([f for f in divisors(remaining[d]) if f <= room]))
                    room //= factor
                    remaining[d] //= factor
                    loops.append(Loop(d, factor, factor))
                axes[axis] = tuple(loops)
        temporal = []
        for d in draw(st.permutations(dimensions)):
            everything = index == last
            factor = 1 if storage.spatial_dummy else draw(st.sampled_from(divisors(remaining[d])))
            factor = remaining[d] if everything else factor
            remaining[d] //= factor
            temporal.append(Loop(d, factor, factor))
        keep = tuple(not storage.spatial_dummy and (index == last or draw(st.booleans())) for _ in range(_SPACES))
        flags = {
            flag: frozenset(draw(st.sets(st.sampled_from(range(_SPACES)), max_size=2))) if flagged else frozenset[int]()
            for flag in ("no_temporal_reuse", "no_multicast", "rmw_first_update")
        }
        levels.append(LevelMapping(tuple(temporal), *axes, keep, no_link_transfer=no_links, **flags))
    return Mapping(tuple(levels))


@st.composite
def constraint_sets(draw: st.DrawFn, architecture: Architecture, problem: Problem) -> Constraints:
    """Factor limits, fixed permutations, splits and keeps, a few of each; often contradictory."""
    dimensions = range(len(problem.bounds))

    def loops(spatial: bool) -> LoopConstraints:
        limits = st.builds(
            FactorLimit, st.sampled_from(dimensions), st.sampled_from(["=", "<=", ">="]), st.integers(1, 4)
        )
        factors = draw(st.lists(limits, max_size=2)) if draw(st.integers(0, 3)) == 0 else []
        order = draw(st.permutations(dimensions))
        inner = draw(st.integers(0, 2))
        outer = draw(st.integers(0, 2))
        split = draw(st.one_of(st.none(), st.integers(0, len(dimensions)))) if spatial else None
        return LoopConstraints(tuple(factors), tuple(order[:inner]), tuple(order[len(order) - outer :]), split)

    levels = []
    for storage in architecture.storage:
        free = tuple(draw(st.sampled_from([None, None, None, True, False])) for _ in range(_SPACES))
        keep = (False,) * _SPACES if storage.spatial_dummy else free
        levels.append(LevelConstraints(keep, loops(spatial=False), loops(spatial=True)))
    return Constraints(tuple(levels))
