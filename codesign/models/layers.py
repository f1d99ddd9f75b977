"""What a traced model is made of: multiply-accumulate layers, memory traffic, and how each operator was treated.

Nothing here imports torch, so that the accelerator side can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

__all__ = ["Coverage", "Layer", "LayerKind", "Operand", "TracedModel", "Traffic", "TrafficKind"]

LayerKind = Literal["conv", "conv_transposed", "linear", "matmul"]
TrafficKind = Literal[
    "activation", "batch_norm", "norm", "pooling", "residual", "softmax", "elementwise", "data_movement"
]
Treatment = Literal["modelled", "ignored", "unsupported"]


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of a layer: where it comes from and its shape (per sample; a weight has no sample axis).

    Args:
        shape: as the operator takes it, without the batch, for conv and linear: inputs (C, H, W), (C, L) or (..., C),
            weights as in the state_dict. Operands of a matmul have the canonical shapes (G, N, C) and (G, C, M).
        parameter: the state_dict key of a weight; None for an activation.
        computed: a weight that forward computes from parameters (pruning masks, weight normalisation, W.t()); it is the
            same for every sample and has no key of its own.
    """

    shape: tuple[int, ...]
    parameter: str | None = None
    computed: bool = False

    @property
    def constant(self) -> bool:
        """Whether the operand is the same for every sample (a weight), not an activation."""
        return self.computed or self.parameter is not None


@dataclass(frozen=True, slots=True)
class Layer:
    """One multiply-accumulate operator with exact shapes, for one sample (batch 1).

    The loop nest is N, G, M, C, P, Q, R, S as in Timeloop: G groups, M output channels and C input channels *of one
    group*, P x Q output rows x columns, R x S kernel rows x columns. A linear layer on (..., d) has N = number of
    vectors; a batched matmul (B, n, d) x (B, d, m) has G = B, N = n, C = d, M = m. A 1-D convolution has Q = S = 1.

    Args:
        name: unique; the module path, with "#2" for its second use; a functional operator is named after its module and
            itself ("blocks.0.attn.matmul"), the two products of attention end in ".qk" and ".av".
        kind: which operator. In ``conv_transposed`` P x Q are the *input* rows x columns and the output is scattered to
            (stride * p + dilation * r - padding): the multiply-accumulates that are needed, none on inserted zeros.
        bounds: N, G, M, C, P, Q, R, S.
        stride, dilation: (rows, columns).
        padding: ((top, bottom), (left, right)) of the input, zeros.
        inputs: the activation operand (for matmul: the left one).
        weights: the weight (for matmul: the right activation, or the weight, which is always put on the right).
        outputs: shape of the result; (G, N, M) for a matmul.
        module: path of the innermost module whose forward runs the operator, "" for the model itself.
    """

    name: str
    kind: LayerKind
    bounds: tuple[int, int, int, int, int, int, int, int]
    inputs: Operand
    weights: Operand
    outputs: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    module: str = ""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample, padding positions included (as every accelerator loop nest counts)."""
        return prod(self.bounds)


@dataclass(frozen=True, slots=True)
class Traffic:
    """An operator that moves data without multiply-accumulates: words read and written for one sample.

    ``batch_norm`` is apart from the other norms: at inference it is a per-channel affine map with constants.
    """

    name: str
    kind: TrafficKind
    words_read: int
    words_written: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an operator occurs and how it is treated; ``reason`` says why it may be ignored."""

    operator: str
    count: int
    treatment: Treatment
    reason: str


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A model as layers in execution order, memory traffic, and the coverage of every operator."""

    layers: tuple[Layer, ...]
    traffic: tuple[Traffic, ...]
    coverage: tuple[Coverage, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)
