"""How long one sparse evaluation takes: a ResNet-18 layer on a row-stationary array that skips on operands and outputs.

    python benchmarks/sparse_engine.py [--evaluations 100] [--samples 256]

Prints JSON, milliseconds. Expected densities: the median of many evaluations, warm. Actual masks of ``--samples``
samples: the first evaluation of each kind (nothing about the mask is known yet; the mask is in memory, packed, with its
hash taken) and a later one of the same masks (counts are kept by content hash); ``realised_cpu`` is the latency with
imbalance, ``waterfall_cpu`` all stages, both after that. Names that end with ``cpu`` are processor time, which other
work on the machine does not lengthen.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
from dense_engine import INPUTS, OUTPUTS, WEIGHTS, architecture, energy, mapping, problem

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE, Density, Hypergeometric, StructuredNM, Vectors
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    SparseOptimizations,
)
from codesign.accelerator.waterfall import waterfall


def skipping(*conditions: str) -> SparseOptimizations:
    """Weights wait for ``conditions`` in the PE, everything waits for the outputs further out."""

    def level(name: str, **targets: tuple[str, ...]) -> LevelSparsity:
        options = ((Option(target, waits),) for target, waits in targets.items())
        return LevelSparsity(name, tuple(ActionOptimization("skipping", option) for option in options))

    outputs = ("Outputs",) if "Outputs" in conditions else ()
    levels = [level("weights_spad", Weights=conditions)]
    if outputs:
        levels += [level("glb", Inputs=outputs, Outputs=outputs), level("dram", Weights=outputs)]
    compute = [ComputeOptimization("mac", "skipping"), ComputeOptimization("mac", "gating")]
    if outputs:
        compute.append(ComputeOptimization("mac", "skipping", on="outputs"))
    return SparseOptimizations(tuple(levels), tuple(compute))


def milliseconds(case: Problem, sparse: SparseOptimizations, evaluations: int) -> list[float]:
    design, nest = architecture(), mapping()
    table = energy(design)
    found = []
    for _ in range(evaluations):
        began = time.perf_counter()
        result = evaluate(design, case, nest, table, sparse)
        found.append((time.perf_counter() - began) * 1000)
        if not isinstance(result, Result):
            raise SystemExit(result.message)
    return found


def further(case: Problem, sparse: SparseOptimizations) -> dict[str, float]:
    """Realised latency, and the waterfall given that."""
    design = architecture()
    given = (design, case, mapping(), energy(design), sparse)
    began = time.process_time()
    latency = realised_latency(*given)
    between = time.process_time()
    if not isinstance(latency, RealisedLatency):
        raise SystemExit(latency.message)
    waterfall(*given, realised=latency)
    return {"realised_cpu": (between - began) * 1000, "waterfall_cpu": (time.process_time() - between) * 1000}


def masks(case: Problem, samples: int, density: float = 0.5) -> dict[int, ActualData]:
    """Random masks of all tensors; weights are the same for all samples."""
    rng = np.random.default_rng(0)
    found = {}
    for index, dataspace in enumerate(case.dataspaces):
        box = dataspace.tile([0] * len(case.bounds), [bound - 1 for bound in case.bounds])
        shape = tuple(high - low for low, high in box)
        varies = index != WEIGHTS
        mask = rng.random((samples, *shape) if varies else shape, dtype=np.float32) < density
        found[index] = ActualData.of(mask, varies=varies)
        _ = found[index].sha256
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    case = problem()
    half = Hypergeometric(0.5)
    expected: dict[str, tuple[tuple[Density, ...], tuple[str, ...]]] = {
        "operands_hypergeometric": ((half, half, DENSE), ("Inputs",)),
        "outputs_hypergeometric": ((half, half, half), ("Inputs", "Outputs")),
        "outputs_4_of_8": ((half, half, StructuredNM(4, 8, 1)), ("Inputs", "Outputs")),
        "outputs_vectors_of_8": ((half, half, Vectors(0.5, 8, 1)), ("Inputs", "Outputs")),
    }
    report: dict[str, object] = {"layer": case.name, "macs": case.macs, "samples": options.samples}
    for name, (densities, conditions) in expected.items():
        times = milliseconds(replace(case, densities=densities), skipping(*conditions), options.evaluations)
        began = time.process_time()
        milliseconds(replace(case, densities=densities), skipping(*conditions), options.evaluations)
        report[f"expected_{name}_ms"] = {
            "mean_cpu": (time.process_time() - began) * 1000 / options.evaluations,
            "median": statistics.median(times),
            "p90": statistics.quantiles(times, n=10)[-1],
            "first": times[0],
        }
    real: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
        "outputs": ((OUTPUTS,), ("Outputs",)),
        "inputs": ((INPUTS,), ("Inputs",)),
        "weights_and_inputs": ((WEIGHTS, INPUTS), ("Inputs",)),
        "inputs_and_outputs": ((INPUTS, OUTPUTS), ("Inputs", "Outputs")),
        "weights_inputs_and_outputs": ((WEIGHTS, INPUTS, OUTPUTS), ("Inputs", "Outputs")),
    }
    for number, (name, (tensors, conditions)) in enumerate(real.items()):
        # Masks of their own for each kind, so that nothing is known from the one before.
        own = masks(case, options.samples, 0.5 + 0.001 * number)
        densities = tuple(own[index] if index in tensors else DENSE for index in range(3))
        masked = replace(case, densities=densities)
        began = time.process_time()
        (first,) = milliseconds(masked, skipping(*conditions), 1)
        first_cpu = (time.process_time() - began) * 1000
        again = statistics.median(milliseconds(masked, skipping(*conditions), 5))
        report[f"actual_{name}_ms"] = {
            "first": first,
            "first_cpu": first_cpu,
            "again": again,
            **further(masked, skipping(*conditions)),
        }
    report["python"] = sys.version.split()[0]
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
