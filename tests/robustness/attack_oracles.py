"""What the attack tests share."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.robustness.attacks import Attack
from codesign.robustness.streams import RandomStreams


def tensors(images: ImageSet, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images.images).to(dtype) / 255, torch.from_numpy(images.labels)


def robust(attack: Attack, model: nn.Module, images: ImageSet, seed: int = 0) -> torch.Tensor:
    """Which images stand, bool (n,); the perturbed images are in the ball and classified as the attack says."""
    pixels, labels = tensors(images)
    found = attack(model, pixels, labels, streams=RandomStreams.of(seed, len(pixels)))
    assert float((attack.norm.size(found.images - pixels)).max()) <= attack.eps + 1e-5
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    with torch.no_grad():
        assert torch.equal(model(found.images).argmax(1) != labels, found.success)
    return ~found.success


def share(stands: torch.Tensor) -> float:
    return float(stands.double().mean())


def published(name: str, model: nn.Module, images: ImageSet, norm: str, eps: float, budget: int) -> torch.Tensor:
    """Which images stand against pyautoattack's version of an attack, bool (n,)."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # type: ignore[import-untyped]
    from pyautoattack.fab_pt import FABAttack_PT  # type: ignore[import-untyped]
    from pyautoattack.square import SquareAttack  # type: ignore[import-untyped]

    model = deepcopy(model)  # it leaves gradients at the parameters
    common = {"norm": norm, "eps": eps, "seed": 0, "device": torch.device("cpu")}
    targets = len(images.class_names) - 1
    attacks = {
        "apgd-ce": lambda: APGDAttack(model, n_iter=budget, loss="ce", **common),
        "apgd-dlr": lambda: APGDAttack(model, n_iter=budget, loss="dlr", **common),
        "apgd-t": lambda: APGDAttack_targeted(model, n_iter=budget, n_target_classes=targets, **common),
        "fab-t": lambda: FABAttack_PT(model, n_iter=budget, targeted=True, n_target_classes=targets, **common),
        "square": lambda: SquareAttack(model, n_queries=budget, resc_schedule=False, **common),
    }
    pixels, labels = tensors(images)
    with torch.random.fork_rng(devices=[]):
        found = attacks[name]().perturb(pixels.clone(), labels.clone())
    size = (found - pixels).flatten(1)
    length = size.abs().amax(1) if norm == "Linf" else size.norm(dim=1)
    with torch.no_grad():
        clean, moved = (model(one).argmax(1) == labels for one in (pixels, found))
    stands: torch.Tensor = clean & (moved | (length > eps + 1e-5))
    return stands
