"""What was taken out of a pruned network, read from its own file, and which model of the run it was pruned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codesign.evaluation.record import ModelRecord

__all__ = ["PrunedLayer", "PruningRecord", "pruning_from_json", "with_pruning"]


@dataclass(frozen=True, slots=True)
class PrunedLayer:
    """A layer that was pruned, by the name that the record's ``layers`` have for it.

    ``kind`` is what ``before`` and ``after`` count: filters, or weights that are not zero.
    """

    layer: str
    kind: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class PruningRecord:
    """How a model was pruned.

    ``parent`` is the source of the network that it was pruned from; ``parent_model`` names it if it was evaluated in
    the same run. ``config`` and ``finetuning`` (None: the weights are as pruning left them) are the settings of the run
    that pruned it, ``left_out`` the layers that were not pruned with the reason. ``parent_macs`` is by layer.
    """

    parent: Mapping[str, Any]
    parent_model: str | None
    config: Mapping[str, Any]
    finetuning: Mapping[str, Any] | None
    layers: tuple[PrunedLayer, ...] = ()
    left_out: Mapping[str, str] | None = None
    parent_macs: Mapping[str, int] | None = None


def pruning_from_json(data: Mapping[str, Any] | None) -> PruningRecord | None:
    """What ``Record.to_json`` made of it."""
    if data is None:
        return None
    return PruningRecord(**(dict(data) | {"layers": tuple(PrunedLayer(**layer) for layer in data["layers"])}))


def with_pruning(models: Sequence[ModelRecord]) -> tuple[ModelRecord, ...]:
    """The models of a run, those that were pruned with what their file says of it.

    A model with a defence around it counts as pruned if the network inside was; its parent is then the other network
    with the same defence, or else as it is.
    """
    return tuple(replace(model, pruning=_pruning(model, models)) for model in models)


def _pruning(model: ModelRecord, models: Sequence[ModelRecord]) -> PruningRecord | None:
    origin = _network(model.source).get("origin", {})
    if not isinstance(origin, Mapping) or "pruning" not in origin or "original" not in origin:
        return None
    parent = origin["original"]
    names = {layer.name for layer in model.layers}
    return PruningRecord(
        parent=parent,
        parent_model=_parent(model, parent, models),
        config=origin["pruning"],
        finetuning=origin.get("finetuning"),
        layers=tuple(
            PrunedLayer(_traced_name(entry["layer"], names), entry["kind"], entry["before"], entry["after"])
            for entry in origin.get("layers", ())
        ),
        left_out=origin.get("left_out"),
        parent_macs=origin.get("original_macs"),
    )


def _network(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The source of the network inside a defence, or the source itself."""
    base = source.get("base")
    return base if source.get("kind") == "defended" and isinstance(base, Mapping) else source


def _traced_name(layer: str, traced: set[str]) -> str:
    """The record's name of a layer: with a normalisation in front of it, a network is the submodule ``network``."""
    inside = f"network.{layer}"
    return inside if inside in traced and layer not in traced else layer


def _parent(model: ModelRecord, parent: Mapping[str, Any], models: Sequence[ModelRecord]) -> str | None:
    wanted = _identity(parent)
    found = [other for other in models if other is not model and wanted and _identity(_network(other.source)) == wanted]
    alike = [other for other in found if _defense(other.source) == _defense(model.source)]
    plain = [other for other in found if _defense(other.source) is None]
    return next((other.name for other in (*alike, *plain)), None)


def _defense(source: Mapping[str, Any]) -> object:
    return source.get("settings") if source.get("kind") == "defended" else None


def _identity(source: Mapping[str, Any]) -> tuple[object, ...] | None:
    """What makes two networks the same: their weights' hash, or the seed that made them. None if neither is known."""
    weights = source.get("weights", {})
    if "sha256" in weights:
        return ("sha256", weights["sha256"])
    if weights.get("kind") == "random":
        return ("random", source.get("factory"), weights.get("seed"))
    return None
