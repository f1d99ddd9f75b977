"""A defended network in two files: what it is (``neni.json``) and its tensors beside it (safetensors). Neither is code.

The first names the base network (a zoo name, or a description of its modules and steps), the settings, and for every
defended layer its k, its selector with the threshold, and what was measured of it. So a defended network loads, and is
evaluated, without the session that made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from codesign.defenses.neni.bitops import BitOps
from codesign.defenses.neni.defending import DefendedLayerReport, DefendedModel
from codesign.defenses.neni.layers import LayerPlan
from codesign.defenses.neni.measurement import Quality
from codesign.defenses.neni.selection import NofM, Selector, Threshold, TopK
from codesign.defenses.neni.settings import NeniSettings
from codesign.defenses.neni.wrapping import base_key, defended_layers, rewrap
from codesign.errors import InputError
from codesign.models.checkpoints import load_weights, read_checkpoint
from codesign.models.description import DescribedNetwork, describe
from codesign.models.loading import LoadedModel
from codesign.models.normalization import Normalization, Normalized
from codesign.models.saved import DEFENDED_FORMAT
from codesign.models.zoo import zoo_entry
from codesign.store import write_json
from codesign.training.state import write_atomically

__all__ = ["DEFENDED_FILE", "SavedDefence", "load_defended", "save_defended"]

DEFENDED_FILE = "neni.json"
_VERSION = 1


@dataclass(frozen=True)
class SavedDefence:
    """A defended network from disk.

    Args:
        path: of its JSON file.
        defended: as it was saved, in eval mode.
        base: the exact network with the same weights (those after fine-tuning); it shares the tensors of ``defended``.
        origin: what it was made from and how, as its writer put it.
        source: for the record: names and sha256 of both files, base, settings, origin.
    """

    path: Path
    defended: DefendedModel
    base: LoadedModel
    origin: dict[str, Any]
    source: dict[str, Any]

    def loaded(self) -> LoadedModel:
        """The defended network as ``load_model`` returns it."""
        base = self.base
        return LoadedModel(
            name=str(self.path),
            module=self.defended.module,
            input_shape=base.input_shape,
            num_classes=base.num_classes,
            normalization=base.normalization,
            source=self.source,
        )


def save_defended(
    folder: Path, defended: DefendedModel, base: LoadedModel, *, origin: Mapping[str, Any] | None = None
) -> Path:
    """Write ``neni.json`` and ``neni.safetensors`` into a folder; returns the path of the first.

    Args:
        folder: made where it does not exist; files of the same names are replaced.
        defended: from ``defend`` or ``finetune_defended``.
        base: the network that it was made from; of it, only its structure and its source are written.
        origin: for the record: what it was made from and how. JSON types.

    Raises:
        InputError: the base network is no zoo network and cannot be described (see ``describe``).
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = _bare(defended.module)
    path, weights = folder / DEFENDED_FILE, folder / f"{Path(DEFENDED_FILE).stem}.safetensors"
    layers = {layer.plan.name: layer for layer in defended_layers(network)}
    document = {
        "format": DEFENDED_FORMAT,
        "version": _VERSION,
        "base": _base_record(base),
        "settings": defended.settings.record(),
        "layers": [report.record() | _plan_record(layers[report.name].plan) for report in defended.layers],
        "exact_layers": dict(defended.exact),
        "origin": dict(origin or {}),
    }
    state = {
        key: (value.to(torch.int8) if key.endswith(".projection") else value).detach().cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    write_atomically(weights, lambda temporary: save_file(state, temporary))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    write_json(path, document | {"weights": {"file": weights.name, "sha256": digest}})
    return path


def _bare(module: nn.Module) -> nn.Module:
    return module.network if isinstance(module, Normalized) else module


def _base_record(base: LoadedModel) -> dict[str, Any]:
    normalization = base.module.normalization.record() if isinstance(base.module, Normalized) else None
    common = {
        "name": base.name,
        "input_shape": list(base.input_shape),
        "num_classes": base.num_classes,
        "normalization": normalization,
        "source": base.source,
    }
    if base.source.get("kind") == "zoo":
        return common | {"zoo": base.source["factory"]}
    return common | {"description": describe(_bare(base.module))}


def _plan_record(plan: LayerPlan) -> dict[str, Any]:
    selector = plan.selector
    if isinstance(selector, Threshold):
        # JSON has no infinity; minus infinity makes every neuron essential.
        value = None if selector.value == -torch.inf else selector.value
        return {"selector": {"rule": "threshold", "value": value}}
    rule = "top_k" if isinstance(selector, TopK) else "n_of_m"
    return {"selector": {"rule": rule, **asdict(selector)}}  # type: ignore[call-overload]


def load_defended(path: Path) -> SavedDefence:
    """Read what ``save_defended`` wrote.

    Raises:
        InputError: unreadable or damaged files, another format or version, weights of another network.
    """
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError("the file must be readable JSON", got=got, path=path, key="--model") from error
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (
        DEFENDED_FORMAT,
        _VERSION,
    ):
        raise InputError(
            f"the file must have format {DEFENDED_FORMAT}, version {_VERSION}",
            got=document.get("format") if isinstance(document, dict) else type(document).__name__,
            path=path,
            key="--model",
            fix=f"name the {DEFENDED_FILE} that codesign train --defense neni wrote",
        )
    try:
        return _from_document(document, path, hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "the file must be complete",
            got=f"{type(error).__name__}: {error}",
            path=path,
            key="--model",
            fix="it is damaged or was edited; save the network again",
        ) from error


def _from_document(document: dict[str, Any], path: Path, digest: str) -> SavedDefence:
    stated, weights = document["base"], path.parent / document["weights"]["file"]
    normalization = _normalization(stated["normalization"])
    settings = _settings(document["settings"])
    module, exact = (_behind(_network(stated), normalization) for _ in range(2))
    rewrap(module, {entry["path"]: _plan(entry, settings) for entry in document["layers"]})
    network = _bare(module)
    read = read_checkpoint(weights)
    if read.sha256 != document["weights"]["sha256"]:
        raise InputError(
            f"the weights beside {path.name} must be those that it was written with",
            got=f"sha256 {read.sha256[:12]} instead of {document['weights']['sha256'][:12]}",
            path=weights,
            key="--model",
            fix="they belong to another network, or are damaged; get both files again",
        )
    load_weights(network, read)
    state = {base_key(network, key): value for key, value in network.state_dict().items()}
    _bare(exact).load_state_dict({key: state[key] for key in _bare(exact).state_dict()}, assign=True)
    channels, height, width = stated["input_shape"]
    base = LoadedModel(
        name=stated["name"],
        module=exact,
        input_shape=(int(channels), int(height), int(width)),
        num_classes=int(stated["num_classes"]),
        normalization=normalization,
        source=stated["source"] | {"defended": {"path": str(path), "sha256": digest}},
    )
    defended = DefendedModel(
        module.eval(),
        settings,
        tuple(_report(entry) for entry in document["layers"]),
        tuple(document["exact_layers"].items()),
    )
    source = {
        "kind": "defended",
        "factory": path.name,
        "description": {"path": str(path), "sha256": digest},
        "weights": {"kind": "file", "path": str(weights), "sha256": read.sha256, "format": read.format},
        "base": stated["source"],
        "settings": settings.record(),
        "origin": document["origin"],
        "normalization": stated["source"].get("normalization"),
    }
    return SavedDefence(path, defended, base, dict(document["origin"]), source)


def _network(stated: Mapping[str, Any]) -> nn.Module:
    """The base network without weights."""
    with torch.device("meta"):
        if "zoo" not in stated:
            return DescribedNetwork(stated["description"])
        return zoo_entry(stated["zoo"]).factory(int(stated["num_classes"]))


def _normalization(stated: Mapping[str, Any] | None) -> Normalization | None:
    return None if stated is None else Normalization(tuple(stated["mean"]), tuple(stated["std"]), stated["source"])


def _behind(network: nn.Module, normalization: Normalization | None) -> nn.Module:
    return network.eval() if normalization is None else Normalized(network, normalization).eval()


def _settings(stated: Mapping[str, Any]) -> NeniSettings:
    exact = stated["exact_layers"]
    return NeniSettings(
        **dict(stated) | {"group": tuple(stated["group"]), "exact_layers": None if exact is None else tuple(exact)}
    )


def _plan(entry: Mapping[str, Any], settings: NeniSettings) -> LayerPlan:
    return LayerPlan(
        name=entry["name"],
        dimension=entry["dimension"],
        selector=_selector(entry["selector"]),
        share=entry["share"],
        precision=settings.precision,
        straight_through=settings.straight_through,
        control=settings.control,
        control_bits=entry["control_bits"],
    )


def _selector(stated: Mapping[str, Any]) -> Selector:
    if stated["rule"] == "threshold":
        return Threshold(-torch.inf if stated["value"] is None else float(stated["value"]))
    kept = int(stated["kept"])
    return TopK(kept) if stated["rule"] == "top_k" else NofM(kept, int(stated["size"]))


def _report(entry: Mapping[str, Any]) -> DefendedLayerReport:
    values = {key: value for key, value in entry.items() if key != "selector"}
    quality = entry["quality"]
    values["quality"] = None if quality is None else Quality(**quality)
    return DefendedLayerReport(**values | {"bitops": BitOps(**entry["bitops"])})
