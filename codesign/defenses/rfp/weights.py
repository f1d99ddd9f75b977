"""Single weights set to zero: anywhere in a layer, or N kept of every M, for accelerators that use sparse weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from codesign.defenses.rfp.criteria import Criterion, weight_gradients
from codesign.defenses.rfp.evidence import Evidence, Scores

__all__ = ["WEIGHT_CRITERIA", "n_of_m_mask", "unstructured_mask"]


def l1_norm(evidence: Evidence) -> Scores:
    """The smallest weights are removed."""
    return {name: -layer.weight.detach().abs().double().cpu() for name, layer in evidence.layers.items()}


def weight_gradient(evidence: Evidence) -> Scores:
    """The weights of the largest ``|dL/dW|`` are removed: the criterion of filters, taken for single weights."""
    return {name: gradient.abs() for name, gradient in weight_gradients(evidence).items()}


def lowest_gradient(evidence: Evidence) -> Scores:
    """The weights of the smallest ``|dL/dW|`` are removed."""
    return {name: -gradient.abs() for name, gradient in weight_gradients(evidence).items()}


def weight_times_gradient(evidence: Evidence) -> Scores:
    """The weights of the largest ``|W * dL/dW|`` are removed."""
    return {
        name: (gradient * evidence.layers[name].weight.detach().double().cpu()).abs()
        for name, gradient in weight_gradients(evidence).items()
    }


def random(evidence: Evidence) -> Scores:
    """Uniform draws."""
    return {
        name: torch.rand(layer.weight.shape, dtype=torch.float64, generator=evidence.generator)
        for name, layer in evidence.layers.items()
    }


WEIGHT_CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        function.__name__: function
        for function in (l1_norm, weight_gradient, weight_times_gradient, lowest_gradient, random)
    }
)


def unstructured_mask(shape: torch.Size, removed: Tensor) -> Tensor:
    """True where a weight stays; ``removed`` are flat indices."""
    mask = torch.ones(shape.numel(), dtype=torch.bool)
    mask[removed] = False
    return mask.reshape(shape)


def n_of_m_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """True for the ``n`` lowest scores of every ``m`` consecutive input channels (of equal ones the first).

    The groups run along the input channels at one kernel position of one filter, as 2:4 sparsity has them.

    Args:
        scores: of a weight (out, in, *kernel); ``in`` must be a multiple of ``m``.
    """
    if scores.shape[1] % m:
        raise ValueError(f"n_of_m_mask: input channels must be a multiple of {m} (got {scores.shape[1]})")
    filters, inputs, *kernel = scores.shape
    groups = scores.reshape(filters, inputs // m, m, *kernel)
    kept = torch.sort(groups, dim=2, stable=True).indices.narrow(2, 0, n)
    mask = torch.zeros(groups.shape, dtype=torch.bool).scatter_(2, kept, True)
    return mask.flatten(1, 2)
