"""Attacks of this project beside plain loops and pyautoattack, in one run: seconds, robust accuracy and the ratio.

    python benchmarks/attacks.py --factory NAME --model PATH --images PATH [--count 200] [--eps 2 8] [--repeat 3]

PATH of the images is an npz file with x, uint8 (n, h, w, c), and y; PATH of the model a checkpoint for ``--factory``,
as ``codesign evaluate`` takes them. Measurements alternate between the two sides; processor seconds are counted, and of
each side the fewest, since other work on the machine only ever adds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import nn

from codesign.models.loading import load_model
from codesign.robustness.attacks import APGD, PGD, Attack, AutoAttack, Square, TargetedAPGD, TargetedFAB
from codesign.robustness.streams import RandomStreams

Outcome = Callable[[], torch.Tensor]


def plain_pgd(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float, steps: int, size: float
) -> torch.Tensor:
    """PGD as the known libraries write it: every image, every step, success at the end."""
    with torch.random.fork_rng(devices=[]):
        moved = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        moved = moved.detach().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(moved), labels)
        (slope,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + size * slope.sign()
        moved = torch.min(torch.max(moved, images - eps), images + eps).clamp(0, 1)
    return moved.detach()


def ours(attack: Attack, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Outcome:
    return lambda: attack(model, images, labels, streams=RandomStreams.of(0, len(images))).images


def published(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Outcome]:
    """The same attacks from pyautoattack, at the settings of AutoAttack's standard version."""
    from pyautoattack import AutoAttack as Published  # type: ignore[import-untyped]

    def run(name: str | None) -> Outcome:
        def call() -> torch.Tensor:
            attack: Any = Published(model, norm="Linf", eps=eps, seed=0, version="standard")
            if name is not None:
                attack.attacks_to_run = [name]
            with torch.random.fork_rng(devices=[]):
                found: torch.Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
            return found

        return call

    names = {"APGD-CE": "apgd-ce", "APGD-T": "apgd-t", "FAB-T": "fab-t", "Square": "square", "AutoAttack": None}
    return {shown: run(name) for shown, name in names.items()}


def accuracy(model: nn.Module, moved: torch.Tensor, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that the model has right as they are and perturbed."""
    with torch.no_grad():
        right = (model(images).argmax(1) == labels) & (model(moved).argmax(1) == labels)
    return float(right.double().mean())


def compare(name: str, first: Outcome, second: Outcome, scored: Callable[[torch.Tensor], float], repeat: int) -> None:
    """Print processor seconds and accuracies of both sides, their shortest times, and the ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    scores = [0.0, 0.0]
    for _ in range(repeat):
        for side, call in enumerate((first, second)):
            begin = process_time()
            moved = call()
            times[side].append(process_time() - begin)
            scores[side] = scored(moved)
    mine, other = min(times[0]), min(times[1])
    sides = f"ours {mine:8.2f} s {scores[0]:7.2%}   other {other:8.2f} s {scores[1]:7.2%}"
    sys.stdout.write(f"{name:12s} {sides}   x{other / mine:.2f}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--factory", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--eps", type=float, nargs="+", default=[8.0], help="in units of 1/255")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(chosen.factory, checkpoint=chosen.model, num_classes=10, input_shape=(3, 32, 32)).module.eval()
    with np.load(chosen.images) as arrays:
        images = torch.from_numpy(np.ascontiguousarray(arrays["x"][: chosen.count].transpose(0, 3, 1, 2))).float() / 255
        labels = torch.from_numpy(arrays["y"][: chosen.count].astype(np.int64))
    for steps in chosen.eps:
        eps = steps / 255
        sys.stdout.write(f"eps {steps:g}/255, {chosen.count} images\n")
        pgd = PGD(eps=eps)
        assert pgd.step_size is not None
        size = pgd.step_size
        pairs: dict[str, tuple[Attack, Outcome]] = {
            "PGD-20": (pgd, lambda eps=eps, size=size: plain_pgd(model, images, labels, eps, 20, size))  # type: ignore[misc]
        }
        other = published(model, images, labels, eps)
        standard: dict[str, Attack] = {
            "APGD-CE": APGD(eps=eps),
            "APGD-T": TargetedAPGD(eps=eps),
            "Square": Square(eps=eps),
            "FAB-T": TargetedFAB(eps=eps),
            "AutoAttack": AutoAttack(eps=eps),
        }
        pairs |= {name: (attack, other[name]) for name, attack in standard.items()}
        for name, (attack, second) in pairs.items():
            if chosen.only is None or name in chosen.only:
                first = ours(attack, model, images, labels)
                compare(name, first, second, lambda moved: accuracy(model, moved, images, labels), chosen.repeat)


if __name__ == "__main__":
    main()
