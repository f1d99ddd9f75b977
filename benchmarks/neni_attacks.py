"""Which way of differentiating a defended network breaks how many images, beside the controls at equal settings.

``python benchmarks/neni_attacks.py --checkpoint FILE --training TRAINING.npy --test TEST.npz --out RESULTS.jsonl
[--images 200] [--dimension K] [--controls neni,exact] [--eps 2,8] [--modes as_coded]``. CIFAR-10 and its ResNet-20,
fitted to the first 1,000 of TRAINING.npy (uint8 (n, channels, rows, columns)); TEST.npz has ``x`` (n, rows, columns,
channels) and ``y``.

Every row of RESULTS.jsonl is one network, radius and mode; rows that are there are not run again. PGD-20 (Linf, one
random start) in each mode, and images made on the undefended network. Networks that draw at random are attacked on the
mean of 3 draws. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from time import process_time
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from codesign.data.images import ImageSet
from codesign.defenses.neni import GRADIENT_MODES, DefendedModel, NeniSettings, defend
from codesign.defenses.neni.settings import Control
from codesign.models.loading import LoadedModel, load_model
from codesign.models.tracing import trace
from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.eot import EOTPGD
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.transfer import SourceModel, Transfer
from codesign.robustness.protocol import evaluate_robustness

_TRANSFER, _STEPS, _DRAWS = "transfer from the base", 20, 3


def main() -> None:
    """Run what is missing and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--dimension", type=int, default=None)
    parser.add_argument("--controls", default=",".join(get_args(Control)))
    parser.add_argument("--eps", default="2,8", help="in 255ths")
    parser.add_argument("--modes", default=None, help="only these of a network's gradient modes; all where absent")
    arguments = parser.parse_args()
    test = np.load(arguments.test)
    pixels = np.ascontiguousarray(test["x"][: arguments.images].transpose(0, 3, 1, 2))
    labels = test["y"][: arguments.images].astype(np.int64)
    images = ImageSet("cifar10 test", pixels, labels, tuple(str(number) for number in range(10)))
    base = load_model("resnet20", checkpoint=arguments.checkpoint)
    calibration = torch.from_numpy(np.load(arguments.training)[:1000].copy())
    done = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    for control in arguments.controls.split(","):
        settings = NeniSettings(share=arguments.share, dimension=arguments.dimension, control=control)
        common = {"control": control, "images": arguments.images, "settings": settings.record()}
        network: DefendedModel | None = None
        for eps in arguments.eps.split(","):
            offered = ("as_coded", *_modes(control))
            wanted = offered if arguments.modes is None else arguments.modes.split(",")
            for mode in (*(mode for mode in offered if mode in wanted), _TRANSFER):
                key = common | {"eps_255": float(eps), "mode": mode}
                if any(key.items() <= row.items() for row in done):
                    continue
                if network is None:
                    traced = trace(base.module, base.input_shape)
                    generator = torch.Generator().manual_seed(0)
                    network = defend(base.module, traced, calibration, settings, generator)
                done.append(key | _attacked(network, base, images, float(eps) / 255, mode))
                with arguments.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
    sys.stdout.write(_table(done))


def _modes(control: str) -> tuple[str, ...]:
    """Beside as_coded: those that a layer of this control offers."""
    if control in ("exact", "uniform", "quantized"):
        return ()
    return ("straight_through",) if control == "approximation" else GRADIENT_MODES[1:]


def _attacked(network: DefendedModel, base: LoadedModel, images: ImageSet, eps: float, mode: str) -> dict[str, Any]:
    begin = process_time()
    attack: Attack
    if mode == _TRANSFER:
        # One draw, and no early stop: images that only just fool the base would hardly reach the defended network.
        inner = EOTPGD(eps=eps, steps=_STEPS, draws=1)
        attack = Transfer(eps=eps, attack=inner, sources=(SourceModel("resnet20", base.module),))
    else:
        attack = EOTPGD(eps=eps, steps=_STEPS, draws=_DRAWS) if network.randomised else PGD(eps=eps, steps=_STEPS)
    held = nullcontext() if mode == _TRANSFER else network.gradient_mode(mode)  # type: ignore[arg-type]
    with held, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = evaluate_robustness(network.module, images, (attack,), batch_size=100, seed=0, sanity_images=0)
    return {
        "clean": result.clean.to_json(),
        "robust_correct": [int(value) for value in result.robust_correct],
        "cpu_s": round(process_time() - begin, 1),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Accuracies by network, radius and mode, and the pointwise worst of all modes."""
    lines = []
    for control, eps in dict.fromkeys((row["control"], row["eps_255"]) for row in rows):
        own = [row for row in rows if (row["control"], row["eps_255"]) == (control, eps)]
        standing = np.array([row["robust_correct"] for row in own])
        each = ", ".join(f"{row['mode']} {bits.mean():.1%}" for row, bits in zip(own, standing, strict=True))
        lines.append(
            f"{control}, eps {eps:g}/255: clean {own[0]['clean']['value']:.1%}; {each}; "
            f"worst of all {standing.min(axis=0).mean():.1%}\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    main()
