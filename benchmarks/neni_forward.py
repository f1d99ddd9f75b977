"""Forward pass of a defended ResNet-20 against (plain pass + approximate products alone), batch 128.

``python benchmarks/neni_forward.py [--threads 2] [--dimension K] [--checkpoint FILE]``. The approximate products alone
are the two linear maps P x and W~ (P x) of every defended layer, on the inputs that the layer really gets, without
rounding, selection or putting the output together. The three run in turn several times; ratios are of one turn each, by
wall time and by processor time of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch; its spinning threads collapse on a busy machine

import torch
from torch import Tensor

from codesign.defenses.neni import NeniSettings, defend
from codesign.defenses.neni.layers import DefendedLayer
from codesign.defenses.neni.wrapping import defended_layers
from codesign.models.loading import load_model
from codesign.models.tracing import trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dimension", type=int, default=None, help="k; the Johnson-Lindenstrauss rule where absent")
    parser.add_argument("--precision", default="int4")
    parser.add_argument("--selection", default="top_k")
    parser.add_argument("--checkpoint", type=Path, default=None, help="random weights where absent")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint = arguments.checkpoint or "random:0"
    loaded = load_model("resnet20", checkpoint=checkpoint)
    images = torch.rand(arguments.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = NeniSettings(
        dimension=arguments.dimension, precision=arguments.precision, selection=arguments.selection, batch_size=64
    )
    generator = torch.Generator().manual_seed(0)
    defended = defend(loaded.module, trace(loaded.module, (3, 32, 32)), images, settings, generator).module
    inputs = layer_inputs(defended, images)

    def products() -> None:
        for layer, x in inputs:
            step = layer.chunk(x)
            for part in torch.split(x, step):
                layer.mixed(layer.projected(part), layer.approximation)

    timed: dict[str, Callable[[], object]] = {
        "plain": lambda: loaded.module(images),
        "products": products,
        "defended": lambda: defended(images),
    }
    walls: dict[str, list[float]] = {name: [] for name in timed}
    used: dict[str, list[float]] = {name: [] for name in timed}
    with torch.no_grad():
        for work in timed.values():  # compiles, and fills caches
            work()
        for _ in range(arguments.repeats):
            for name, work in timed.items():
                begin, spent = perf_counter(), process_time()
                work()
                walls[name].append(perf_counter() - begin)
                used[name].append(process_time() - spent)
    report: dict[str, object] = {f"{name}_ms": round(min(value) * 1e3, 1) for name, value in walls.items()}
    for kind, seconds in (("wall", walls), ("cpu", used)):
        ratios = [d / (a + b) for a, b, d in zip(*(seconds[name] for name in timed), strict=True)]
        report[f"{kind}_ratio"] = {"median": round(median(ratios), 2), "least": round(min(ratios), 2)}
    sys.stdout.write(json.dumps(report) + "\n")


def layer_inputs(module: torch.nn.Module, images: Tensor) -> list[tuple[DefendedLayer, Tensor]]:
    """Every defended layer with the input that it gets."""
    found: list[tuple[DefendedLayer, Tensor]] = []
    layers = defended_layers(module)
    for layer in layers:
        layer.observer = lambda own, x, _: found.append((own, x.clone()))
    with torch.no_grad():
        module(images)
    for layer in layers:
        layer.observer = None
    return found


if __name__ == "__main__":
    main()
