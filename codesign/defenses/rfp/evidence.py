"""What a criterion may look at: the network, its prunable layers, training images, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError

__all__ = ["Evidence", "Labelled", "Scores", "observed_outputs", "watched"]

Scores = dict[str, Tensor]
"""Name of a layer -> float64 scores, one a filter or one a weight. The highest are removed first."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images uint8 (n, c, h, w) and their labels int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Everything a criterion is given.

    Args:
        module: logits (n, classes) from pixels in [0, 1]; in eval mode.
        layers: name -> the convolutions (for weights also linear layers) to be judged.
        norms: name of a layer -> the batch norm directly behind it, where there is one.
        natural: training images.
        robust: images of the robust dataset, if one was given.
        batch_size: images of one pass.
        generator: source of all randomness.
        progress: called with (images done, images in total).
    """

    module: nn.Module
    layers: Mapping[str, nn.Conv2d | nn.Linear]
    norms: Mapping[str, nn.BatchNorm2d]
    natural: Labelled
    robust: Labelled | None
    batch_size: int
    generator: torch.Generator
    progress: Callable[[int, int], None] = lambda _done, _total: None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def batches(self, data: Labelled) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels in [0, 1] and labels, batch by batch, on the network's device."""
        for start in range(0, len(data), self.batch_size):
            stop = min(start + self.batch_size, len(data))
            pixels = data.images[start:stop].to(self.device).float() / 255
            yield pixels, data.labels[start:stop].to(self.device)
            self.progress(stop, len(data))

    def robust_images(self, criterion: str) -> Labelled:
        """The robust dataset's images. Raises InputError if none were given."""
        if self.robust is None:
            raise InputError(
                f"the criterion {criterion} compares with the robust dataset",
                got="none",
                key="--robust-data",
                fix="make one with codesign make-robust-dataset and name its folder",
            )
        return self.robust


@contextmanager
def watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """While the context lasts, every output of every layer is appended to the list under its name.

    What goes on through the network is a copy, so that an in-place activation does not overwrite what was seen.
    """
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen[name].append(output)
            return output.clone()

        return hook

    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def observed_outputs(evidence: Evidence, data: Labelled) -> Iterator[tuple[Tensor, dict[str, list[Tensor]]]]:
    """Cross entropy summed over a batch, with its graph, and the outputs of all layers; batch by batch."""
    with watched(evidence.layers) as seen:
        for pixels, labels in evidence.batches(data):
            for outputs in seen.values():
                outputs.clear()
            loss = F.cross_entropy(evidence.module(pixels), labels, reduction="sum")
            missing = [name for name, outputs in seen.items() if not outputs]
            if missing:
                raise InputError("every prunable layer must run in a forward pass", got=", ".join(missing), key="model")
            yield loss, seen
