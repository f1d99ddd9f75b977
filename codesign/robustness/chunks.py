"""What an evaluation keeps of each batch, in memory or in a folder from which a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign import __version__
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack

__all__ = ["Chunk", "ChunkStore", "FolderChunks", "MemoryChunks", "fingerprint"]

_FORMAT = 3


@dataclass(frozen=True, eq=False)
class Chunk:
    """One batch of b images under a attacks.

    Args:
        clean: int64 (b,), the predicted classes of the images as they are.
        attacked: int64 (a, b), the predicted classes of the perturbed images.
        claimed: bool (a, b), whether the attack itself says that it fooled the model.
        part: int64 (a, b), for an attack made of parts the one that broke the image, else -1.
        shares: float64 (2 + a, b), the share of draws in which the model is right: on the images as they are, on what
            each attack made of them, and on the worst of these; 0 or 1 for a deterministic model.
        adversarial: float32 (a, b, c, h, w) in [0, 1], the perturbed images, exact.
        seconds: float64 (1 + a,), wall time of the clean pass and of each attack.
    """

    clean: npt.NDArray[np.int64]
    attacked: npt.NDArray[np.int64]
    claimed: npt.NDArray[np.bool_]
    part: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    adversarial: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float64]


class ChunkStore(Protocol):
    """Where chunks are kept, by number."""

    def load(self, number: int) -> Chunk | None:
        """The chunk, or None if it has not been saved yet."""
        ...

    def save(self, number: int, chunk: Chunk) -> None:
        """Keep a chunk; it is either there whole or not at all."""
        ...


class MemoryChunks:
    """Chunks in memory: 4 bytes for each pixel and attack."""

    def __init__(self) -> None:
        self._chunks: dict[int, Chunk] = {}

    def load(self, number: int) -> Chunk | None:
        return self._chunks.get(number)

    def save(self, number: int, chunk: Chunk) -> None:
        self._chunks[number] = chunk


class FolderChunks:
    """Chunks as ``batch_00000.npz`` in a folder, beside ``run.json`` that says what they are chunks of.

    Args:
        folder: made if it is not there.
        identity: everything that the numbers depend on (``fingerprint``).

    Raises InputError if the folder holds chunks of another evaluation.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / "run.json"
        if record.exists():
            _check_same_run(record, identity)
        elif any(folder.glob("batch_*.npz")):
            raise InputError("a folder of batches needs its run.json", path=folder, fix="use an empty folder")
        else:
            _write_whole(record, (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode())

    def _path(self, number: int) -> Path:
        return self._folder / f"batch_{number:05d}.npz"

    def load(self, number: int) -> Chunk | None:
        path = self._path(number)
        if not path.exists():
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return Chunk(**{name: arrays[name] for name in Chunk.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                "a stored batch must be readable", got=str(error), path=path, fix="delete this file and run again"
            ) from error

    def save(self, number: int, chunk: Chunk) -> None:
        path = self._path(number)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(
                stream,
                clean=chunk.clean,
                attacked=chunk.attacked,
                claimed=chunk.claimed,
                part=chunk.part,
                shares=chunk.shares,
                adversarial=chunk.adversarial,
                seconds=chunk.seconds,
            )
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _check_same_run(record: Path, identity: dict[str, Any]) -> None:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            "run.json must be readable JSON", got=str(error), path=record, fix="use an empty folder"
        ) from None
    known = found if isinstance(found, dict) else {}
    different = sorted(key for key in identity.keys() | known.keys() if identity.get(key) != known.get(key))
    if different:
        raise InputError(
            "a folder can only be resumed with the model, data and settings that it was begun with",
            got=f"different: {', '.join(different)}",
            path=record,
            fix="use another folder, or the same settings",
        )


def fingerprint(
    module: nn.Module,
    images: ImageSet,
    attacks: Sequence[Attack],
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    draws: int,
) -> dict[str, Any]:
    """Everything that an evaluation's numbers depend on, as plain values; the model's code only by its class name."""
    model, data = hashlib.sha256(), hashlib.sha256()
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            model.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            model.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for array in (images.images, images.labels):
        data.update(f"{array.dtype} {array.shape}".encode())
        data.update(np.ascontiguousarray(array).data)
    return {
        "format": _FORMAT,
        "codesign": __version__,
        "torch": torch.__version__,
        "device": device.type,
        "model_class": f"{type(module).__module__}.{type(module).__qualname__}",
        "model_sha256": model.hexdigest(),
        "images": len(images),
        "data_sha256": data.hexdigest(),
        "attacks": [repr(attack) for attack in attacks],
        "seed": seed,
        "batch_size": batch_size,
        "draws": draws,
    }
