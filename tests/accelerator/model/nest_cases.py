"""Random small problems, architectures and mappings for property-based tests."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

SOURCE = Provenance("made up for tests")


def convolution(bounds: Sequence[int], stride: int = 1, dilation: int = 1) -> Problem:
    """Dimensions C, M, P, R: one-dimensional convolution with two channel dimensions."""
    weights = Dataspace("Weights", ((Term(0),), (Term(1),), (Term(3),)))
    inputs = Dataspace("Inputs", ((Term(0),), (Term(2, stride), Term(3, dilation))))
    outputs = Dataspace("Outputs", ((Term(1),), (Term(2),)), read_write=True)
    return Problem("convolution", ("C", "M", "P", "R"), tuple(bounds), (weights, inputs, outputs))


def matmul(bounds: Sequence[int]) -> Problem:
    """Dimensions M, K, N."""
    a = Dataspace("A", ((Term(0),), (Term(1),)))
    b = Dataspace("B", ((Term(1),), (Term(2),)))
    z = Dataspace("Z", ((Term(0),), (Term(2),)), read_write=True)
    return Problem("matmul", ("M", "K", "N"), tuple(bounds), (a, b, z))


def energy_table(architecture: Architecture) -> EnergyTable:
    """Distinct energies for all actions of all levels."""
    entries = []
    for index, level in enumerate(architecture.storage):
        for offset, action in enumerate(("read", "write", "update", "leak")):
            entries.append(EnergyEntry(level.name, action, 10.0 * index + offset + 1, SOURCE))
    entries.append(EnergyEntry(architecture.compute.name, "compute", 0.5, SOURCE))
    return EnergyTable(tuple(entries))


def split(bound: int, factors: Sequence[int]) -> list[Loop]:
    """Loops of dimension 0, innermost first, that make up ``bound``; imperfect where the factors do not divide."""
    loops, left = [], bound
    for factor in factors:
        factor = min(factor, left)
        loops.append(Loop(0, factor, (left - 1) % factor + 1))
        left = -(-left // factor)
    return [*loops, Loop(0, left, left)]


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def mapped(
    draw: st.DrawFn,
    *,
    perfect: bool = True,
    levels: int = 3,
    largest: int = 6,
    options: bool = True,
    conv_only: bool = False,
) -> tuple[Architecture, Problem, Mapping]:
    """An architecture with fan-outs, a problem and a mapping that fits its meshes; capacities are unlimited."""
    size = st.integers(1, largest)
    if conv_only or draw(st.booleans()):
        problem = convolution(
            [draw(size) for _ in range(4)], draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, -1]))
        )
    else:
        problem = matmul([draw(size) for _ in range(3)])
    count = len(problem.bounds)
    spatial = [draw(st.booleans()) for _ in range(levels - 1)] + [False]
    # Slots from the inside: per level a spatial one (if any), then a temporal one.
    slots = [kind for level in range(levels) for kind in ((("s", level),) if spatial[level] else ()) + (("t", level),)]
    loops: dict[tuple[str, int], list[Loop]] = {slot: [] for slot in slots}
    for d, bound in enumerate(problem.bounds):
        if perfect:
            left, parts = bound, []
            for _ in slots[:-1]:
                factor = draw(st.sampled_from(divisors(left)))
                parts.append(Loop(0, factor, factor))
                left //= factor
            parts.append(Loop(0, left, left))
        else:
            parts = split(bound, [draw(st.integers(1, 4)) for _ in slots[:-1]])
        for slot, part in zip(slots, parts, strict=True):
            loops[slot].append(Loop(d, part.bound, part.residual))
    subset = st.frozensets(st.integers(0, 2), max_size=2) if options else st.just(frozenset())
    rows, meshes = [], [(1, 1)]
    for level in range(levels):
        order = draw(st.permutations(range(count)))
        temporal = tuple(loops["t", level][d] for d in order)
        x: tuple[Loop, ...] = ()
        y: tuple[Loop, ...] = ()
        if spatial[level]:
            order = draw(st.permutations(range(count)))
            cut = draw(st.integers(0, count))
            x = tuple(loops["s", level][d] for d in order[:cut])
            y = tuple(loops["s", level][d] for d in order[cut:])
        keep = tuple(draw(st.booleans()) for _ in range(3)) if options and level < levels - 1 else (True,) * 3
        rows.append(
            LevelMapping(
                temporal,
                x,
                y,
                keep,
                no_temporal_reuse=draw(subset),
                no_multicast=draw(subset),
                no_link_transfer=draw(subset),
            )
        )
    extra = draw(st.integers(0, 1))  # a mesh may be wider than the mapping needs
    for row in reversed(rows):
        width, height = meshes[-1]
        for loop in row.spatial_x:
            width *= loop.bound
        for loop in row.spatial_y:
            height *= loop.bound
        if row.spatial_x or row.spatial_y:
            width *= 1 + extra
        meshes.append((width, height))
    meshes.reverse()  # compute first
    storage = tuple(
        Storage(f"level{i}", "DRAM" if i == levels - 1 else "SRAM", *meshes[i + 1], word_bits=8, block_size=1)
        for i in range(levels)
    )
    architecture = Architecture("random", storage, Compute("mac", "intmac", *meshes[0], word_bits=8))
    mapping = Mapping(tuple(rows))
    mapping.check(architecture, problem)
    return architecture, problem, mapping
