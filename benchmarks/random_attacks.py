"""Attacks of this project and of the known libraries on a random model: the true accuracy that each leaves.

    python benchmarks/random_attacks.py --factory NAME --model PATH --images PATH [--count 100] [--eps 4] [--noise 0.08]

The model is the given one with Gaussian noise added to its pixels at each call. Each attack gets 100 steps of 20 draws
where it has such parameters, else its library's own; what it made is judged by the mean over 50 fresh draws, the same
for all. Libraries that are not installed are left out with a line that says so.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import process_time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import nn

from codesign.models.loading import load_model
from codesign.robustness.attacks import EOTPGD, Attack, AutoAttack
from codesign.robustness.streams import RandomStreams

Made = Callable[[], torch.Tensor]
STEPS, DRAWS, JUDGED = 100, 20, 50


class Noisy(nn.Module):
    """A model with Gaussian noise at its input."""

    def __init__(self, model: nn.Module, noise: float) -> None:
        super().__init__()
        self.model = model
        self.noise = noise

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images + self.noise * torch.randn_like(images))
        return logits


def ours(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Made]:
    def run(attack: Attack) -> Made:
        return lambda: attack(model, images, labels, streams=RandomStreams.of(0, len(images))).images

    return {
        "ours: EOT-PGD": run(EOTPGD(eps=eps, steps=STEPS, draws=DRAWS)),
        "ours: AutoAttack rand": run(AutoAttack(eps=eps, version="rand", draws=DRAWS)),
    }


def of_pyautoattack(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Made]:
    from pyautoattack import AutoAttack as Published  # type: ignore[import-untyped]

    def rand() -> torch.Tensor:
        attack: Any = Published(model, norm="Linf", eps=eps, seed=0, version="rand")
        found: torch.Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
        return found

    return {"rand": rand}


def of_torchattacks(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Made]:
    import torchattacks  # type: ignore[import-not-found]

    eot = torchattacks.EOTPGD(model, eps=eps, alpha=eps / 4, steps=STEPS, eot_iter=DRAWS)
    ce, dlr = (torchattacks.APGD(model, eps=eps, steps=STEPS, loss=loss, eot_iter=DRAWS) for loss in ("ce", "dlr"))
    rand = torchattacks.MultiAttack([ce, dlr])
    return {"EOT-PGD": lambda: eot(images, labels), "APGD-CE + DLR": lambda: rand(images, labels)}


def of_foolbox(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Made]:
    import foolbox  # type: ignore[import-not-found]

    plain = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    mean = foolbox.models.ExpectationOverTransformationWrapper(plain, n_steps=DRAWS)

    def run(size: float) -> Made:
        attack = foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=size)

        def call() -> torch.Tensor:
            found: torch.Tensor = attack(mean, images, labels, epsilons=eps)[1]
            return found

        return call

    return {"PGD, mean logits": run(0.01 / 0.3), "PGD, mean logits, eps / 4": run(0.25)}


def of_art(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> dict[str, Made]:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch  # type: ignore[import-not-found]
    from art.estimators.classification import PyTorchClassifier  # type: ignore[import-not-found]

    shape = tuple(images.shape[1:])
    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), shape, int(labels.max()) + 1, clip_values=(0, 1), device_type="cpu"
    )

    def run() -> torch.Tensor:
        attack = ProjectedGradientDescentPyTorch(
            wrapped,
            eps=eps,
            eps_step=eps / 10,
            max_iter=STEPS,
            num_random_init=2,
            batch_size=len(images),
            verbose=False,
        )
        return torch.from_numpy(attack.generate(images.numpy(), labels.numpy()))

    return {"PGD": run}


LIBRARIES = {
    "pyautoattack": of_pyautoattack,
    "torchattacks": of_torchattacks,
    "foolbox": of_foolbox,
    "adversarial-robustness-toolbox": of_art,
}


def true_accuracy(model: nn.Module, moved: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean over fresh draws, the same ones for every attack."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(12345)
        right = [(model(moved).argmax(1) == labels).double().mean() for _ in range(JUDGED)]
    return float(torch.stack(right).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--factory", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--eps", type=float, default=4.0, help="in units of 1/255")
    parser.add_argument("--noise", type=float, default=0.08)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of names, such as ours or torchattacks")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    inner = load_model(chosen.factory, checkpoint=chosen.model, num_classes=10, input_shape=(3, 32, 32)).module
    model, eps = Noisy(inner, chosen.noise).eval(), chosen.eps / 255
    with np.load(chosen.images) as arrays:
        images = torch.from_numpy(np.ascontiguousarray(arrays["x"][: chosen.count].transpose(0, 3, 1, 2))).float() / 255
        labels = torch.from_numpy(arrays["y"][: chosen.count].astype(np.int64))
    sys.stdout.write(f"{'clean':60s} {true_accuracy(model, images, labels):7.2%}\n")
    attacks = ours(model, images, labels, eps)
    for name, make in LIBRARIES.items():
        try:
            attacks |= {
                f"{name} {version(name)}: {kind}": run for kind, run in make(model, images, labels, eps).items()
            }
        except ImportError as error:
            sys.stdout.write(f"{name}: left out ({error})\n")
    for name, run in attacks.items():
        if not name.startswith(tuple(chosen.only)):
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            begin = process_time()
            moved = run().detach()
        excess = float((moved - images).abs().max()) - eps
        note = f"   {excess:g} beyond eps" if excess > 1e-5 else ""
        seconds = process_time() - begin
        sys.stdout.write(f"{name:60s} {true_accuracy(model, moved, labels):7.2%} {seconds:8.1f} s{note}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
