"""A PyTorch model as multiply-accumulate layers with exact shapes, memory traffic, and a full account of its operators.

The model is exported once (torch.export) with a symbolic batch size, and every figure is for one sample. Every operator
is modelled, ignored on purpose with its reason, or unsupported; an unsupported one is an error unless the user names
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from torch import fx, nn
from torch.export import ExportedProgram

from codesign.errors import InputError, did_you_mean
from codesign.models._aten import base_name, operator_name
from codesign.models._export import export_graph
from codesign.models._lowering import GraphTensor, Lowered, OperandSource
from codesign.models._naming import Names
from codesign.models._walk import FOLLOWS, Finding, Walk
from codesign.models.layers import Coverage, Layer, Operand, TracedModel, Traffic

__all__ = ["GraphTrace", "Site", "trace", "trace_graph"]


@dataclass(frozen=True, slots=True)
class Site:
    """A layer, the graph node that computes it, and where its operands are when that node runs."""

    layer: Layer
    node: fx.Node
    inputs: OperandSource
    weights: OperandSource


@dataclass(frozen=True, slots=True)
class GraphTrace:
    """A traced model together with the graph that it was read from (which shares the module's parameters)."""

    model: TracedModel
    program: ExportedProgram
    sites: tuple[Site, ...]


def trace(module: nn.Module, input_shape: tuple[int, int, int], *, ignore: Collection[str] = ()) -> TracedModel:
    """The model's layers, traffic and coverage, for one sample and in evaluation mode.

    Args:
        module: takes one tensor (batch, *input_shape); the module of an ExportedProgram with a dynamic batch will do.
            It is not changed. On the meta device it needs no memory for weights.
        input_shape: channels, height, width.
        ignore: operators to leave out of every count ("aten.conv3d"); they stay in the coverage as named by the user.

    Raises:
        InputError: the model cannot be exported, has an unsupported operator, or lacks an operator named in ``ignore``.
    """
    return trace_graph(module, input_shape, ignore=ignore).model


def trace_graph(module: nn.Module, input_shape: tuple[int, int, int], *, ignore: Collection[str] = ()) -> GraphTrace:
    """As ``trace``, with the graph and the sites of the layers in it."""
    program = export_graph(module, input_shape)
    walk = Walk(program, ignore)
    findings = list(walk.findings())
    _check_named(findings, ignore)
    names = Names(module)
    _check_supported(findings, names)
    sites: list[Site] = []
    traffic: list[Traffic] = []
    for finding in findings:
        for lowered in finding.layers:
            sites.append(_site(finding.node, lowered, walk, names))
        for moved in finding.traffic:
            name = names.of_traffic(finding.node, moved.suffix)
            traffic.append(Traffic(name, moved.kind, moved.words_read, moved.words_written))
    model = TracedModel(tuple(site.layer for site in sites), tuple(traffic), _coverage(findings))
    return GraphTrace(model, program, tuple(sites))


def _site(node: fx.Node, lowered: Lowered, walk: Walk, names: Names) -> Site:
    inputs, weights = (_operand(node, source, walk, names) for source in (lowered.inputs, lowered.weights))
    layer = Layer(
        name=names.of_layer(node, weights, lowered.suffix),
        kind=lowered.kind,
        bounds=lowered.bounds,
        inputs=inputs,
        weights=weights,
        outputs=lowered.outputs,
        stride=lowered.stride,
        dilation=lowered.dilation,
        padding=lowered.padding,
        module=names.owner(node),
    )
    return Site(layer, node, lowered.inputs, lowered.weights)


def _operand(node: fx.Node, source: OperandSource, walk: Walk, names: Names) -> Operand:
    if source.view.source.batch is not None or not isinstance(source, GraphTensor):
        return Operand(source.view.shape)
    key = walk.values[source.node].key
    if key is None:
        return Operand(source.view.shape, computed=True)
    return Operand(source.view.shape, names.parameter(node, key))


def _coverage(findings: list[Finding]) -> tuple[Coverage, ...]:
    counts = Counter((operator_name(found.node), found.treatment, found.reason) for found in findings)
    return tuple(Coverage(name, count, treatment, reason) for (name, treatment, reason), count in counts.items())


def _check_named(findings: list[Finding], ignore: Collection[str]) -> None:
    """Raises InputError for a name in ``ignore`` that no operator has: a typing error would go unnoticed."""
    known = {operator_name(found.node) for found in findings}
    spellings = known | {name for found in findings for name in (str(found.node.target), base_name(found.node))}
    for name in ignore:
        if name not in spellings:
            raise InputError(
                "an operator to ignore must occur in the model", got=name, key="ignore", fix=did_you_mean(name, known)
            )


def _check_supported(findings: list[Finding], names: Names) -> None:
    """Raises InputError that names every unsupported operator, where it occurs, and how to leave it out."""
    unsupported = [found for found in findings if found.treatment == "unsupported"]
    if not unsupported:
        return
    causes = [found for found in unsupported if found.reason != FOLLOWS] or unsupported
    places: dict[tuple[str, str], list[str]] = {}
    for found in causes:
        places.setdefault((operator_name(found.node), found.reason), []).append(names.owner(found.node) or "forward")
    listed = "; ".join(
        f"{name} ({reason}) {len(where)}x in {', '.join(dict.fromkeys(where))}"
        for (name, reason), where in places.items()
    )
    operators = ", ".join(sorted({operator_name(found.node) for found in unsupported}))
    raise InputError(
        "every operator of a model must be modelled or left out by name",
        got=listed,
        key="model",
        fix=f"change the model, or leave them out of all counts by naming them in `ignore`: {operators}",
    )
