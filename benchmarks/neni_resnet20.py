"""Distillation of a defended ResNet-20: time, accuracy, agreement with the base, BitOPs.

``python benchmarks/neni_resnet20.py --checkpoint FILE --images TRAINING.npy --test TEST.npz [--share 0.2]
[--dimension K]``. Images are uint8 (n, channels, rows, columns); TEST has ``x`` (n, rows, columns, channels) and ``y``.
Prints JSON. What the network costs in silicon, ``codesign evaluate --defense`` says.
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

from codesign.defenses.neni import NeniSettings, defend
from codesign.models.loading import load_model
from codesign.models.tracing import trace


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
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
