"""Mappings a second, generation included: ``python benchmarks/mapper_throughput.py ARCH.yaml [ERT.yaml]``.

ResNet-18's layer 56 x 56 x 64 -> 64 (He et al. 2016) on the given architecture, by threads. Prints one JSON object: for
random sampling (every mapping drawn anew) and for the search (every mapping a change of the one before): mappings
tried and legal ones, per second of wall time and per second of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.batch import BatchEvaluator
from codesign.accelerator.mapper.feasible import smallest
from codesign.accelerator.mapper.heuristic import DEFAULT_EFFORT
from codesign.accelerator.mapper.islands import Island
from codesign.accelerator.mapper.nest import Batch
from codesign.accelerator.mapper.sampling import sample
from codesign.accelerator.mapper.seeds import heuristic_candidates
from codesign.accelerator.mapper.size import choices_of
from codesign.accelerator.mapper.task import Task
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
    arguments = parser.parse_args()
    design = load_design(arguments.files)
    energy = design.energy or estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    problem = layer()
    evaluator = BatchEvaluator(Task(design.architecture, problem, design.constraints(problem), energy, design.sparse))
    choices = choices_of(evaluator.space)
    base = smallest(evaluator.space, evaluator.capacity)
    if not isinstance(base, Batch):
        raise SystemExit(base.message)
    seeds = Batch.join([base, *heuristic_candidates(evaluator, base, "edp", DEFAULT_EFFORT)[0]])

    def draw(stream: int) -> tuple[int, int]:
        found = sample(evaluator, choices, arguments.mappings, stream=stream)
        return found.tried, found.valid

    def search(stream: int) -> tuple[int, int]:
        island = Island(evaluator, choices, (1.0, 1.0), seeds, seed=0, stream=stream)
        island.advance(arguments.mappings)
        return island.evaluated, island.valid

    sample(evaluator, choices, 10)
    Island(evaluator, choices, (1.0, 1.0), seeds, seed=0, stream=0).advance(10)  # both: compile
    answer = {
        "architecture": design.architecture.name,
        "threads": arguments.threads,
        "load_average": os.getloadavg()[0],
        "random": rates(draw, arguments.threads),
        "search": rates(search, arguments.threads),
    }
    json.dump(answer, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
