"""Mapping a whole model: ``python benchmarks/mapper_model.py [--model resnet18] [--size 224] [--workers 2]``.

Traces a model of the zoo and searches a mapping for every different layer on each architecture, without a store.
Prints one JSON object: wall seconds in all, and per architecture seconds, layers, energy, cycles, and cycles over the
lower bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch

from codesign.accelerator.mapper.find import Budget, Found
from codesign.accelerator.mapper.goal import EDP
from codesign.accelerator.mapper.layers import map_tasks
from codesign.accelerator.mapper.task import Task
from codesign.evaluation.accelerators import load_accelerator
from codesign.models.tracing import trace
from codesign.models.zoo import zoo_entry
from codesign.workloads.lowering import problem

ARCHITECTURES = ("eyeriss_row_stationary", "systolic_weight_stationary", "vector_pe_edge")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budget", type=int, default=100_000, help="mappings tried a layer")
    arguments = parser.parse_args()
    with torch.device("meta"):
        entry = zoo_entry(arguments.model)
        module = entry.factory(entry.num_classes)
    layers = trace(module, (3, arguments.size, arguments.size)).layers
    begin = time.perf_counter()
    rows = []
    for name in ARCHITECTURES:
        accelerator = load_accelerator(name)
        design = accelerator.design
        problems = [problem(layer) for layer in layers]
        tasks = [
            Task(design.architecture, one, design.constraints(one), accelerator.energy, design.sparse)
            for one in problems
        ]
        start = time.perf_counter()
        answers = map_tasks(tasks, EDP, Budget(arguments.budget), workers=arguments.workers)
        found = [answer for answer in answers if isinstance(answer, Found)]
        cycles = sum(one.best.result.cycles for one in found)
        bound = sum(one.bound.cycles for one in found)
        rows.append(
            {
                "architecture": name,
                "seconds": time.perf_counter() - start,
                "layers": len(answers),
                "different_layers": len({task.digest() for task in tasks}),
                "mapped": len(found),
                "energy_uJ": sum(one.best.result.energy_pJ for one in found) / 1e6,
                "cycles": cycles,
                "cycles_over_bound": cycles / bound if bound else None,
            }
        )
    json.dump({"wall_s": time.perf_counter() - begin, "model": arguments.model, "rows": rows}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
