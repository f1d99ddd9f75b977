"""Runs a traced model and shows the operands of its layers as they are when each layer runs.

The exported graph itself is interpreted, so that functional operators are seen like modules, and a layer cannot be
taken for another: each belongs to one node of the graph.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from codesign.errors import InputError
from codesign.models._aten import RANDOM, arguments, base_name
from codesign.models._export import evaluation_mode
from codesign.models._walk import tensors_in
from codesign.models.tracing import GraphTrace, Site

__all__ = ["Visitor", "is_deterministic", "run", "verify"]

Visitor = Callable[[Site, Tensor, Tensor], None]
"""Called with a layer's site and its operands: inputs (samples, *shape), weights too, unless they are constant."""


class _Interpreter(fx.Interpreter):
    def __init__(self, graph: GraphTrace, samples: int, visit: Visitor) -> None:
        super().__init__(graph.program.graph_module)
        self.extra_traceback = False
        self._samples = samples
        self._visit = visit
        self._sites: Mapping[fx.Node, list[Site]] = defaultdict(list)
        for site in graph.sites:
            self._sites[site.node].append(site)

    def run_node(self, n: fx.Node) -> Any:
        """Shows the operands just before the layer's own operator runs: a later one may overwrite them in place."""
        for site in self._sites.get(n, ()):
            inputs, weights = (source.read(self.env, self._samples) for source in (site.inputs, site.weights))
            self._visit(site, inputs, weights)
        return super().run_node(n)


def _stored(program: ExportedProgram) -> list[Tensor | None]:
    """The graph's inputs in order: parameters, buffers and constants; None where the image goes."""
    values: list[Tensor | None] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT or spec.target is None:
            values.append(None)
        elif spec.target in program.state_dict:
            values.append(program.state_dict[spec.target])
        else:
            values.append(program.constants[spec.target])
    return values


def run(
    graph: GraphTrace, images: Tensor, visit: Visitor, *, cast: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> list[Tensor]:
    """The outputs for a batch (one tensor for most models); ``visit`` is called for every layer in execution order.

    Args:
        graph: from ``trace_graph``, for a module that has its weights (not on the meta device).
        images: (batch, channels, height, width), on the module's device.
        visit: see ``Visitor``. It must not change the operands.
        cast: what becomes of images, parameters and constants first.
    """
    inputs = [cast(images if value is None else value) for value in _stored(graph.program)]
    with torch.no_grad():
        return tensors_in(_Interpreter(graph, len(images), visit).run(*inputs))


def is_deterministic(graph: GraphTrace) -> bool:
    """Whether the same images give the same outputs: no operator of the graph draws random numbers."""
    for node in graph.program.graph.nodes:
        name = base_name(node) if node.op == "call_function" else ""
        if name in RANDOM or (name.endswith("dropout") and arguments(node)["train"]):
            return False
        if name == "scaled_dot_product_attention" and arguments(node)["dropout_p"] > 0:
            return False
    return True


def verify(graph: GraphTrace, module: nn.Module, images: Tensor, outputs: list[Tensor]) -> None:
    """Raises InputError where the graph's outputs for ``images`` are not those of the module itself.

    That happens when a module does something in Python that the graph cannot hold, such as counting its calls. A model
    that draws random numbers cannot be compared and is passed over. One that rounds or selects makes whole steps of the
    last bits of its sums, so that where float32 differs, float64 decides.
    """
    if not is_deterministic(graph):
        return
    gap = _gap(outputs, _answers(module, images))
    if gap is not None and not _agree_in_float64(graph, module, images):
        raise InputError(
            "the traced graph must compute what the model computes",
            got=f"outputs that differ by {gap}",
            key="model",
            fix="a forward pass must not depend on Python state that changes from call to call",
        )


def _answers(module: nn.Module, images: Tensor) -> list[Tensor]:
    with evaluation_mode(module), torch.no_grad():
        return tensors_in(module(images))


def _gap(ours: list[Tensor], theirs: list[Tensor]) -> str | None:
    """How far outputs are apart; None where they agree."""
    for one, other in zip(ours, theirs, strict=True):
        if one.shape != other.shape:
            return "their shapes"
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            return f"{(one - other).abs().max().item():.3g}"
    return None


def _agree_in_float64(graph: GraphTrace, module: nn.Module, images: Tensor) -> bool:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    try:
        ours = run(graph, images, lambda *_: None, cast=cast)
        theirs = _answers(copy.deepcopy(module).double(), images.double())
    except RuntimeError:  # torch's word for an operator that does not take float64: what float32 says stands
        return False
    return _gap(ours, theirs) is None
