"""Random crops and mirrored images of a batch, drawn from a given generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["augment"]


def augment(images: Tensor, *, crop_padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Zero-pad by ``crop_padding`` pixels, crop every image at its own random place, mirror half of them.

    Args:
        images: (n, channels, height, width), any dtype.
        crop_padding: 0 leaves the place as it is.
        flip: mirror left to right with probability 1/2.
        generator: source of all randomness, on the device of the images.

    Returns:
        A new tensor of the same shape and dtype, channels last in memory.
    """
    n, _, height, width = images.shape
    device = images.device
    top, left = torch.randint(0, 2 * crop_padding + 1, (2, n, 1), generator=generator, device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if flip:
        mirrored = torch.rand((n, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (crop_padding,) * 4)
    item = torch.arange(n, device=device)[:, None, None]
    # Indexing on both sides of a slice puts the indexed axes first: (n, height, width, channels).
    return padded[item, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
