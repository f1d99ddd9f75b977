"""How long one dense evaluation takes: a ResNet-18 layer on a row-stationary array, and a plain Python loop beside it.

    python benchmarks/dense_engine.py [--evaluations 300] [--iterations 200000]

Prints JSON. ``plain_loop_ms`` is extrapolated: the first ``--iterations`` steps of the same loop nest are really run in
plain Python (an index increment and three tile look-ups a step), and scaled to all of its operations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import islice, product

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.spatial import clear_caches
from codesign.accelerator.result import Result
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping
from codesign.accelerator.spec.problem import Dataspace, Problem, Term

N, M, C, P, Q, R, S = range(7)
BOUNDS = {N: 1, M: 64, C: 64, P: 56, Q: 56, R: 3, S: 3}  # ResNet-18, conv2_x (He et al. 2016)
WEIGHTS, INPUTS, OUTPUTS = range(3)


def problem() -> Problem:
    weights = Dataspace("Weights", tuple((Term(d),) for d in (C, M, R, S)))
    inputs = Dataspace("Inputs", ((Term(N),), (Term(C),), (Term(R), Term(P)), (Term(S), Term(Q))))
    outputs = Dataspace("Outputs", tuple((Term(d),) for d in (N, M, P, Q)), read_write=True)
    return Problem("resnet18_conv2", tuple("NMCPQRS"), tuple(BOUNDS.values()), (weights, inputs, outputs))


def architecture() -> Architecture:
    """A 14 x 12 array with three scratchpads a PE, sized as Eyeriss (Chen et al., JSSC 2017)."""
    pe = {"mesh_x": 14, "mesh_y": 12, "read_bandwidth": 2.0, "write_bandwidth": 2.0}
    storage = (
        Storage("psum_spad", "regfile", size_words=24, **pe),
        Storage("weights_spad", "regfile", size_words=224, **pe),
        Storage("ifmap_spad", "regfile", size_words=12, **pe),
        Storage("rows", "dummy_storage", mesh_x=14, spatial_dummy=True),
        Storage("columns", "dummy_storage", spatial_dummy=True),
        Storage("glb", "SRAM", size_words=65536, block_size=4, read_bandwidth=16.0, write_bandwidth=16.0),
        Storage("dram", "DRAM", block_size=4),
    )
    return Architecture("row_stationary", storage, Compute("mac", "intmac", mesh_x=14, mesh_y=12))


def loops(*pairs: tuple[int, int]) -> tuple[Loop, ...]:
    """All seven loops, the given ones (dimension, bound) innermost, in that order."""
    given = dict(pairs)
    order = [d for d, _ in pairs] + [d for d in BOUNDS if d not in given]
    return tuple(Loop(d, given.get(d, 1), given.get(d, 1)) for d in order)


def mapping() -> Mapping:
    """Filter rows along Y, output rows along X, channels inside the PE: the row-stationary dataflow."""

    def level(temporal, keep, x=(), y=()):
        return LevelMapping(temporal, x, y, tuple(index in keep for index in (WEIGHTS, INPUTS, OUTPUTS)))

    one = loops()
    return Mapping(
        (
            level(loops((M, 16)), {OUTPUTS}),
            level(loops((C, 4)), {WEIGHTS}),
            level(loops((S, 3)), {INPUTS}),
            level(one, set(), x=(), y=loops((R, 3), (C, 4))),
            level(one, set(), x=loops((P, 14))),
            level(loops((Q, 56), (C, 2)), {INPUTS, OUTPUTS}),
            level(loops((C, 2), (M, 4), (P, 4)), {WEIGHTS, INPUTS, OUTPUTS}),
        )
    )


def energy(design: Architecture) -> EnergyTable:
    """Placeholder energies of 1 pJ: the time does not depend on them."""
    source = Provenance("made up for this benchmark")
    entries = [
        EnergyEntry(storage.name, action, 1.0, source)
        for storage in design.storage
        if not storage.spatial_dummy
        for action in ("read", "write", "update", "leak")
    ]
    return EnergyTable((*entries, EnergyEntry("mac", "compute", 1.0, source)))


def seconds_per_step(case: Problem, nest: Mapping, steps: int) -> float:
    """Time of one innermost step of a plain Python loop over the nest."""
    outermost_first = [
        loop
        for level in reversed(nest.levels)
        for group in (level.temporal, level.spatial_y, level.spatial_x)
        for loop in reversed(group)
        if loop.bound > 1
    ]
    dimensions = [loop.dimension for loop in outermost_first]
    seen: list[set[tuple[int, ...]]] = [set() for _ in case.dataspaces]
    began = time.perf_counter()
    for indices in islice(product(*(range(loop.bound) for loop in outermost_first)), steps):
        for words, dataspace in zip(seen, case.dataspaces, strict=True):
            words.add(tuple(i for i, d in zip(indices, dimensions, strict=True) if d in dataspace.dimensions))
    return (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=200_000)
    options = parser.parse_args()
    design, case, nest = architecture(), problem(), mapping()
    nest.check(design, case)
    table = energy(design)
    times: dict[str, list[float]] = {"warm": [], "no_caches": []}
    for kind, found in times.items():
        for _ in range(options.evaluations):
            if kind == "no_caches":
                clear_caches()
            began = time.perf_counter()
            result = evaluate(design, case, nest, table)
            found.append((time.perf_counter() - began) * 1000)
            if not isinstance(result, Result):
                raise SystemExit(result.message)
    plain_ms = seconds_per_step(case, nest, options.iterations) * case.macs * 1000
    median_ms = statistics.median(times["warm"])
    report = {
        "layer": case.name,
        "macs": case.macs,
        "evaluations": options.evaluations,
        "median_ms": median_ms,
        "p90_ms": statistics.quantiles(times["warm"], n=10)[-1],
        "median_without_caches_ms": statistics.median(times["no_caches"]),
        "plain_loop_ms": plain_ms,
        "times_faster_than_plain_loop": plain_ms / median_ms,
        "python": sys.version.split()[0],
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
