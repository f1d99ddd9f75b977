"""A part of a data set, chosen reproducibly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from codesign.data.images import ImageSet
from codesign.errors import InputError

__all__ = ["sample"]


def sample(image_set: ImageSet, n: int, seed: int | None = None) -> ImageSet:
    """``n`` images of a set.

    Args:
        image_set: the set.
        n: how many.
        seed: None takes the first n images, as published figures on subsets do. A seed draws at random without
            replacement, every class in proportion to its share in the set (largest remainders), in the set's order.

    Returns:
        The part; its source says how it was drawn.

    Raises:
        InputError: n is below 1 or above the number of images.
    """
    if not 1 <= n <= len(image_set):
        raise InputError(
            f"the number of images must be in 1..{len(image_set)}, the size of {image_set.name}",
            got=n,
            key="--images",
            fix="leave it out to take all",
        )
    chosen = np.arange(n, dtype=np.int64) if seed is None else _stratified(image_set, n, seed)
    part = image_set.take(chosen)
    return replace(part, source={**part.source, "sample": {"images": n, "of": len(image_set), "seed": seed}})


def _stratified(image_set: ImageSet, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of a random sample with the set's class shares, in the set's order."""
    rng = np.random.default_rng(seed)
    classes = len(image_set.class_names)
    sizes = np.bincount(image_set.labels, minlength=classes)
    shares = n * sizes / len(image_set)
    counts = np.floor(shares).astype(np.int64)
    # Largest remainders get what is left; a tie goes to the lower class.
    order = np.argsort(-(shares - counts), kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    drawn = [
        rng.choice(np.flatnonzero(image_set.labels == label), size=int(counts[label]), replace=False)
        for label in range(classes)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)
