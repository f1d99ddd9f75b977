"""Input normalisation as a part of the model: every model of this package takes pixels in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Normalization", "Normalized"]


@dataclass(frozen=True, slots=True)
class Normalization:
    """Per-channel mean and standard deviation of pixels in [0, 1].

    Args:
        mean, std: one value a channel, in units of full scale (pixel 255 is 1.0).
        source: which data the figures were measured on, or which publication states them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str = "given by the user"

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(
                f"Normalization: mean and std must have one value a channel each "
                f"(got {len(self.mean)} and {len(self.std)})"
            )
        if not all(value > 0 for value in self.std):
            raise ValueError(f"Normalization: every std must be positive (got {self.std})")

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        return {"mean": list(self.mean), "std": list(self.std), "source": self.source}


class Normalized(nn.Module):
    """``network((pixels - mean) / std)``: pixels in [0, 1] of shape (n, channels, height, width) to logits.

    Mean and std are no entries of the state_dict: a checkpoint of the network loads into ``normalized.network`` with
    its keys as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.network = network
        self.normalization = normalization
        shape = (1, len(normalization.mean), 1, 1)
        self.register_buffer("mean", torch.tensor(normalization.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(normalization.std).reshape(shape), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits
