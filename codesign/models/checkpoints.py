"""Weights from files: reading without executing anything, and fitting keys and shapes to a network."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from codesign.errors import InputError

__all__ = ["Checkpoint", "load_weights", "read_checkpoint"]

# Where training scripts put the weights when they save more than the weights.
_NESTING = ("state_dict", "model_state_dict", "model", "net", "network")
# What wrappers put before every key: DataParallel, torch.compile, this package's Normalized.
_PREFIXES = ("module.", "_orig_mod.", "network.")
# torchvision's ViT checkpoints were written before its MLP became a Sequential.
_RENAMED = ((".mlp.linear_1.", ".mlp.0."), (".mlp.linear_2.", ".mlp.3."))
# A counter that only batch norm with momentum None reads; checkpoints older than it lack it.
_OPTIONAL = "num_batches_tracked"
_SHOWN_KEYS = 8
_SHOWN_CHARACTERS = 200
# How torch names an object that it refuses to make.
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
# Training scripts keep a best accuracy that is a NumPy scalar beside the weights. NumPy 1 and 2 name its constructor
# differently.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights by key, as a file holds them, and what the record says of the file."""

    path: Path
    weights: Mapping[str, Tensor]
    sha256: str
    format: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: ``.safetensors``, or anything that ``torch.save`` wrote (``.pt``, ``.pth``, ``.th``).

    The latter is read with ``weights_only=True``: tensors and plain containers, nothing is executed. Weights may lie
    under one of the usual keys (``state_dict``, ``model``, ``net``).

    Raises:
        InputError: unreadable or damaged file, Python objects in it, or no weights.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            "the checkpoint must be a readable file",
            got=error.strerror or str(error),
            path=path,
            key="--checkpoint",
            fix="check the path",
        ) from error
    is_safetensors = path.suffix == ".safetensors"
    weights = _parse_safetensors(content, path) if is_safetensors else _parse_torch(path)
    return Checkpoint(
        path, weights, hashlib.sha256(content).hexdigest(), "safetensors" if is_safetensors else "torch.save"
    )


def _parse_safetensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load_safetensors(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged("a complete safetensors file", path, error) from error


def _parse_torch(path: Path) -> Mapping[str, Tensor]:
    _refuse_torchscript(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _GLOBAL.search(str(error))
        if named is None:
            raise _damaged("a file that torch.save wrote", path, error) from error
        raise InputError(
            "a checkpoint must hold tensors in plain containers, no Python objects",
            got=named[1],
            path=path,
            key="--checkpoint",
            fix="save it again as torch.save(model.state_dict(), path)",
        ) from error
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        OSError,
        AssertionError,
        OverflowError,
        struct.error,
    ) as error:
        raise _damaged("a file that torch.save wrote", path, error) from error
    return _unnested(content, path)


def _refuse_torchscript(path: Path) -> None:
    """A TorchScript archive is code, which torch.load would warn of and then refuse with a page of text."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise InputError(
                "a checkpoint must hold weights only",
                got="a TorchScript archive",
                path=path,
                key="--checkpoint",
                fix="save its weights: torch.save(module.state_dict(), path)",
            )


def _damaged(what: str, path: Path, error: Exception) -> InputError:
    return InputError(
        f"the checkpoint must be {what}",
        got=_summary(error),
        path=path,
        key="--checkpoint",
        fix="it is damaged, truncated or of another kind; get it again",
    )


def _summary(error: Exception) -> str:
    """One short line of an error; torch's own are pages of advice that does not apply here."""
    if isinstance(error, pickle.UnpicklingError):
        return "an incomplete or foreign pickle"
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]


def _unnested(content: Any, path: Path) -> Mapping[str, Tensor]:
    while isinstance(content, Mapping) and not _is_weights(content):
        nested = [content[key] for key in _NESTING if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    if not isinstance(content, Mapping) or not _is_weights(content):
        got = f"keys {_listed(map(str, content)) or 'none'}" if isinstance(content, Mapping) else type(content).__name__
        raise InputError(
            f"a checkpoint must hold a mapping of keys to tensors, directly or under {', '.join(_NESTING)}",
            got=got,
            path=path,
            key="--checkpoint",
            fix="save it again as torch.save(model.state_dict(), path)",
        )
    return content


def _is_weights(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into ``network`` (which may be on the meta device), in the network's own precision.

    Raises:
        InputError: keys are missing or left over, shapes differ (each listed), or a weight is not finite.
    """
    expected = network.state_dict()
    found = _renamed(_stripped(checkpoint.weights, expected), expected)
    missing = [key for key in expected if key not in found and not key.endswith(_OPTIONAL)]
    unexpected = [key for key in found if key not in expected]
    misshaped = [
        f"{key} is {tuple(found[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if any(problems.values()):
        got = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in problems.items() if keys)
        raise InputError(
            "the checkpoint's keys and shapes must be those of the network",
            got=got,
            path=checkpoint.path,
            key="--checkpoint",
            fix="it belongs to another network or another number of classes",
        )
    fitted = {key: found[key].to(value.dtype) if key in found else _zero(value) for key, value in expected.items()}
    _check_finite(fitted, checkpoint.path)
    network.load_state_dict(fitted, assign=True)


def _stripped(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that wrappers add; a prefix stays where the network's own keys have it."""
    found = dict(weights)
    while prefix := next((p for p in _PREFIXES if found and all(key.startswith(p) for key in found)), None):
        if all(key.startswith(prefix) for key in expected):
            break
        found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found


def _renamed(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in found.items():
        new = key
        for old_part, new_part in _RENAMED:
            new = new.replace(old_part, new_part)
        renamed[new if key not in expected and new in expected else key] = value
    return renamed


def _zero(value: Tensor) -> Tensor:
    return torch.zeros(value.shape, dtype=value.dtype)


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    bad = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InputError(
            "all weights must be finite",
            got=f"NaN or infinity in {_listed(bad)}",
            path=path,
            key="--checkpoint",
            fix="training diverged or the file is damaged",
        )


def _listed(keys: Iterable[str]) -> str:
    """The first few keys and how many more there are."""
    names = list(keys)
    more = f", and {len(names) - _SHOWN_KEYS} more" if len(names) > _SHOWN_KEYS else ""
    return ", ".join(names[:_SHOWN_KEYS]) + more
