"""Mappings a second, generation included: ``python benchmarks/mapper_throughput.py ARCH.yaml [ERT.yaml]``.

ResNet-18's layer 56 x 56 x 64 -> 64 (He et al. 2016) on the given architecture, by threads; with ``--densities W I``
its weights and inputs have zeros at random places. Prints one JSON object: for random sampling (every mapping drawn
anew) and for the search (every mapping a change of the one before): mappings tried and legal ones, per second of wall
time and per second of processor time. What a sparse evaluator has to learn of tiles is in the first run (``learning``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.clock import Clock
from codesign.accelerator.mapper.heuristic import DEFAULT_EFFORT
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.sampling import sample
from codesign.accelerator.mapper.seeds import heuristic_candidates
from codesign.accelerator.mapper.size import choices_of
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.loader import load_design
from codesign.accelerator.spec.problem import Dataspace, Problem, Term


def layer() -> Problem:
    n, m, c, p, q, r, s = range(7)
    weights = Dataspace("Weights", tuple((Term(d),) for d in (c, m, r, s)))
    inputs = Dataspace("Inputs", ((Term(n),), (Term(c),), (Term(r), Term(p)), (Term(s), Term(q))))
    outputs = Dataspace("Outputs", tuple((Term(d),) for d in (n, m, p, q)), read_write=True)
    return Problem("resnet18_layer1", tuple("NMCPQRS"), (1, 64, 64, 56, 56, 3, 3), (weights, inputs, outputs))


def rates(run: Callable[[int], tuple[int, int]], threads: int) -> dict[str, float]:
    """Of ``run``, which gives (tried, legal) for a stream, on all threads at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(run, range(threads)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tried, legal = (sum(column) for column in zip(*done, strict=True))
    return {
        "tried_per_s": tried / wall,
        "legal_per_s": legal / wall,
        "tried_per_cpu_s": tried / cpu,
        "legal_per_cpu_s": legal / cpu,
        "legal_share": legal / tried,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mappings", type=int, default=1_000_000, help="tried by each thread")
    parser.add_argument("--densities", type=float, nargs=2, metavar=("WEIGHTS", "INPUTS"))
    arguments = parser.parse_args()
    design = load_design(arguments.files)
    energy = design.energy or estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    problem = layer()
    if arguments.densities:
        zeros = tuple(Hypergeometric(share) for share in arguments.densities)
        problem = replace(problem, densities=(*zeros, DENSE))
    evaluator = BatchEvaluator(Task(design.architecture, problem, design.constraints(problem), energy, design.sparse))
    choices = choices_of(evaluator.space)
    base = evaluator.smallest()
    if not isinstance(base, Batch):
        raise SystemExit(base.message)
    seeds = Batch.join([base, *heuristic_candidates(evaluator, base, "edp", DEFAULT_EFFORT, Clock(0.0))[0]])

    def draw(stream: int) -> tuple[int, int]:
        found = sample(evaluator, choices, arguments.mappings, stream=stream)
        return found.tried, found.valid

    def search(stream: int) -> tuple[int, int]:
        island = Island(evaluator, choices, (1.0, 1.0), seeds, seed=0, stream=stream)
        island.advance(arguments.mappings)
        return island.evaluated, island.valid

    sample(evaluator, choices, 10)
    Island(evaluator, choices, (1.0, 1.0), seeds, seed=0, stream=0).advance(10)  # both: compile
    learning = rates(draw, arguments.threads) if evaluator.memo is not None else None
    answer = {
        "architecture": design.architecture.name,
        "threads": arguments.threads,
        "densities": arguments.densities,
        "exact": not evaluator.inexact,
        "load_average": os.getloadavg()[0],
        "learning": learning,
        "random": rates(draw, arguments.threads),
        "search": rates(search, arguments.threads),
    }
    json.dump(answer, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
