"""The check of a device before any work."""

from __future__ import annotations

import torch

from codesign.errors import InputError

__all__ = ["check_device"]


def check_device(name: str) -> None:
    """Raise InputError unless torch can compute on the device of that name here."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a PyTorch built without CUDA
        raise InputError(
            "the device must be one that torch can use here",
            got=f"{name}: {(str(error).splitlines() or [''])[0]}",
            key="--device",
            fix="--device cpu always works",
        ) from error
