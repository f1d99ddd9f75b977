"""The moves of the square attack in each norm: stripes or tiles to begin with, then one square at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from codesign.robustness.attacks.norms import L2
from codesign.robustness.streams import RandomStreams

__all__ = ["L2Moves", "LinfMoves", "Moves"]


class Moves(Protocol):
    """How images are changed; every random number comes from the image's own stream."""

    least_side: ClassVar[int]

    def numbers(self, images: torch.Tensor) -> int:
        """Uniform numbers that one proposal takes for each image (n, c, h, w)."""
        ...

    def start(self, images: torch.Tensor, streams: RandomStreams, restart: int) -> torch.Tensor:
        """The first perturbed images."""
        ...

    def propose(self, images: torch.Tensor, best: torch.Tensor, drawn: torch.Tensor, side: int) -> torch.Tensor:
        """``best`` with a square of ``side`` changed; ``drawn`` uniform (n, numbers)."""
        ...


def _signs(drawn: torch.Tensor) -> torch.Tensor:
    return torch.where(drawn < 0.5, -1.0, 1.0)


def _window(drawn: torch.Tensor, side: int, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (rows, columns), each bool (n, length), of a square drawn from two uniform numbers, (n, 2)."""
    height, width = shape[2:]
    limits = torch.tensor([height - side + 1, width - side + 1], device=drawn.device)
    corner = torch.minimum((drawn * limits).long(), limits - 1)
    rows = torch.arange(height, device=drawn.device) - corner[:, :1]
    columns = torch.arange(width, device=drawn.device) - corner[:, 1:]
    return (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)


def _mask(places: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    rows, columns = places
    return (rows[:, :, None] & columns[:, None, :])[:, None]


@dataclass(frozen=True)
class LinfMoves:
    """Every pixel of the square moves by eps up or down, one sign for each channel (algorithm 2)."""

    eps: float
    least_side: ClassVar[int] = 1

    def numbers(self, images: torch.Tensor) -> int:
        return 2 + images.shape[1]

    def start(self, images: torch.Tensor, streams: RandomStreams, restart: int) -> torch.Tensor:
        shape = (images.shape[1], 1, images.shape[3])
        drawn = [torch.rand(shape, generator=one) for one in streams.generators("square start", restart)]
        stripes = _signs(torch.stack(drawn)).to(images)
        return (images + self.eps * stripes).clamp_(0.0, 1.0)

    def propose(self, images: torch.Tensor, best: torch.Tensor, drawn: torch.Tensor, side: int) -> torch.Tensor:
        signs = _signs(drawn[:, 2:])[:, :, None, None].to(images)
        moved = (images + self.eps * signs).clamp_(0.0, 1.0)
        return torch.where(_mask(_window(drawn[:, :2], side, images.shape)), moved, best)


@dataclass(frozen=True)
class L2Moves:
    """Two squares: the length of one is moved to the other, which gets a peaked pattern added (algorithm 3)."""

    eps: float
    least_side: ClassVar[int] = 3

    def numbers(self, images: torch.Tensor) -> int:
        return 5 + images.shape[1]

    def start(self, images: torch.Tensor, streams: RandomStreams, restart: int) -> torch.Tensor:
        channels, height, width = images.shape[1:]
        side = max(min(height, width) // 5, 1)
        tiles = (height // side, width // side)
        shape = (channels, *tiles)
        signs = torch.stack(
            [_signs(torch.rand(shape, generator=one)) for one in streams.generators("square start", restart)]
        ).to(images)
        pattern = torch.zeros_like(images)
        tile = peaks(side, images).repeat(*tiles)
        spread = signs.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        top, left = (height - tiles[0] * side) // 2, (width - tiles[1] * side) // 2
        pattern[:, :, top : top + tiles[0] * side, left : left + tiles[1] * side] = tile * spread
        return self._on_sphere(images, pattern)

    def propose(self, images: torch.Tensor, best: torch.Tensor, drawn: torch.Tensor, side: int) -> torch.Tensor:
        side -= 1 - side % 2  # odd, so that the pattern has a middle
        change = best - images
        here = _window(drawn[:, :2], side, images.shape)
        grows, gives = _mask(here), _mask(_window(drawn[:, 2:4], side, images.shape))
        squares = change * change
        freed = (squares * (grows | gives)).sum(dim=(1, 2, 3), keepdim=True)
        spare = (self.eps**2 - squares.sum(dim=(1, 2, 3), keepdim=True)).clamp_(min=0.0)
        # Per channel: the old content of the square at length 1, plus the pattern with a random sign.
        old = change * grows
        length = torch.linalg.vector_norm(old, dim=(2, 3), keepdim=True)
        signs = _signs(drawn[:, 5:])[:, :, None, None].to(images)
        fresh = old / (length + 1e-12) + signs * self._placed(here, drawn[:, 4], side, images)
        fresh = fresh / (torch.linalg.vector_norm(fresh, dim=(2, 3), keepdim=True) + 1e-12)
        share = torch.sqrt((freed + spare) / images.shape[1])
        return self._on_sphere(images, torch.where(grows, fresh * share, change * ~gives))

    def _placed(
        self, places: tuple[torch.Tensor, torch.Tensor], turned: torch.Tensor, side: int, images: torch.Tensor
    ) -> torch.Tensor:
        """The pattern, turned by a quarter for half of the images, in each image's square, (n, 1, h, w)."""
        rows, columns = ((place.long().cumsum(1) - 1).clamp_(0, side - 1) for place in places)
        pattern = peaks(side, images)
        straight = pattern[rows[:, :, None], columns[:, None, :]]
        across = pattern.T[rows[:, :, None], columns[:, None, :]]
        chosen = torch.where((turned < 0.5)[:, None, None], straight, across)[:, None]
        return chosen * _mask(places)

    def _on_sphere(self, images: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        size = L2().size(change)[:, None, None, None]
        moved = images + change * torch.where(size > 0, self.eps / (size + 1e-12), 0.0)
        return moved.clamp_(0.0, 1.0)


def _peak(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """At distance d (in the maximum norm) from the middle the sum of 1 / (k + 1)^2 over k >= d: eq. 3 of the paper."""
    rows, columns = (torch.arange(size, device=like.device) for size in (height, width))
    distance = torch.maximum((rows - height // 2).abs()[:, None], (columns - width // 2).abs()[None, :])
    terms = 1.0 / torch.arange(1, max(height, width) // 2 + 2, device=like.device, dtype=like.dtype) ** 2
    return terms.flip(0).cumsum(0).flip(0)[distance]


def peaks(side: int, like: torch.Tensor) -> torch.Tensor:
    """Two peaks of opposite sign one above the other, at length 1, (side, side)."""
    upper = side // 2
    pattern = torch.cat([_peak(upper, side, like), -_peak(side - upper, side, like)]) if upper else _peak(1, side, like)
    unit: torch.Tensor = pattern / torch.linalg.vector_norm(pattern)
    return unit
