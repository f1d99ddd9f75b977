"""How a model under test is called: pixels in, checked logits out, the model's own state left as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign.errors import InputError

__all__ = [
    "Model",
    "check_images",
    "check_labels",
    "eval_mode",
    "first_call",
    "is_out_of_memory",
    "logits_of",
    "pixels",
    "seeded_model_noise",
    "training_submodules",
]

Model = Callable[[torch.Tensor], torch.Tensor]


def pixels(images: npt.NDArray[np.uint8], device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (n, c, h, w) as float32 in [0, 1] on ``device``.

    The division is done by numpy, so that every device gets the same bits.
    """
    return torch.from_numpy(np.divide(images, np.float32(255), dtype=np.float32)).to(device)


def check_images(images: torch.Tensor) -> None:
    """Raise InputError unless ``images`` is a float (n, c, h, w) tensor, n > 0, of finite values in [0, 1]."""
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise InputError(
            "images must be a float tensor of shape (n, channels, height, width)",
            got=f"{images.dtype} {tuple(images.shape)}",
            key="images",
            fix="divide uint8 pixels by 255",
        )
    if not bool(torch.isfinite(images).all()):
        raise InputError(
            "images must be finite", got=f"{int((~torch.isfinite(images)).sum())} NaN or inf", key="images"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0.0 or high > 1.0:
        raise InputError(
            "images must lie in [0, 1]",
            got=f"{low:g} .. {high:g}",
            key="images",
            fix="scale to [0, 1] and make the normalisation a part of the model",
        )


def check_labels(labels: torch.Tensor, count: int, classes: int) -> None:
    """Raise InputError unless ``labels`` is int64 (count,) in 0 .. classes - 1."""
    if labels.dtype != torch.int64 or labels.shape != (count,):
        raise InputError(
            f"labels must be int64 of shape ({count},)", got=f"{labels.dtype} {tuple(labels.shape)}", key="labels"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"labels must be in 0 .. {classes - 1}, the model has {classes} outputs",
            got=f"{low} .. {high}",
            key="labels",
            fix="use the data set that the model was trained for",
        )


def logits_of(model: Model, images: torch.Tensor) -> torch.Tensor:
    """The model's output for ``images``, checked: float (n, classes), classes >= 2, finite. Raises InputError."""
    logits = model(images)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
        got = f"{type(logits).__name__} {tuple(logits.shape) if isinstance(logits, torch.Tensor) else ''}".strip()
        raise InputError(
            "a classifier must return one tensor of logits of shape (images, classes), classes >= 2",
            got=f"{got} for {len(images)} images",
            key="model",
        )
    if not bool(torch.isfinite(logits.detach()).all()):
        bad = int((~torch.isfinite(logits.detach()).all(dim=1)).sum())
        raise InputError(
            "logits must be finite",
            got=f"NaN or inf for {bad} of {len(images)} images",
            key="model",
            fix="look for overflow, a division by zero, or weights that are not finite",
        )
    return logits


def first_call(model: Model, images: torch.Tensor) -> torch.Tensor:
    """``logits_of`` for images of a shape that the model has not seen yet: what it raises becomes an InputError.

    Later calls do not come here: a failure there is a fault to be seen whole.
    """
    try:
        return logits_of(model, images)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # exported programs assert their shapes
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"the model must accept {str(images.dtype).removeprefix('torch.')} images of shape {tuple(images.shape)}",
            got=(str(error).strip() or type(error).__name__).splitlines()[0],
            key="model",
            fix="check that model and data set belong together; an exported program needs a dynamic batch size",
        ) from error


def training_submodules(model: Model) -> tuple[str, ...]:
    """Paths of the submodules that are in training mode ("" is the model itself, shown as "(the model)").

    The graph of a ``torch.export`` program has its mode built in, and its ``training`` attributes say nothing;
    it is known by its ``train`` method, replaced on the object by one that refuses.
    """
    if not isinstance(model, nn.Module):
        return ()
    frozen: set[int] = set()
    names = []
    for name, module in model.named_modules():
        if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):
            frozen.update(id(part) for part in module.modules())
        if module.training and id(module) not in frozen:
            names.append(name or "(the model)")
    return tuple(names)


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode inside, each in its own former mode afterwards."""
    # The attribute is set directly: train() would treat all submodules alike, and exported graphs refuse it.
    former = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in former:
            part.training = False
        yield
    finally:
        for part, mode in former:
            part.training = mode


@contextmanager
def seeded_model_noise(seed: int, device: torch.device | str) -> Iterator[None]:
    """A model's own random draws (from PyTorch's default generators) seeded inside, those generators restored after."""
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or numpy could not allocate: CUDA has its own type, the CPU allocator only a message."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error) for sign in ("can't allocate memory", "not enough memory", "out of memory")
    )
