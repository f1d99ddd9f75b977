"""Runs a model and attacks on parts of a set, in batches that fit memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack
from codesign.robustness.inference import is_out_of_memory, logits_of, pixels, seeded_model_noise
from codesign.robustness.streams import RandomStreams, derived_seed

__all__ = ["Attacked", "Runner"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack made of some images: predicted classes int64 (b,), its claims bool (b,), images float32.

    ``part`` int64 (b,) is the number of the part that broke the image, of an attack that has parts, else -1.
    """

    predictions: npt.NDArray[np.int64]
    claimed: npt.NDArray[np.bool_]
    part: npt.NDArray[np.int64]
    images: npt.NDArray[np.float32]


class Runner:
    """A model in eval mode, a set of images, and the largest batch known to fit.

    Args:
        module: on ``device``, in eval mode.
        images: the whole set.
        seed: of every random draw; image i draws the same numbers in whatever batch it is.
        device: where to compute.
        batch_size: largest batch; halved, for good, each time one does not fit memory.
        note: called with a sentence when that happens.
    """

    def __init__(
        self,
        module: nn.Module,
        images: ImageSet,
        *,
        seed: int,
        device: torch.device,
        batch_size: int,
        note: Callable[[str], None],
    ) -> None:
        self.module = module
        self.images = images
        self.seed = seed
        self.device = device
        self.batch_size = batch_size
        self._note = note

    def inputs(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images ``start`` .. ``stop - 1`` as float32 in [0, 1] and their labels, on the device."""
        labels = torch.from_numpy(self.images.labels[start:stop].copy()).to(self.device)
        return pixels(self.images.images[start:stop], self.device), labels

    def clean(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Predicted classes of the images as they are."""
        return np.concatenate(self.in_pieces(start, stop, lambda low, high: self._predict(self.inputs(low, high)[0])))

    def attack(self, attack: Attack, start: int, stop: int) -> Attacked:
        """Attack the images and classify what comes out. Raises InputError if the attack leaves its ball or [0, 1]."""
        pieces = self.in_pieces(start, stop, lambda low, high: self._attack(attack, low, high))
        return Attacked(
            np.concatenate([piece.predictions for piece in pieces]),
            np.concatenate([piece.claimed for piece in pieces]),
            np.concatenate([piece.part for piece in pieces]),
            np.concatenate([piece.images for piece in pieces]),
        )

    def right_share(self, moved: npt.NDArray[np.float32], start: int, draws: int) -> npt.NDArray[np.float64]:
        """The share of ``draws`` runs in which the model is right on ``moved``, made of images ``start`` on, (b,)."""

        def work(low: int, high: int) -> npt.NDArray[np.float64]:
            labels = self.images.labels[low:high]
            pixels = torch.from_numpy(moved[low - start : high - start]).to(self.device)
            right = np.stack([self._predict(pixels) == labels for _ in range(draws)])
            share: npt.NDArray[np.float64] = right.mean(axis=0, dtype=np.float64)
            return share

        return np.concatenate(self.in_pieces(start, start + len(moved), work))

    def in_pieces(self, start: int, stop: int, work: Callable[[int, int], T]) -> list[T]:
        """``work(low, high)`` over the range, in order, in pieces that fit memory. Raises InputError if none does."""
        results: list[T] = []
        while start < stop:
            high = min(start + self.batch_size, stop)
            # A model's own draws restart at each piece; those of the attacks belong to the image.
            with seeded_model_noise(derived_seed(self.seed, "model", start), self.device):
                try:
                    results.append(work(start, high))
                    start = high
                    continue
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
            # Outside the handler, so that the failed call's tensors are freed before the next try.
            self._halve(high - start)
        return results

    def _halve(self, tried: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried == 1:
            raise InputError(
                "one image must fit memory",
                got=f"out of memory with a single image on {self.device}",
                key="batch_size",
                fix="use a machine with more memory, or a smaller model",
            )
        self.batch_size = tried // 2
        self._note(
            f"a batch of {tried} images did not fit the memory of {self.device}; going on with {self.batch_size}"
        )

    def _predict(self, images: torch.Tensor) -> npt.NDArray[np.int64]:
        with torch.no_grad():
            return logits_of(self.module, images).argmax(dim=1).cpu().numpy()

    def _attack(self, attack: Attack, low: int, high: int) -> Attacked:
        images, labels = self.inputs(low, high)
        found = attack(self.module, images, labels, streams=RandomStreams.of(self.seed, high - low, low))
        _check_in_ball(attack, images, found.images)
        predictions = self._predict(found.images)
        part = torch.full_like(labels, -1) if found.part is None else found.part
        return Attacked(predictions, found.success.cpu().numpy(), part.cpu().numpy(), found.images.cpu().numpy())


def _check_in_ball(attack: Attack, images: torch.Tensor, moved: torch.Tensor) -> None:
    """An attack may come from anywhere: what it returns is measured, not believed."""
    if moved.shape != images.shape or moved.dtype != images.dtype or not bool(torch.isfinite(moved).all()):
        raise InputError(
            "an attack must return finite images of the same shape and dtype",
            got=f"{moved.dtype} {tuple(moved.shape)}",
            key=repr(attack),
        )
    # float32 pixels in [0, 1] are off by up to 6e-8 each when added to.
    rounding = attack.norm.size(torch.full_like(images[:1], 1e-6))
    excess = float((attack.norm.size(moved - images) - attack.eps - rounding).max())
    low, high = float(moved.min()), float(moved.max())
    if excess > 0 or low < 0.0 or high > 1.0:
        raise InputError(
            f"an attack must stay within {attack.norm.name} {attack.eps:g} of the image and in [0, 1]",
            got=f"{max(excess, 0.0):g} too far, pixels in {low:g} .. {high:g}",
            key=repr(attack),
        )
