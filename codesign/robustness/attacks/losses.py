"""What an attack raises: one value per image, large where the model is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch.nn import functional

from codesign.errors import InputError

__all__ = [
    "LOSSES",
    "LossName",
    "cross_entropy",
    "difference_of_logits_ratio",
    "margin",
    "targeted_difference_of_logits_ratio",
]

LossName = Literal["ce", "dlr"]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log softmax(z)_y, (n,). Its gradient vanishes in float32 where the model is very sure of itself."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """max over i != y of z_i, minus z_y, (n,): positive exactly where the label is not the (only) largest logit."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1) - logits.gather(1, labels[:, None]).squeeze(1)


def difference_of_logits_ratio(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """margin / (largest - third largest logit), (n,): unlike cross entropy it ignores the scale of the logits.

    F. Croce and M. Hein, ICML 2020, arXiv 2003.01690, eq. 6. Raises InputError for fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise InputError(
            "the loss dlr needs a model of at least three classes", got=logits.shape[1], key="loss", fix='use loss="ce"'
        )
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_difference_of_logits_ratio(
    logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """(z_t - z_y) / (largest logit - mean of the third and fourth largest), (n,), for wished-for classes t.

    F. Croce and M. Hein, ICML 2020, arXiv 2003.01690, eq. 7. Raises InputError for fewer than four classes.
    """
    if logits.shape[1] < 4:
        raise InputError(
            "the targeted loss dlr needs a model of at least four classes",
            got=logits.shape[1],
            key="loss",
            fix='attack with PGD or APGD and loss="ce", and Square',
        )
    top = logits.topk(4, dim=1).values
    rise = logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])
    return rise.squeeze(1) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


LOSSES: dict[LossName, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ce": cross_entropy,
    "dlr": difference_of_logits_ratio,
}
