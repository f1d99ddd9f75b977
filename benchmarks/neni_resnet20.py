"""A defended ResNet-20: accuracy, agreement with the base, BitOPs, and cost on the dual-module design, from real masks.

``python benchmarks/neni_resnet20.py --checkpoint FILE --images TRAINING.npy --test TEST.npz [--share 0.2]
[--dimension K]``. Images are uint8 (n, channels, rows, columns); TEST has ``x`` (n, rows, columns, channels) and ``y``.
Prints JSON. Energies are of the defended layers, one sample, on average over the masks of the first test images; zero
inputs are not taken into account on either side.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from time import perf_counter, process_time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from codesign.defenses.neni import DefendedModel, NeniSettings, defend
from codesign.defenses.neni.wrapping import defended_layers
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.dual_baseline import on_one_array
from codesign.evaluation.dual_module import load_dual_module
from codesign.models.layers import TracedModel
from codesign.models.loading import load_model
from codesign.models.tracing import trace
from codesign.workloads.dual_module import Selection, dual_workload, recorded_outputs, work_imbalance

_MASKED = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--dimension", type=int, default=None)
    arguments = parser.parse_args()
    loaded = load_model("resnet20", checkpoint=arguments.checkpoint)
    traced = trace(loaded.module, loaded.input_shape)
    settings = NeniSettings(share=arguments.share, dimension=arguments.dimension)
    begin, used = perf_counter(), process_time()
    training = torch.from_numpy(np.load(arguments.images))
    defended = defend(loaded.module, traced, training, settings, torch.Generator().manual_seed(0))
    report: dict[str, object] = {
        "distillation_s": round(perf_counter() - begin, 1),
        "distillation_cpu_s": round(process_time() - used, 1),
    }
    test = np.load(arguments.test)
    pixels = torch.from_numpy(test["x"].transpose(0, 3, 1, 2)).float() / 255
    labels = torch.from_numpy(test["y"].astype(np.int64))
    with torch.no_grad():
        for name, module in (("base", loaded.module), ("defended", defended.module)):
            answers = torch.cat([module(part).argmax(1) for part in torch.split(pixels, 100)])
            report[f"{name}_accuracy"] = round((answers == labels).double().mean().item(), 4)
    known = [layer.quality for layer in defended.layers if layer.quality is not None]
    report["relative_error"] = [round(quality.relative_error, 3) for quality in known]
    report["recall"] = [round(quality.recall, 3) for quality in known]
    report["bitops_share"] = round(
        sum(layer.bitops.defended for layer in defended.layers)
        / sum(layer.bitops.undefended for layer in defended.layers),
        3,
    )
    report["hardware"] = hardware(defended, traced, pixels[:_MASKED])
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def hardware(defended: DefendedModel, traced: TracedModel, pixels: torch.Tensor) -> dict[str, object]:
    """Totals over the defended layers."""
    masks: dict[str, np.ndarray] = {}
    for layer in defended_layers(defended.module):
        layer.mask_observer = lambda mask, name=layer.plan.name: masks.__setitem__(name, mask.numpy())
    with torch.no_grad():
        defended.module(pixels)
    design, ordinary = load_dual_module(), load_accelerator("vector_pe_edge")
    layers = {layer.name: layer for layer in traced.layers}
    energy: dict[str, float] = {}
    bounds: dict[str, int] = {}
    cycles = {"dual module": 0, "exact on vector_pe_edge": 0, "defended on vector_pe_edge": 0}
    plain = conventional = 0.0
    imbalance = []
    for row in defended.layers:
        mask = masks[row.name]
        kept = max(1, int(row.share * row.outputs + 0.5))
        work = dual_workload(
            layers[row.name],
            dimension=row.dimension,
            bits=4,
            selection=Selection("top_k", kept),
            outputs=recorded_outputs(layers[row.name], mask),
        )
        found = design.simulate(work)
        for part, value in found.energy_pJ.items():
            energy[part] = energy.get(part, 0.0) + value / 1e6
        bounds[found.bound_by] = bounds.get(found.bound_by, 0) + 1
        other = on_one_array(ordinary, work)
        cycles["dual module"] += found.latency_cycles
        cycles["exact on vector_pe_edge"] += other.cycles["executor"]
        cycles["defended on vector_pe_edge"] += other.latency_cycles
        plain += other.energy_pJ["executor"] / 1e6
        conventional += other.total_energy_pJ / 1e6
        imbalance.append(work_imbalance(mask, pe_rows=16, tiles=4))
    return {
        "dual_module_uJ": {part: round(value, 2) for part, value in energy.items()},
        "dual_module_total_uJ": round(sum(energy.values()), 2),
        "exact_on_vector_pe_edge_uJ": round(plain, 2),
        "defended_on_vector_pe_edge_uJ": round(conventional, 2),
        "cycles": cycles,
        "bound_by": bounds,
        "imbalance_mean": round(float(np.mean(imbalance)), 3),
    }


if __name__ == "__main__":
    main()
