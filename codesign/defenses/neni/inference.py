"""The forward pass of a defended layer where no gradient is wanted, on a CPU: the same values with fewer passes.

Products are PyTorch's own, in the same calls; what lies between them is compiled (``kernels``).
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codesign.defenses.neni.projection import scale_of
from codesign.defenses.neni.quantization import largest_code
from codesign.defenses.neni.selection import NofM, Selector, Threshold, TopK

if TYPE_CHECKING:
    from codesign.defenses.neni.layers import DefendedLayer

__all__ = ["can_fuse", "fused_output"]

_Floats = npt.NDArray[np.float32]
_WORTH_THREADS = 1 << 17
"""Values that are put together in a fraction of a millisecond."""
_WIRES = 512
"""Channels of a group above which the comparator network is not built."""


def can_fuse(layer: DefendedLayer, x: Tensor) -> bool:
    """Whether ``fused_output`` may stand for the ordinary pass: a plain float32 tensor of a CPU, and no gradient."""
    return (
        layer.axis == 1
        and layer.plan.control == "neni"
        and layer.mask_observer is None
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        and _group(layer.plan.selector, len(layer.weight)) <= _WIRES
    )


def _group(selector: Selector, channels: int) -> int:
    """Channels that are compared with each other; none under a threshold."""
    if isinstance(selector, Threshold):
        return 0
    return selector.size if isinstance(selector, NofM) else channels


def fused_output(layer: DefendedLayer, x: Tensor, exact: Tensor, *, overwrite: bool) -> Tensor | None:
    """z' of a convolution for which ``can_fuse`` holds.

    Args:
        exact: z.
        overwrite: whether the result may take its place.

    Returns:
        None where memory is laid out otherwise, or a value is NaN: the ordinary pass knows what to do.
    """
    out = exact if overwrite else exact.clone()
    if not out.is_contiguous():
        return None
    weight, step = layer.rounded_weight(), layer.chunk(x)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # starts no thread before it is given work
        for part, own in zip(torch.split(x, step), torch.split(out, step), strict=True):
            projected = layer.projected(part)
            if not projected.is_contiguous():
                return None
            gains = _gains(layer, projected)
            mixed = layer.mixed(projected, weight)
            if not mixed.is_contiguous() or not _merge(layer, mixed, gains, own, pool):
                return None
    return out


def _gains(layer: DefendedLayer, projected: Tensor) -> _Floats:
    """What the products with W~ are multiplied with, sample by sample; rounds the projected values in place."""
    # Imported here: a compiler loads slowly, and a network that is only trained does not need it.
    from codesign.defenses.neni.kernels import round_samples

    factor, samples = np.float32(scale_of(layer.plan.dimension)), len(projected)
    if layer.plan.precision == "none":
        return np.full(samples, factor)
    scales = np.empty(samples, np.float32)
    floor = np.float32(torch.finfo(torch.float32).tiny * 256)
    round_samples(projected.numpy().reshape(samples, -1), np.float32(largest_code(layer.bits)), floor, scales)
    return scales * factor


def _merge(layer: DefendedLayer, mixed: Tensor, gains: _Floats, out: Tensor, pool: Executor) -> bool:
    """Put z~ into ``out`` where a neuron is not essential; False where there is a NaN."""
    from codesign.defenses.neni.kernels import merge_above, merge_largest, network_of

    shape, offsets, selector = (len(mixed), mixed.shape[1], -1), layer.offset.detach().numpy(), layer.plan.selector
    values, target = mixed.numpy().reshape(shape), out.numpy().reshape(shape)
    size = _group(selector, mixed.shape[1])

    def work(own: slice) -> bool:
        if isinstance(selector, Threshold):
            return merge_above(values[own], gains[own], offsets, target[own], np.float32(selector.value))
        assert isinstance(selector, TopK | NofM)
        pairs = network_of(size, selector.kept)
        return merge_largest(values[own], gains[own], offsets, target[own], pairs, size, selector.kept)

    if isinstance(selector, TopK | NofM) and selector.kept >= size:
        return True
    parts = torch.get_num_threads() if values.size >= _WORTH_THREADS else 1
    bounds = [len(mixed) * part // parts for part in range(parts + 1)]
    slices = [slice(*pair) for pair in pairwise(bounds)]
    return all(list(pool.map(work, slices) if parts > 1 else map(work, slices)))
