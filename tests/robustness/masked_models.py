"""Small defended models that hide their gradients, and that offer the ways around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn


class Stepped(nn.Module):
    """Rounds values to steps of 1 / 15 of a range (INT4), with no gradient unless asked for a straight-through one."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.step = low, (high - low) / 15
        self.mode = "as_coded"

    @property
    def gradient_modes(self) -> tuple[str, ...]:
        return ("straight_through", "jittered_thresholds")

    @contextmanager
    def gradient_mode(self, mode: str) -> Iterator[None]:
        former, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = former

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = ((x - self.low) / self.step).clamp(0, 15)
        if self.mode == "jittered_thresholds":
            places = places + torch.rand_like(places) - 0.5
        rounded = places.round()
        if self.mode != "as_coded":
            rounded = places + (rounded - places).detach()
        return self.low + self.step * rounded


class WinnersTakeAll(nn.Module):
    """Keeps the largest share of the activations of each image (k-WTA) and offers a soft mask and the bare layer."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.mode = "as_coded"

    @property
    def gradient_modes(self) -> tuple[str, ...]:
        return ("soft_mask", "bpda_exact")

    @contextmanager
    def gradient_mode(self, mode: str) -> Iterator[None]:
        former, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = former

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(1)
        count = max(int(self.share * flat.shape[1]), 1)
        threshold = flat.topk(count, dim=1).values[:, -1:]
        if self.mode == "bpda_exact":
            return torch.relu(x)
        if self.mode == "soft_mask":
            return (flat * torch.sigmoid((flat - threshold) / 0.1)).reshape(x.shape)
        return (flat * (flat >= threshold)).reshape(x.shape)


def rounded(network: nn.Sequential) -> nn.Sequential:
    """The trained network with its pixels rounded to INT4, without a straight-through gradient."""
    return nn.Sequential(Stepped(0.0, 1.0), deepcopy(network)).eval()
