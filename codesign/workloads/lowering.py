"""Layers as Timeloop problems: one loop nest for every multiply-accumulate operator."""

from __future__ import annotations

from codesign.accelerator.spec.density import DENSE, Density, Hypergeometric
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.models.layers import Layer

__all__ = ["DIMENSIONS", "problem", "shape_key"]

DIMENSIONS = ("N", "G", "M", "C", "P", "Q", "R", "S")
_N, _G, _M, _C, _P, _Q, _R, _S = range(8)


def problem(
    layer: Layer,
    *,
    input_density: float | Density | None = None,
    weight_density: float | Density | None = None,
    batch: int = 1,
) -> Problem:
    """The loop nest N, G, M, C, P, Q, R, S of a layer with dataspaces Weights, Inputs, Outputs (in that order).

    Projections (h, w: rows, columns; x stride, + dilation as in the layer)::

        Weights[G, C, M, R, S]
        Inputs [N, G, C, R*dilation_h + P*stride_h, S*dilation_w + Q*stride_w]
        Outputs[N, G, M, P, Q]                                                  read-write

    A transposed convolution iterates over its *input* pixels P x Q, so that the sliding window is in the Outputs:
    Inputs[N, G, C, P, Q], Outputs[N, G, M, R*dilation_h + P*stride_h, S*dilation_w + Q*stride_w]. A linear layer and a
    batched matrix product use the same nest with P = Q = R = S = 1; Weights are the right operand.

    **Padding is not modelled** (Timeloop does not either): the extent of the sliding operand is derived,
    ``(R - 1) * dilation + (P - 1) * stride + 1`` rows, which is the padded input as far as the kernel touches it.
    Multiply-accumulates on padding count, and padding is stored and moved like any other value.

    A density given as a number is a measured share of nonzeros and becomes ``Hypergeometric``: all that is known is
    how many nonzeros the tensor has, so every placement is taken as equally likely, and small tiles vary as they do in
    real unstructured masks. ``FixedStructured`` would claim that every tile holds exactly that share, which is true of
    N:M pruning only; pass the model itself where it is known. The density is that of the derived extent.

    Args:
        layer: shapes for one sample.
        input_density, weight_density: share of nonzeros in [0, 1] or a density model; None is dense.
        batch: samples. They go to N; a product of two activations has one right operand a sample, so there to G.

    Raises:
        ValueError: ``batch`` is not positive, or a density is outside [0, 1].
    """
    if batch < 1:
        raise ValueError(f"problem: batch must be at least 1 (got {batch!r})")
    bounds = list(layer.bounds)
    own_right_operand = layer.kind == "matmul" and not layer.weights.constant
    bounds[_G if own_right_operand else _N] *= batch
    weights = Dataspace("Weights", tuple((Term(d),) for d in (_G, _C, _M, _R, _S)))
    rows = (Term(_R, layer.dilation[0]), Term(_P, layer.stride[0]))
    columns = (Term(_S, layer.dilation[1]), Term(_Q, layer.stride[1]))
    pixels: tuple[tuple[Term, ...], ...] = ((Term(_P),), (Term(_Q),))
    window: tuple[tuple[Term, ...], ...] = (rows, columns)
    source, target = (pixels, window) if layer.kind == "conv_transposed" else (window, pixels)
    inputs = Dataspace("Inputs", ((Term(_N),), (Term(_G),), (Term(_C),), *source))
    outputs = Dataspace("Outputs", ((Term(_N),), (Term(_G),), (Term(_M),), *target), read_write=True)
    return Problem(
        name=layer.name,
        dimensions=DIMENSIONS,
        bounds=tuple(bounds),
        dataspaces=(weights, inputs, outputs),
        densities=(_density(weight_density), _density(input_density), DENSE),
    )


def _density(given: float | Density | None) -> Density:
    if given is None:
        return DENSE
    if not isinstance(given, int | float):
        return given
    # A tensor without zeros is dense under every model; one spelling makes such problems equal.
    return DENSE if given == 1.0 else Hypergeometric(float(given))


def shape_key(problem: Problem, *, densities: bool = True) -> str:
    """A text that is equal for two problems exactly if every engine must answer the same for both.

    The name is left out, and so is what cannot matter: the coefficient (stride, dilation) of a dimension of bound 1
    and the order of the terms of a rank. Use it to map and simulate identical layers once.

    Args:
        densities: False for a key of the loop nest alone, e.g. for a mapping that is found without densities.
    """
    bounds = ",".join(f"{name}={bound}" for name, bound in zip(problem.dimensions, problem.bounds, strict=True))
    parts = [bounds]
    for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True):
        ranks = ",".join(_rank_key(problem, rank) for rank in dataspace.ranks)
        sparsity = f"~{density!r}" if densities else ""
        parts.append(f"{dataspace.name}[{ranks}]{'=' if dataspace.read_write else ''}{sparsity}")
    return ";".join(parts)


def _rank_key(problem: Problem, rank: tuple[Term, ...]) -> str:
    terms = []
    for term in sorted(rank, key=lambda term: (term.dimension, term.coefficient)):
        coefficient = term.coefficient if problem.bounds[term.dimension] > 1 else 1
        terms.append(problem.dimensions[term.dimension] + (f"*{coefficient}" if coefficient != 1 else ""))
    return "+".join(terms)
