"""The training loop: natural or PGD-adversarial, every random draw from a seed, resumable after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.normalization import Normalized
from codesign.models.zoo import ZooEntry
from codesign.training.adversary import LinfPGD
from codesign.training.augmentation import augment
from codesign.training.config import TrainingConfig
from codesign.training.measure import Accuracy, measure_accuracy

__all__ = ["EpochReport", "Progress", "Schedule", "Trainer", "generator_for", "initialized", "learning_rate"]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What an epoch (counted from 0) did.

    The training figures are of the images as trained on: augmented, and attacked if adversarial.
    """

    epoch: int
    loss: float
    training: Accuracy
    validation_clean: Accuracy
    validation_adversarial: Accuracy | None
    seconds: float

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        adversarial = self.validation_adversarial
        return {
            "epoch": self.epoch,
            "loss": self.loss,
            "training": self.training.record(),
            "validation_clean": self.validation_clean.record(),
            "validation_adversarial": None if adversarial is None else adversarial.record(),
            "seconds": self.seconds,
        }


# Called with (what is being done, units done, units in total) many times an epoch.
Progress = Callable[[str, int, int], None]

# Learning rate from (config, optimizer step, steps in total).
Schedule = Callable[[TrainingConfig, int, int], float]

_INIT = 0


def generator_for(seed: int, purpose: int, epoch: int = 0) -> torch.Generator:
    """A CPU generator of its own for every purpose and epoch, so that nothing depends on what was drawn before."""
    state = int(np.random.SeedSequence([seed, purpose, epoch]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Learning rate of optimizer step ``step`` (0-based) of ``steps``: linear warm-up to the peak, half cosine to 0."""
    warmup = config.warmup_fraction * steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


class Trainer:
    """A network, its optimizer and the best weights so far. One ``run_epoch`` after the other.

    In adversarial training the attack sees the network in eval mode (the fixed function that is deployed: running
    statistics, no update of them by attack iterates); the update that follows is in train mode, so that batch norm
    normalises with, and its running statistics follow, adversarial batches only.

    Args:
        config: the run.
        model: logits from pixels in [0, 1], in front of them ``Normalized`` or nothing; it is trained in place.
        images, labels: the training split: uint8 (n, c, h, w) and int64 (n,). A seeded part of them is held out.
        device: where to train.
        schedule: the learning rate of every step.
    """

    _SPLIT, _TRAIN, _VALIDATE = range(1, 4)

    def __init__(
        self,
        config: TrainingConfig,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        device: torch.device,
        *,
        schedule: Schedule = learning_rate,
    ) -> None:
        self.config = config
        self.device = device
        self.schedule = schedule
        self.attack = LinfPGD(config.eps, config.attack_step_size, config.steps)
        # PyTorch's stubs lack the overload of nn.Module.to for memory formats.
        self.model: nn.Module = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
        held_out = config.validation_images
        if len(images) - held_out < config.batch_size:
            raise InputError(
                "the training split must hold the validation images and at least one batch",
                got=f"{len(images)} images, validation_images {held_out}, batch_size {config.batch_size}",
                key="--batch-size",
                fix="lower validation_images or batch_size",
            )
        order = torch.randperm(len(images), generator=generator_for(config.seed, self._SPLIT))
        self.training = (images[order[held_out:]], labels[order[held_out:]])
        self.validation = (images[order[:held_out]], labels[order[:held_out]])
        self.epoch = 0
        self.best_epoch = -1
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []

    @property
    def network(self) -> nn.Module:
        """The network without its normalisation: what a checkpoint holds."""
        return self.model.network if isinstance(self.model, Normalized) else self.model

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return len(self.training[0]) // self.config.batch_size

    def run_epoch(self, progress: Progress) -> EpochReport:
        """Train for one epoch, validate, and keep the weights if they are the best so far (a tie goes to the later)."""
        begin = time.perf_counter()
        loss, training = self._train_epoch(progress)
        clean, adversarial = self._validate(progress)
        report = EpochReport(self.epoch, loss, training, clean, adversarial, time.perf_counter() - begin)
        self.history.append(report.record())
        selection = "validation_clean" if adversarial is None else "validation_adversarial"
        scores = [past[selection]["correct"] for past in self.history]
        if scores[-1] == max(scores):
            self.best_epoch = self.epoch
            self.best_weights = {key: value.detach().cpu().clone() for key, value in self._weights().items()}
        self.epoch += 1
        return report

    def _train_epoch(self, progress: Progress) -> tuple[float, Accuracy]:
        config = self.config
        generator = generator_for(config.seed, self._TRAIN, self.epoch)
        images, labels = self.training
        order = torch.randperm(len(images), generator=generator)
        steps = self.steps_per_epoch
        total_loss, correct = 0.0, 0
        for step in range(steps):
            batch = order[step * config.batch_size : (step + 1) * config.batch_size]
            pixels = augment(images[batch], crop_padding=config.crop_padding, flip=config.flip, generator=generator)
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule(config, self.epoch * steps + step, config.epochs * steps)
            loss, hits = self._step(pixels.to(self.device).float() / 255, labels[batch].to(self.device), generator)
            total_loss += loss
            correct += hits
            progress("train", step + 1, steps)
        return total_loss / steps, Accuracy(correct, steps * config.batch_size)

    def _step(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[float, int]:
        if self.config.method == "adversarial":
            self.model.eval()
            pixels = self.attack.perturb(self._forward, pixels, labels, generator)
        self.model.train()
        logits = self._forward(pixels).float()
        loss = F.cross_entropy(logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(
                "the training loss must stay finite",
                got=f"{value} in epoch {self.epoch}",
                key="--lr",
                fix="lower the learning rate",
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value, int((logits.argmax(1) == labels).sum())

    def _forward(self, pixels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits: Tensor = self.model(pixels)
            return logits

    def _validate(self, progress: Progress) -> tuple[Accuracy, Accuracy | None]:
        clean = measure_accuracy(self.model, *self.validation)
        if self.config.method == "natural":
            return clean, None
        generator = generator_for(self.config.seed, self._VALIDATE)
        adversarial = measure_accuracy(
            self.model,
            *self.validation,
            attack=self.attack,
            generator=generator,
            progress=lambda done, total: progress("validate", done, total),
        )
        return clean, adversarial

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = self.network.state_dict()
        return weights

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on. Generators are made anew every epoch and need no saving."""
        return {
            "epoch": self.epoch,
            "network": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best_weights, self.history = state["best_weights"], list(state["history"])


def initialized(entry: ZooEntry, num_classes: int, seed: int) -> Normalized:
    """A zoo network with weights that a run's seed decides; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator_for(seed, _INIT).get_state())
        return entry.build(num_classes)
