"""A defended ResNet-20: accuracy, agreement with the base, BitOPs, and cost on the dual-module design, from real masks.

``python benchmarks/neni_resnet20.py --checkpoint FILE --images TRAINING.npy --test TEST.npz [--share 0.2]
[--dimension K]``. Images are uint8 (n, channels, rows, columns); TEST has ``x`` (n, rows, columns, channels) and ``y``.
Prints JSON. Energies and cycles are of the defended layers, one image, from the masks and zero inputs of the first test
images: the exact layers on an ordinary array (dense, and with zero inputs skipped), the defended ones there, and the
defended ones on the dual-module design.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter, process_time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import numpy.typing as npt
import torch

from codesign.defenses.neni import DefendedModel, NeniSettings, defend
from codesign.defenses.neni.wrapping import defended_layers
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.dual_baseline import on_one_array
from codesign.evaluation.dual_module import load_dual_module
from codesign.evaluation.image_costs import ImageCosts, Spread, image_costs, total_costs
from codesign.models.layers import TracedModel
from codesign.models.loading import load_model
from codesign.models.tracing import trace
from codesign.workloads.dual_module import (
    Selection,
    dual_workload,
    recorded_inputs,
    recorded_outputs,
    work_imbalance,
)
from codesign.workloads.lowering import problem

_MASKED = 64


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
    """Totals over the defended layers, of one image on average over ``pixels``; its spread on the dual module."""
    masks, inputs = recorded(defended, pixels)
    design, ordinary = load_dual_module(), load_accelerator("vector_pe_edge")
    layers = {layer.name: layer for layer in traced.layers}
    ways = ("exact, dense", "exact, zero inputs skipped", "defended, zero inputs skipped", "defended, dual module")
    energy_uJ, cycles = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    every: list[ImageCosts] = []
    imbalance = []
    for row in defended.layers:
        layer, mask = layers[row.name], masks[row.name]
        work = dual_workload(
            layer,
            dimension=row.dimension,
            bits=4,
            selection=Selection("top_k", max(1, int(row.share * row.outputs + 0.5))),
            outputs=recorded_outputs(layer, mask),
            input_density=recorded_inputs(layer, inputs[row.name]),
        )
        every.append(image_costs(design, work))
        sparse = on_one_array(ordinary, work)
        dense = on_one_array(ordinary, replace(work, exact=problem(layer)))
        found = {
            ways[0]: (dense.energy_pJ["executor"], dense.cycles["executor"]),
            ways[1]: (sparse.energy_pJ["executor"], sparse.cycles["executor"]),
            ways[2]: (sparse.total_energy_pJ, sparse.latency_cycles),
            ways[3]: (float(every[-1].energy_pJ.mean()), float(every[-1].latency_cycles.mean())),
        }
        for way, (energy_pJ, latency) in found.items():
            energy_uJ[way] += energy_pJ / 1e6
            cycles[way] += latency
        imbalance.append(work_imbalance(mask, pe_rows=16, tiles=4))
    total = total_costs("defended layers", every)
    return {
        "energy_uJ": {way: round(value, 2) for way, value in energy_uJ.items()},
        "cycles": {way: round(value) for way, value in cycles.items()},
        "dual_module_parts_uJ": {
            part: round(float(value.mean()) / 1e6, 2) for part, value in total.energy_by_part_pJ.items()
        },
        "dual_module_energy_uJ": asdict(Spread.of(total.energy_pJ / 1e6)),
        "dual_module_cycles": asdict(Spread.of(total.latency_cycles)),
        "dual_module_executed_macs_share": asdict(Spread.of(total.executed_macs / total.exact_macs)),
        "bound_by": dict(total.bound_by),
        "imbalance_mean": round(float(np.mean(imbalance)), 3),
    }


def recorded(
    defended: DefendedModel, pixels: torch.Tensor
) -> tuple[dict[str, npt.NDArray[np.bool_]], dict[str, npt.NDArray[np.bool_]]]:
    """Essential neurons and nonzero inputs of every defended layer."""
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    inputs: dict[str, npt.NDArray[np.bool_]] = {}
    for layer in defended_layers(defended.module):
        layer.mask_observer = lambda mask, name=layer.plan.name: masks.__setitem__(name, mask.numpy())
        layer.observer = lambda own, x, _: inputs.__setitem__(own.plan.name, (x != 0).numpy())
    with torch.no_grad():
        defended.module(pixels)
    return masks, inputs


if __name__ == "__main__":
    main()
