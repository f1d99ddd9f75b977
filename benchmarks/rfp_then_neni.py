"""Both methods on one network: filters pruned, then noise injected, each beside the other alone.

    python benchmarks/rfp_then_neni.py ORIGINAL PRUNED --data fashion_mnist --threat linf:0.1 [--images 200]

ORIGINAL and PRUNED are what --model takes: a zoo name, or the network.json of a codesign prune run. Robust accuracy is
the pointwise worst over PGD with the gradient as coded and with the four stand-in gradients that the method's rounding
and selection call for; on a network without injected noise they are all the same. Writes JSON to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.neni import GRADIENT_MODES, DefendedModel, NeniSettings, defend
from codesign.defenses.rfp.threats import Threat, parse_threat
from codesign.models.loading import LoadedModel, load_model
from codesign.models.tracing import trace
from codesign.robustness.protocol import evaluate_robustness


def robust(module: torch.nn.Module, defended: DefendedModel | None, images: ImageSet, threat: Threat) -> dict[str, Any]:
    """Clean and pointwise worst accuracy over the gradient modes."""
    clean, standing, by_mode = None, np.ones(len(images), bool), {}
    for mode in GRADIENT_MODES if defended is not None else ("as_coded",):
        context = nullcontext() if defended is None else defended.gradient_mode(mode)
        with context:
            result = evaluate_robustness(
                module, images, threat.attacks(20, autoattack=False), batch_size=100, seed=0, sanity_images=0
            )
        clean = result.clean.to_json()
        standing &= result.robust_correct
        by_mode[mode] = float(result.robust_correct.mean())
    return {"clean": clean, "robust": float(standing.mean()), "by_gradient_mode": by_mode}


def with_noise(loaded: LoadedModel, training: ImageSet, share: float) -> DefendedModel:
    """The network with noise injected into its non-essential neurons."""
    traced = trace(loaded.module, loaded.input_shape)
    calibration = torch.from_numpy(training.images[:500].copy())
    return defend(loaded.module, traced, calibration, NeniSettings(share=share), torch.Generator().manual_seed(0))


def main() -> None:
    """Measure the four networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original")
    parser.add_argument("pruned")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--threat", type=parse_threat, action="append", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.5, help="essential share of the neurons")
    given = parser.parse_args()
    training = load_dataset(given.data, data_dir=given.data_dir, split="train")
    images = sample(load_dataset(given.data, data_dir=given.data_dir, split="test"), given.images)
    found: dict[str, Any] = {}
    for name, model in (("original", given.original), ("RFP", given.pruned)):
        loaded = load_model(model)
        defended = with_noise(loaded, training, given.share)
        for title, module, noise in ((name, loaded.module, None), (f"{name} + NENI", defended.module, defended)):
            bitops = None if noise is None else sum(layer.bitops.defended for layer in noise.layers)
            found[title] = {
                "macs": trace(loaded.module, loaded.input_shape).macs,
                "bitops_of_defended_layers": bitops,
                "threats": {f"{t.norm} {t.eps:.4g}": robust(module, noise, images, t) for t in given.threat},
            }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
