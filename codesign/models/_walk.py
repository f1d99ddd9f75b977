"""One walk over an exported graph: what every operator is, what it depends on, and where the samples are in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from codesign.models import _aten
from codesign.models._batch import SampleShape, UnsupportedError, measure
from codesign.models._lowering import LOWERINGS, Lowered
from codesign.models._samples import check_axes, located
from codesign.models.layers import TrafficKind

__all__ = ["FOLLOWS", "Finding", "Value", "Walk", "tensors_in"]

FOLLOWS = "it uses the result of an unsupported operator"


@dataclass(slots=True)
class Value:
    """What is known of a node's result: its shapes (one a tensor), and whether it differs between samples.

    ``key`` is the state_dict key where the value is a parameter or buffer itself; ``base`` the node whose memory it may
    share; ``lost`` where an unsupported operator left no samples to follow.
    """

    shapes: tuple[SampleShape, ...]
    varies: bool
    key: str | None = None
    base: fx.Node | None = None
    lost: bool = False

    @property
    def has_no_batch(self) -> bool:
        """Whether a result lacks the batch; an empty one (a statistic that an operator leaves out) does not count."""
        return any(shape.batch is None and shape.words > 0 for shape in self.shapes)


@dataclass(frozen=True, slots=True)
class Moved:
    """Words that an operator reads and writes for one sample."""

    kind: TrafficKind
    words_read: int
    words_written: int
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """How one node is treated: layers, words moved, ignored for a reason, or unsupported for a reason."""

    node: fx.Node
    treatment: Literal["modelled", "ignored", "unsupported"]
    reason: str
    layers: tuple[Lowered, ...] = ()
    traffic: tuple[Moved, ...] = ()


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a result, of whatever nesting."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, tuple | list) else []


@dataclass
class Walk:
    """An exported program and the values of its nodes so far; ``findings`` walks it once."""

    program: ExportedProgram
    ignore: Collection[str] = ()
    values: dict[fx.Node, Value] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        """Every operator of the graph in execution order."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                stored = spec.kind in (InputKind.PARAMETER, InputKind.BUFFER)
                varies = spec.kind == InputKind.USER_INPUT
                self.values[node] = Value(self._measured(node), varies, spec.target if stored else None)
            elif node.op == "call_function":
                yield self._visit(node)

    def shape(self, node: fx.Node) -> SampleShape:
        """The shape of a tensor for one sample."""
        return self.values[node].shapes[0]

    @cached_property
    def _batch_size(self) -> Any:
        names = set(self.program.graph_signature.user_inputs)
        image = next(node for node in self.program.graph.nodes if node.name in names)
        return image.meta["val"].shape[0].node.expr

    def _measured(self, node: fx.Node) -> tuple[SampleShape, ...]:
        return tuple(measure(tensor.shape, self._batch_size) for tensor in tensors_in(node.meta.get("val")))

    def _visit(self, node: fx.Node) -> Finding:
        known = [one for one in node.all_input_nodes if one in self.values]
        operands = [one for one in known if self.values[one].shapes or self.values[one].lost]
        named = not {_aten.operator_name(node), str(node.target), _aten.base_name(node)}.isdisjoint(self.ignore)
        constant = _aten.base_name(node) in _aten.FACTORIES
        varies = not constant and any(self.values[operand].varies for operand in operands)
        try:
            value = self._value(node, operands, varies)
            finding = self._classified(node, operands, value) if not named else None
        except UnsupportedError as error:
            value = self.values.get(node) or Value((), varies)
            value.lost = not value.shapes or value.has_no_batch
            self.values[node] = value
            finding = Finding(node, "unsupported", str(error))
        if named:
            return Finding(node, "ignored", "named by the user")
        assert finding is not None  # only left out for a named operator
        return finding

    def _value(self, node: fx.Node, operands: list[fx.Node], varies: bool) -> Value:
        """What the result depends on and where its samples are."""
        if any(self.values[operand].lost for operand in operands) and self._measured(node):
            raise UnsupportedError(FOLLOWS)
        name = _aten.base_name(node)
        if name == "getitem" and operands:
            parts = self.values[operands[0]].shapes
            value = Value((parts[cast(int, node.args[1])],), varies, base=operands[0])
        else:
            like = [one for one in operands if self.values[one].varies == varies and self.values[one].shapes]
            given = [self.shape(one) for one in like]
            shapes = tuple(located(name, shape, given, varies) for shape in self._measured(node))
            noise = name in _aten.RANDOM and any(shape.batch is not None for shape in shapes)
            written = _aten.mutated(node)
            base = operands[0] if operands and (name in _aten.VIEWS or written) else None
            value = Value(shapes, varies or noise, base=base)
            for tensor in written:
                self._written(tensor, varies or noise)
        self.values[node] = value
        return value

    def _written(self, node: fx.Node | None, varies: bool) -> None:
        """An in-place operator wrote to a tensor: what shares its memory is no longer a parameter and may vary."""
        while node is not None and node in self.values:
            value = self.values[node]
            value.varies, value.key = value.varies or varies, None
            node = value.base

    def _classified(self, node: fx.Node, operands: list[fx.Node], value: Value) -> Finding:
        name = _aten.base_name(node)
        if not value.varies:
            if value.shapes or name in _aten.IGNORED:
                return Finding(node, "ignored", _aten.IGNORED.get(name, "the same for every input: computed once"))
            return Finding(node, "ignored", "arithmetic on sizes")
        if name in _aten.IGNORED and not value.shapes:
            return Finding(node, "ignored", _aten.IGNORED[name])
        self._check_samples_stay_apart(node, operands, value)
        if name in LOWERINGS:
            layers = tuple(LOWERINGS[name](node, self.shape))
            return Finding(node, "modelled", "multiply-accumulates", layers, _softmax_within(layers))
        if name in _aten.IGNORED:
            return Finding(node, "ignored", _aten.IGNORED[name])
        return self._without_products(node, name, operands)

    def _check_samples_stay_apart(self, node: fx.Node, operands: list[fx.Node], value: Value) -> None:
        if not value.shapes:
            raise UnsupportedError("its result is a number that depends on the data")
        for operand in operands:
            if self.values[operand].varies and self.values[operand].has_no_batch:
                raise UnsupportedError("it follows an operator that lost the batch")
        if value.has_no_batch:
            raise UnsupportedError("it combines the samples of a batch into one result")
        if operands:
            check_axes(node, self.shape(operands[0]), value.shapes[0])

    def _without_products(self, node: fx.Node, name: str, operands: list[fx.Node]) -> Finding:
        kind = _aten.TRAFFIC.get(name)
        if name in _aten.CONVERSIONS:
            kind = "elementwise"
            if node.meta["val"].dtype == operands[0].meta["val"].dtype:
                return Finding(node, "ignored", "a conversion to the type that the tensor has")
        if not isinstance(node.target, torch._ops.OpOverload):
            raise UnsupportedError("a region with a graph of its own (autocast, control flow)")
        if kind is None:
            raise UnsupportedError("no model for this operator")
        if name.endswith("dropout") and not _aten.arguments(node)["train"]:
            return Finding(node, "ignored", "dropout passes a tensor on unchanged in evaluation")
        moved = Moved(self._refined(name, kind, operands), *self._words(node, name, operands))
        return Finding(node, "modelled", f"memory traffic: {moved.kind}", traffic=(moved,))

    def _refined(self, name: str, kind: TrafficKind, operands: list[fx.Node]) -> TrafficKind:
        """An addition of two activations of one size is a residual; max and min of two tensors are elementwise."""
        if name in {"max", "min"} and len(operands) > 1:
            return "elementwise"
        activations = [self.shape(operand).words for operand in operands if self.values[operand].varies]
        return "residual" if name == "add" and len(activations) == 2 and len(set(activations)) == 1 else kind

    def _words(self, node: fx.Node, name: str, operands: list[fx.Node]) -> tuple[int, int]:
        """(read, written) for one sample."""
        written = sum(shape.words for shape in self._used(node))
        if name in _aten.GATHERS:
            return written + sum(self.shape(operand).words for operand in operands[1:]), written
        overwritten = name in _aten.WRITES_ONLY and _aten.mutated(node)
        return sum(self.shape(operand).words for operand in operands[1 if overwritten else 0 :]), written

    def _used(self, node: fx.Node) -> list[SampleShape]:
        """The results that something uses (of an operator with several, such as topk)."""
        shapes = self.values[node].shapes
        if isinstance(node.meta.get("val"), Tensor):
            return [shapes[0]]
        picks = {cast(int, user.args[1]) for user in node.users if _aten.base_name(user) == "getitem" and user.users}
        return [shapes[index] for index in sorted(picks)]


def _softmax_within(layers: tuple[Lowered, ...]) -> tuple[Moved, ...]:
    """Attention is two products; the softmax between them reads and writes every score once."""
    if len(layers) == 1:
        return ()
    groups, rows, columns = layers[0].outputs
    words = groups * rows * columns
    return (Moved("softmax", words, words, "softmax"),)
