"""Training a pruned network on: on the robust dataset, on natural images, or adversarially."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from codesign.config import Pixels
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.training.config import Method, TrainingConfig
from codesign.training.loop import EpochReport, Progress, Trainer
from codesign.training.state import load_state, save_state

__all__ = ["FinetunedNetwork", "FinetuningConfig", "finetune", "finetuning_rate"]


class FinetuningConfig(TrainingConfig):
    """A training run that begins at given weights.

    ``model`` and ``data`` only name them for the record. The learning rate falls as a half cosine from ``lr`` to
    ``final_lr``.
    """

    method: Method = Field("natural", description="natural or adversarial (PGD, Madry et al. 2018)")
    eps: Pixels = Field(8 / 255, ge=0, le=1, description="L-infinity radius of adversarial training")
    epochs: int = Field(20, ge=1, description="passes over the images")
    batch_size: int = Field(128, ge=1, description="images of an optimizer step; an incomplete last batch is left out")
    lr: float = Field(0.01, gt=0, description="learning rate at the beginning")
    final_lr: float = Field(0.001, ge=0, description="learning rate at the end")
    warmup_fraction: float = Field(0.0, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    validation_images: int = Field(500, ge=1, description="images held out to select the best epoch")


@dataclass(frozen=True, eq=False)
class FinetunedNetwork:
    """The network with the weights of the best epoch, in eval mode, and what every epoch did."""

    module: nn.Module
    selected_epoch: int
    history: tuple[dict[str, Any], ...]


def finetuning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Learning rate of optimizer step ``step`` (0-based) of ``steps``: warm-up, then half a cosine to ``final_lr``."""
    assert isinstance(config, FinetuningConfig)
    warmup = config.warmup_fraction * steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    return config.final_lr + (config.lr - config.final_lr) * share


def finetune(
    module: nn.Module,
    images: ImageSet,
    config: FinetuningConfig,
    state_folder: Path,
    *,
    masks: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
    progress: Progress = lambda _stage, _done, _total: None,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
) -> FinetunedNetwork:
    """Train a copy of a network.

    Args:
        module: logits from pixels in [0, 1].
        images: to train on; a seeded part is held out and selects the best epoch (under attack where the method is
            adversarial).
        config: how.
        state_folder: after every epoch the state is written there; a run that finds it goes on from it.
        masks: name of a parameter -> bool, False where a weight is 0 and stays 0.
        device: torch device.
        progress, on_epoch: as for ``codesign.training.run.train``.

    Raises:
        InputError: too few images, a loss that is not finite, a state of another run.
    """
    if config.final_lr > config.lr:
        raise InputError("final_lr must not be above lr", got=f"{config.final_lr} > {config.lr}", key="--final-lr")
    pixels, labels = torch.from_numpy(images.images.copy()), torch.from_numpy(images.labels)
    # Parameters of a loaded network may be frozen; those of a copy are made to learn.
    copied = deepcopy(module).requires_grad_(True)
    trainer = Trainer(config, copied, pixels, labels, torch.device(device), schedule=finetuning_rate)
    for name, mask in (masks or {}).items():
        _keep_zeros(trainer.model.get_parameter(name), mask)
    state = load_state(state_folder, config)
    if state is not None:
        trainer.restore(state)
    while trainer.epoch < config.epochs:
        on_epoch(trainer.run_epoch(progress))
        save_state(state_folder, trainer.state(), config)
    trainer.network.load_state_dict(trainer.best_weights)
    return FinetunedNetwork(trainer.model.eval(), trainer.best_epoch, tuple(trainer.history))


def _keep_zeros(parameter: nn.Parameter, mask: Tensor) -> None:
    """A weight of 0 with a gradient of 0 stays 0: weight decay and momentum are 0 with them."""
    factor = mask.to(parameter.device, parameter.dtype)
    parameter.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
