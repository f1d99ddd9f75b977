"""Layers of a defended network as an ordinary array computes them: k rounded up to whole lanes.

The Johnson-Lindenstrauss rule gives any k, 199 say, and no loop of a prime bound fits an array. As on the dual-module
design, k is rounded up to a multiple of its lanes and filled with zeros, which an array that saves zeros saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from codesign.evaluation.hardware import LayerDensities
from codesign.evaluation.subjects import Subject
from codesign.models.layers import Layer
from codesign.workloads.dual_module import padded_dimension

__all__ = ["on_arrays", "padded_densities"]

_M, _C = 2, 3


def on_arrays(subject: Subject) -> tuple[Layer, ...]:
    """The subject's layers with the loops that an array runs; names and operands are the traced ones."""
    dimensions = _dimensions(subject)
    return tuple(_padded(layer, dimensions.get(layer.name)) for layer in subject.traced.layers)


def padded_densities(subject: Subject, densities: Mapping[str, LayerDensities]) -> dict[str, LayerDensities]:
    """Densities of those layers: what is filled up is zero."""
    dimensions = _dimensions(subject)
    found = dict(densities)
    for name, (axis, dimension) in dimensions.items():
        share = dimension / padded_dimension(dimension)
        # The projection has more filters, of zeros; the approximate product more inputs, and weights for them.
        inputs = densities[name].inputs * (share if axis == _C else 1.0)
        found[name] = LayerDensities(inputs, densities[name].weights * share)
    return found


def _dimensions(subject: Subject) -> dict[str, tuple[int, int]]:
    """Of every projection and approximate product: the axis of k, and k."""
    if subject.defended is None:
        return {}
    reports = {report.path: report for report in subject.defended.model.layers}
    found: dict[str, tuple[int, int]] = {}
    for layer in subject.traced.layers:
        owner, _, part = layer.name.partition("#")[0].rpartition(".")
        if owner in reports:
            found[layer.name] = (_M if part == "projection" else _C, reports[owner].dimension)
    return found


def _padded(layer: Layer, known: tuple[int, int] | None) -> Layer:
    if known is None:
        return layer
    axis, dimension = known
    if layer.bounds[axis] != dimension:
        raise ValueError(f"padding: {layer.name} has bounds {layer.bounds}, not k = {dimension} in place {axis}")
    bounds = list(layer.bounds)
    bounds[axis] = padded_dimension(dimension)
    n, g, m, c, p, q, r, s = bounds
    return replace(layer, bounds=(n, g, m, c, p, q, r, s))
