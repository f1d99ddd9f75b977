"""Every choice of the method as one value object that a record can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from codesign.errors import InputError, did_you_mean

__all__ = ["BITS", "Control", "NeniSettings", "Precision", "Selection", "Solver"]

Precision = Literal["none", "int8", "int4", "int2"]
Selection = Literal["top_k", "n_of_m", "threshold"]
Solver = Literal["ridge", "gradient"]
Control = Literal["neni", "exact", "approximation", "random", "gaussian", "uniform", "quantized"]

BITS: Mapping[Precision, int] = MappingProxyType({"none": 32, "int8": 8, "int4": 4, "int2": 2})
"""Bits of an approximation parameter and of a projected input."""


@dataclass(frozen=True, kw_only=True)
class NeniSettings:
    """Non-essential neuron noise injection (Liu et al., arXiv:2402.04325). What the paper leaves open is marked [R].

    Args:
        share: essential share rho of the neurons, in (0, 1]; ``top_k`` keeps round(rho * n), at least one.
        layer_shares: layer name -> share, where a layer differs.
        selection: ``top_k`` over the output channels of every position and sample, ``n_of_m`` of consecutive output
            channels, or a ``threshold`` a layer, calibrated so that ``share`` of the neurons lie above it.
        group: (N, M) of ``n_of_m``; ``share`` is not used then.
        dimension: k; None for the Johnson-Lindenstrauss rule with ``jl_eps``, at most d [R].
        jl_eps: distortion in the rule, in (0, 1.5).
        precision: of the approximation: W~ per output row, Px per sample (a batch must not change an image's result).
        straight_through: whether rounding passes gradients on as written; False is the deployed arithmetic as autograd
            sees it: no gradient through the approximation at all (see ``gradients`` for attacks).
        solver: ``ridge`` in closed form [R], or ``gradient`` (Adam).
        ridge: lambda over the mean diagonal of the covariance of Px [R].
        passes: 2 fits a second time, on the inputs that the defended network itself produces [R].
        epochs, learning_rate: of the gradient solver [R].
        exact_layers: names of layers left exact; None for the first convolution and the last linear layer [R].
        control: ``neni``, or one of the controls that a claim must be compared with (see ``controls``).
        exact_bits: precision b of the exact product in BitOPs.
        held_out: share of the calibration images on which error and recall are measured, not fitted [R].
        batch_size: images at a time.
    """

    share: float = 0.5
    layer_shares: Mapping[str, float] = field(default_factory=dict)
    selection: Selection = "top_k"
    group: tuple[int, int] = (4, 8)
    dimension: int | None = None
    jl_eps: float = 0.5
    precision: Precision = "int4"
    straight_through: bool = False
    solver: Solver = "ridge"
    ridge: float = 1e-4
    passes: Literal[1, 2] = 1
    epochs: int = 2
    learning_rate: float = 1e-3
    exact_layers: tuple[str, ...] | None = None
    control: Control = "neni"
    exact_bits: int = 8
    held_out: float = 0.05
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name, value in (("share", self.share), *((f"layer_shares.{k}", v) for k, v in self.layer_shares.items())):
            _require(_is_number(value) and 0 < value <= 1, name, "an essential share must lie in (0, 1]", value)
        choices = {"selection": Selection, "precision": Precision, "solver": Solver, "control": Control}
        for name, kind in choices.items():
            word, known = getattr(self, name), get_args(kind)
            if word not in known:
                raise InputError(f"unknown {name}", got=word, key=f"neni.{name}", fix=did_you_mean(str(word), known))
        kept, size = self.group
        _require(0 < kept <= size, "group", "N:M needs 0 < N <= M", f"{kept}:{size}")
        whole = self.dimension is None or (type(self.dimension) is int and self.dimension >= 1)
        _require(whole, "dimension", "k must be an integer of at least 1", self.dimension)
        _require(0 < self.jl_eps < 1.5, "jl_eps", "the distortion must lie in (0, 1.5)", self.jl_eps)
        _require(0 <= self.ridge < math.inf, "ridge", "lambda must be at least 0", self.ridge)
        _require(self.passes in (1, 2), "passes", "one or two passes", self.passes)
        _require(self.epochs >= 1, "epochs", "at least one epoch", self.epochs)
        _require(self.learning_rate > 0, "learning_rate", "the learning rate must be above 0", self.learning_rate)
        _require(2 <= self.exact_bits <= 32, "exact_bits", "2 to 32 bits", self.exact_bits)
        _require(0 < self.held_out < 1, "held_out", "a share of images in (0, 1)", self.held_out)
        _require(self.batch_size >= 1, "batch_size", "at least one image", self.batch_size)
        if self.selection == "n_of_m" and self.layer_shares:
            raise InputError(
                "N:M selection has one share, N / M",
                got=f"shares of {', '.join(self.layer_shares)}",
                key="neni.layer_shares",
                fix="leave layer_shares out, or select by top_k",
            )

    def share_of(self, layer: str) -> float:
        """The essential share that is asked for in a layer."""
        if self.selection == "n_of_m":
            return self.group[0] / self.group[1]
        return self.layer_shares.get(layer, self.share)

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        plain = asdict(self)
        return plain | {
            "layer_shares": dict(self.layer_shares),
            "group": list(self.group),
            "exact_layers": None if self.exact_layers is None else list(self.exact_layers),
        }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(holds: bool, name: str, rule: str, got: object) -> None:
    if not holds:
        raise InputError(rule, got=got, key=f"neni.{name}")
