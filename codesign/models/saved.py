"""A network in two files: a description (JSON) and its weights (safetensors) beside it. Neither holds code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from codesign.errors import InputError
from codesign.models.description import DescribedNetwork, describe
from codesign.models.normalization import Normalization, Normalized

__all__ = ["DEFENDED_FORMAT", "NETWORK_FILE", "SavedNetwork", "holds_defended", "read_network", "save_network"]

NETWORK_FILE = "network.json"
DEFENDED_FORMAT = "codesign-neni"
"""Format of a defended network's file, which ``codesign.defenses.neni.saving`` reads."""
_FORMAT = "codesign-network"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class SavedNetwork:
    """What a network file says; the weights are still to be loaded from ``weights``.

    Args:
        network: without its normalisation, initialised at random.
        input_shape: channels, height, width.
        normalization: that goes in front of it, if any.
        weights: the safetensors file.
        weights_sha256: of that file when it was written.
        sha256: of the network file itself.
        origin: where the network comes from, as its writer put it.
    """

    network: DescribedNetwork
    input_shape: tuple[int, int, int]
    normalization: Normalization | None
    weights: Path
    weights_sha256: str
    sha256: str
    origin: dict[str, Any]


def save_network(
    path: Path, module: nn.Module, input_shape: tuple[int, int, int], *, origin: Mapping[str, Any]
) -> Path:
    """Write ``path`` (.json) and the weights beside it (.safetensors); returns ``path``.

    Args:
        path: ends in .json; its folder must exist.
        module: a network, or one behind ``Normalized``.
        input_shape: channels, height, width.
        origin: for the record: what it was made from and how.

    Raises:
        InputError: the network cannot be described (see ``describe``).
    """
    network = module.network if isinstance(module, Normalized) else module
    content = describe(network)
    weights = path.with_suffix(".safetensors")
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, weights)
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "input_shape": list(input_shape),
        "normalization": module.normalization.record() if isinstance(module, Normalized) else None,
        "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "origin": dict(origin),
        **content,
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def holds_defended(path: Path) -> bool:
    """Whether a file is that of a defended network. One that cannot be read is not, and its reader says why."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == DEFENDED_FORMAT


def read_network(path: Path) -> SavedNetwork:
    """Read what ``save_network`` wrote.

    Raises:
        InputError: unreadable or damaged file, another format or version, or a description that is incomplete.
    """
    try:
        text = path.read_bytes()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError("the network file must be readable JSON", got=got, path=path, key="--model") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT or document.get("version") != _VERSION:
        raise InputError(
            f"the network file must have format {_FORMAT}, version {_VERSION}",
            got=document.get("format") if isinstance(document, dict) else type(document).__name__,
            path=path,
            key="--model",
            fix="name the network.json that codesign prune wrote, or the neni.json of codesign train",
        )
    try:
        channels, height, width = document["input_shape"]
        stated = document["normalization"]
        normalization = (
            None if stated is None else Normalization(tuple(stated["mean"]), tuple(stated["std"]), stated["source"])
        )
        weights, digest = path.parent / document["weights"]["file"], str(document["weights"]["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "the network file must be complete", got=f"{type(error).__name__}: {error}", path=path, key="--model"
        ) from error
    return SavedNetwork(
        network=DescribedNetwork(document),
        input_shape=(int(channels), int(height), int(width)),
        normalization=normalization,
        weights=weights,
        weights_sha256=digest,
        sha256=hashlib.sha256(text).hexdigest(),
        origin=dict(document.get("origin", {})),
    )
