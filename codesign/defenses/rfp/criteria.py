"""Which filters go first. Every criterion is a function from ``Evidence`` to scores; the highest are removed first.

A user's own criterion is a function of the same kind. The gradients are those of the cross entropy, in eval mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.defenses.rfp.evidence import Evidence, Labelled, Scores, observed_outputs, watched
from codesign.errors import InputError, did_you_mean

__all__ = ["CRITERIA", "Criterion", "criterion_named"]

Criterion = Callable[[Evidence], Scores]


def activation_gradient(evidence: Evidence) -> Scores:
    """``E || dL/da_f ||_1``: a_f is the filter's output map (before batch norm), E the mean over natural images.

    The criterion of robustness-aware filter pruning (Lim et al., MLSP 2021), as this project reconstructs it: the
    filters through which the loss is most sensitive are removed.
    """
    return _activation_gradient(evidence, evidence.natural)


def lowest_gradient(evidence: Evidence) -> Scores:
    """The opposite of ``activation_gradient``: the least sensitive filters are removed."""
    return {name: -scores for name, scores in activation_gradient(evidence).items()}


def gradient_difference(evidence: Evidence) -> Scores:
    """``activation_gradient`` on natural images minus the same on the robust dataset's."""
    robust = _activation_gradient(evidence, evidence.robust_images("gradient_difference"))
    natural = _activation_gradient(evidence, evidence.natural)
    return {name: scores - robust[name] for name, scores in natural.items()}


def weight_gradient(evidence: Evidence) -> Scores:
    """``|| dL/dW_f ||_2`` of the mean loss over natural images."""
    return {name: gradient.flatten(1).norm(dim=1) for name, gradient in weight_gradients(evidence).items()}


def weight_times_gradient(evidence: Evidence) -> Scores:
    """Sum over the filter's weights of ``|W * dL/dW|``, of the mean loss over natural images."""
    return {
        name: (gradient * evidence.layers[name].weight.detach().double().cpu()).abs().flatten(1).sum(1)
        for name, gradient in weight_gradients(evidence).items()
    }


def l1_norm(evidence: Evidence) -> Scores:
    """The filters of the smallest ``||W_f||_1`` are removed (Li et al., ICLR 2017, arXiv:1608.08710)."""
    return {name: -weight.abs().sum(1) for name, weight in _filters(evidence).items()}


def fpgm(evidence: Evidence) -> Scores:
    """The filters nearest to the geometric median of their layer (He et al., CVPR 2019, arXiv:1811.00250).

    Nearest are those with the smallest sum of Euclidean distances to all filters of the layer.
    """
    return {name: -torch.cdist(weight, weight).sum(1) for name, weight in _filters(evidence).items()}


def hrank(evidence: Evidence) -> Scores:
    """The filters whose output maps have the lowest mean rank (Lin et al., CVPR 2020, arXiv:2002.10179).

    The map is taken behind the layer's batch norm, if it has one, and a ReLU.
    """
    places = {name: evidence.norms.get(name, layer) for name, layer in evidence.layers.items()}
    totals = {name: torch.zeros(layer.weight.shape[0], dtype=torch.float64) for name, layer in evidence.layers.items()}
    images = 0
    with torch.no_grad(), watched(places) as seen:
        for pixels, _labels in evidence.batches(evidence.natural):
            for outputs in seen.values():
                outputs.clear()
            evidence.module(pixels)
            images += len(pixels)
            for name, outputs in seen.items():
                for maps in outputs:
                    ranks = torch.linalg.matrix_rank(F.relu(maps))
                    totals[name] += ranks.double().sum(0).cpu()
    return {name: -total / images for name, total in totals.items()}


def slimming(evidence: Evidence) -> Scores:
    """The filters of the smallest batch norm scale (Liu et al., ICCV 2017, arXiv:1708.06519)."""
    lacking = [name for name in evidence.layers if name not in evidence.norms or not evidence.norms[name].affine]
    if lacking:
        raise InputError(
            "slimming needs a batch norm with scales behind every pruned layer",
            got=f"none behind {', '.join(lacking)}",
            key="--criterion",
            fix="exclude these layers, or choose another criterion",
        )
    return {name: -evidence.norms[name].weight.detach().abs().double().cpu() for name in evidence.layers}


def random(evidence: Evidence) -> Scores:
    """Uniform draws: the control that every criterion has to beat."""
    return {
        name: torch.rand(layer.weight.shape[0], dtype=torch.float64, generator=evidence.generator)
        for name, layer in evidence.layers.items()
    }


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            activation_gradient,
            weight_gradient,
            weight_times_gradient,
            gradient_difference,
            lowest_gradient,
            l1_norm,
            fpgm,
            hrank,
            slimming,
            random,
        )
    }
)


def criterion_named(name: str, table: Mapping[str, Criterion] = CRITERIA) -> Criterion:
    """The criterion of that name. Raises InputError with a suggestion for an unknown one."""
    if name not in table:
        raise InputError("unknown criterion", got=name, key="--criterion", fix=did_you_mean(name, table))
    return table[name]


def _filters(evidence: Evidence) -> dict[str, Tensor]:
    """Every layer's weights as (filters, weights of one)."""
    return {name: layer.weight.detach().double().cpu().flatten(1) for name, layer in evidence.layers.items()}


def _activation_gradient(evidence: Evidence, data: Labelled) -> Scores:
    totals = {name: torch.zeros(layer.weight.shape[0], dtype=torch.float64) for name, layer in evidence.layers.items()}
    for loss, seen in observed_outputs(evidence, data):
        flat = [(name, output) for name, outputs in seen.items() for output in outputs]
        gradients = torch.autograd.grad(loss, [output for _, output in flat])
        for (name, _), gradient in zip(flat, gradients, strict=True):
            # A linear layer's filters are its last axis, a convolution's its second.
            by_filter = gradient if gradient.ndim == 4 else gradient.movedim(-1, 1)
            totals[name] += by_filter.abs().transpose(0, 1).flatten(1).sum(1).double().cpu()
    return {name: total / len(data) for name, total in totals.items()}


def weight_gradients(evidence: Evidence) -> Scores:
    """``dL/dW`` of the mean loss over the natural images, float64, of every layer's weight shape."""
    weights = [layer.weight for layer in evidence.layers.values()]
    totals = [torch.zeros(weight.shape, dtype=torch.float64) for weight in weights]
    for pixels, labels in evidence.batches(evidence.natural):
        loss = F.cross_entropy(evidence.module(pixels), labels, reduction="sum")
        for total, gradient in zip(totals, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.double().cpu()
    return {name: total / len(evidence.natural) for name, total in zip(evidence.layers, totals, strict=True)}
