"""Random numbers that belong to an image, not to the batch it happens to be in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["RandomStreams", "derived_seed"]


def derived_seed(*key: int | str) -> int:
    """A seed in 0 .. 2**32 - 1 from a key: the same on every machine, unrelated for different keys.

    32 bits, since the CPU generator of PyTorch uses no more of its seed.
    """
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


@dataclass(frozen=True, eq=False)
class RandomStreams:
    """One private stream of random numbers for each image of a batch.

    What an image draws depends on ``seed``, on the image's index in the whole set and on what the draw is for, and on
    nothing else: not on the batch size, on which images were dropped, on the device or on the global generator.

    Args:
        seed: the evaluation's seed.
        indices: int64 (n,), each image's index in the whole set.
    """

    seed: int
    indices: npt.NDArray[np.int64]

    @classmethod
    def of(cls, seed: int, count: int, start: int = 0) -> RandomStreams:
        """The streams of images ``start`` .. ``start + count - 1``."""
        return cls(seed, np.arange(start, start + count, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def select(self, chosen: torch.Tensor) -> RandomStreams:
        """The streams of some of the images; ``chosen`` is a bool mask or integer positions."""
        return RandomStreams(self.seed, self.indices[chosen.cpu().numpy()])

    def generators(self, *purpose: int | str) -> Iterator[torch.Generator]:
        """One CPU generator per image, in order, each fresh for ``purpose``.

        The same generator object is seeded anew for each image: use it before asking for the next.
        """
        generator = torch.Generator()
        for index in self.indices.tolist():
            yield generator.manual_seed(derived_seed(self.seed, index, *purpose))
