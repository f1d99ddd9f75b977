"""What a forward pass does beside computing: selections by masks, and optimisation of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from codesign.robustness.inference import Model, logits_of

__all__ = ["Optimised", "found_optimisation", "selections", "unexplained_change"]

# Operations whose answer jumps as their input moves; their gradient is zero or none.
_COMPARISONS = frozenset({"gt", "lt", "ge", "le", "eq", "ne", "heaviside", "sign", "bucketize", "argmax", "argmin"})
_RANKINGS = frozenset({"topk", "sort", "kthvalue", "argsort"})


class _Selections(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what depends on the pixels, and of that, what depends on a comparison or a ranking."""

    def __init__(self, pixels: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen: Any = WeakIdKeyDictionary()  # tensor -> names of the selections it depends on
        self._seen[pixels] = frozenset()

    def of(self, tensor: torch.Tensor) -> frozenset[str]:
        """The selections that a tensor depends on."""
        found: frozenset[str] = self._seen.get(tensor, frozenset())
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor) and one in self._seen]
        if inputs:
            names = frozenset[str]().union(*(self._seen[one] for one in inputs))
            name = func.__name__.split(".")[0].rstrip("_")
            for place, output in enumerate(one for one in tree_leaves(result) if isinstance(one, torch.Tensor)):
                own = name in _COMPARISONS or (name in _RANKINGS and (place > 0 or name == "argsort"))
                # The values of a ranking are continuous; its indices, and thresholds compared with, are not.
                self._seen[output] = names | {name} if own else names
        return result


def selections(model: Model, images: torch.Tensor) -> tuple[str, ...]:
    """The comparisons and rankings of values made from the pixels on which the logits depend, by operation name."""
    with torch.no_grad(), _Selections(images) as following:
        logits = logits_of(model, images)
        return tuple(sorted(following.of(logits)))


def unexplained_change(model: Model, images: torch.Tensor, moved: torch.Tensor, points: int = 16) -> float:
    """The share of the change of the logits along a straight way that their gradient does not account for.

    For a function without jumps the integral of the gradient along the way is the change (fundamental theorem of
    calculus); what is missing are the jumps, which no attack by gradient sees. Judged on the top logit minus the
    second, with the midpoint rule; roots of sums of squares over the images.

    Args:
        images, moved: (n, c, h, w), the ends of the way.
        points: at which the gradient is taken.
    """
    with torch.no_grad():
        start = logits_of(model, images)
        top = start.topk(2, dim=1).indices
        change = _gap(logits_of(model, moved), top) - _gap(start, top)
    way, total = moved - images, torch.zeros_like(change)
    for point in range(points):
        here = (images + (point + 0.5) / points * way).detach().requires_grad_(True)
        with torch.enable_grad():
            gap = _gap(logits_of(model, here), top)
        slope = torch.autograd.grad(gap.sum(), here, allow_unused=True)[0] if gap.requires_grad else None
        if slope is not None:
            total += (slope * way).flatten(1).sum(dim=1) / points
    size = torch.linalg.vector_norm(change)
    return float(torch.linalg.vector_norm(change - total) / size) if float(size) > 0 else 0.0


def _gap(logits: torch.Tensor, top: torch.Tensor) -> torch.Tensor:
    pair = logits.gather(1, top)
    return pair[:, 0] - pair[:, 1]


@dataclass(eq=False)
class Optimised:
    """What a forward pass did: graphs built and differentiated inside it, and state of the module that it changed."""

    counts: Counter[str] = field(default_factory=Counter)
    changed: list[str] = field(default_factory=list)


@contextmanager
def _graph_use(counts: Counter[str]) -> Iterator[None]:
    """Counts tensors saved for, and used by, backward passes that begin inside."""

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        counts["saved"] += 1
        return tensor

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        counts["used"] += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


def found_optimisation(module: nn.Module, images: torch.Tensor) -> Optimised:
    """Run the model once without gradients and watch whether it takes gradients of its own or changes its state.

    The state is put back.
    """
    seen = Optimised()
    before = {name: tensor.detach().clone() for name, tensor in _state(module).items()}
    with torch.no_grad(), _graph_use(seen.counts):
        logits_of(module, images)
    for name, tensor in _state(module).items():
        if name not in before or tensor.shape != before[name].shape or not torch.equal(tensor, before[name]):
            seen.changed.append(name)
    with torch.no_grad():
        for name in seen.changed:
            if name in before:
                _state(module)[name].copy_(before[name])
    return seen


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())
