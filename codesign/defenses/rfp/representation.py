"""The penultimate representation of a classifier, and images that are moved until theirs matches a target's.

A. Ilyas et al., "Adversarial examples are not bugs, they are features", NeurIPS 2019, arXiv:1905.02175, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from codesign.errors import InputError, did_you_mean

__all__ = ["Representation", "match", "relative_distance"]


class Representation:
    """What goes into a classifier's last linear layer, or into a layer that is named; a context manager.

    Args:
        module: logits from pixels in [0, 1].
        example: a few pixels of its input shape, to find the last linear layer with.
        layer: path of the layer whose input is meant; None for the last linear layer that runs.

    Raises:
        InputError: no linear layer, or no layer of that name.
    """

    def __init__(self, module: nn.Module, example: Tensor, layer: str | None = None) -> None:
        self._module = module
        self.layer = _last_linear(module, example) if layer is None else layer
        parts = dict(module.named_modules())
        if self.layer not in parts:
            raise InputError(
                "the representation must be the input of a layer",
                got=self.layer,
                key="--representation",
                fix=did_you_mean(self.layer, [name for name in parts if name]),
            )
        self._seen: list[Tensor] = []
        self._handle = parts[self.layer].register_forward_pre_hook(self._see)

    def _see(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._seen.append(inputs[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def __call__(self, pixels: Tensor) -> Tensor:
        """(n, values) from pixels (n, c, h, w)."""
        self._seen.clear()
        self._module(pixels)
        if not self._seen:
            raise InputError("the layer must run in a forward pass", got=self.layer, key="--representation")
        value = self._seen.pop().flatten(1)
        self._seen.clear()
        return value


def _last_linear(module: nn.Module, example: Tensor) -> str:
    ran: list[str] = []
    handles = [
        part.register_forward_pre_hook(lambda _module, _inputs, name=name: ran.append(name))
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear)
    ]
    try:
        with torch.no_grad():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise InputError(
            "the teacher must end in a linear layer (torch.nn.Linear)",
            got=type(module).__name__,
            key="--teacher",
            fix="name the layer whose input is the representation with --representation",
        )
    return ran[-1]


def relative_distance(value: Tensor, target: Tensor) -> Tensor:
    """``||value - target||_2 / ||target||_2`` of each row, (n,); the length itself where the target is 0."""
    length = target.norm(dim=1)
    distance: Tensor = (value - target).norm(dim=1) / torch.where(length > 0, length, torch.ones_like(length))
    return distance


def match(
    representation: Callable[[Tensor], Tensor], start: Tensor, target: Tensor, *, steps: int, step_size: float
) -> Tensor:
    """Move every image against the gradient of its distance to the target, by ``step_size`` in L2, within [0, 1].

    Args:
        representation: pixels (n, c, h, w) to (n, values).
        start: pixels in [0, 1].
        target: (n, values).
        steps: gradient steps.
        step_size: L2 length of each, pixels in [0, 1].
    """
    moved = start.clone()
    for _ in range(steps):
        moved.requires_grad_()
        distance = relative_distance(representation(moved), target)
        (gradient,) = torch.autograd.grad(distance.sum(), moved)
        length = gradient.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        direction = gradient / torch.where(length > 0, length, torch.ones_like(length))
        moved = (moved.detach() - step_size * direction).clamp_(0, 1)
    return moved
