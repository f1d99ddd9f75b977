"""Accuracy of a network on images in memory, clean or under the training attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codesign.training.adversary import LinfPGD

__all__ = ["Accuracy", "measure_accuracy"]

# Images of one forward pass; the largest that is not slower than smaller ones on the CPUs that it was tried on.
_BATCH = 250


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Correctly classified images out of a number of images."""

    correct: int
    images: int

    @property
    def fraction(self) -> float:
        """Accuracy in 0 .. 1."""
        return self.correct / self.images

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        return {"correct": self.correct, "images": self.images, "accuracy": self.fraction}


def measure_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    attack: LinfPGD | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """How many images are classified correctly, in eval mode and float32. The model's mode is restored.

    Args:
        model: takes pixels in [0, 1].
        images: uint8 (n, channels, height, width).
        labels: int64 (n,).
        attack: attack every image first; needs ``generator``.
        generator: source of the attack's random starts.
        progress: called with (images done, n) after every batch.
    """
    if attack is not None and generator is None:
        raise ValueError("measure_accuracy: an attack needs a generator")
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    correct = 0
    for start in range(0, len(images), _BATCH):
        pixels = images[start : start + _BATCH].to(device).float() / 255
        target = labels[start : start + _BATCH].to(device)
        if attack is not None and generator is not None:
            pixels = attack.perturb(model, pixels, target, generator)
        with torch.no_grad():
            correct += int((model(pixels).argmax(1) == target).sum())
        if progress is not None:
            progress(min(start + _BATCH, len(images)), len(images))
    model.train(was_training)
    return Accuracy(correct, len(images))
