"""A robust dataset on disk: one npz file a batch, and a manifest when all are there.

While it is made, ``run.json`` says of which run the folder is, so that only the same run goes on with it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.store import write_json
from codesign.training.state import write_atomically

__all__ = ["MANIFEST", "Shard", "ShardFolder", "load_robust_dataset"]

MANIFEST = "manifest.json"
_RUN = "run.json"
_FORMAT = "codesign-robust-dataset"
_ARRAYS = ("x_train", "y_train", "starts", "before", "reached", "after")


@dataclass(frozen=True, eq=False)
class Shard:
    """One batch.

    Args:
        images: uint8 (n, c, h, w), as stored.
        labels: int64 (n,), of the targets.
        starts: int64 (n,), index of the image that each was made from.
        before, reached, after: float32 (n,), relative distance of the representation to the target's: of the start
            image, of the image found, and of that image rounded to 8 bits as it is stored.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    before: npt.NDArray[np.float32]
    reached: npt.NDArray[np.float32]
    after: npt.NDArray[np.float32]


class ShardFolder:
    """The folder of a robust dataset while it is made; a context manager.

    Args:
        folder: made if needed.
        identity: JSON types that say of which run it is.

    Raises:
        InputError: it holds a finished dataset, that of another run, or is being written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.identity = json.loads(json.dumps(identity))
        self._lock = FileLock(folder.parent / f".{folder.name}.lock")
        self._run: dict[str, Any] = {"identity": self.identity, "stages": {}}

    def __enter__(self) -> Self:
        if (self.folder / MANIFEST).exists():
            raise InputError(
                "a finished robust dataset is already there",
                path=self.folder,
                key="--out",
                fix="choose another folder",
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                "another run is writing there", path=self.folder, key="--out", fix="wait for it"
            ) from error
        file = self.folder / _RUN
        if file.exists():
            self._run = json.loads(file.read_text(encoding="utf-8"))
            self._check_same()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _check_same(self) -> None:
        there = self._run["identity"]
        differing = [
            f"{part}.{key}: {there[part].get(key)!r} there, {value!r} here"
            for part, values in self.identity.items()
            for key, value in values.items()
            if there[part].get(key) != value
        ]
        if differing:
            self._lock.release()
            raise InputError(
                "an interrupted run goes on only with the settings, teacher and images that it began with",
                got="; ".join(differing)[:400],
                path=self.folder,
                key="--out",
                fix="use the same ones, or another folder",
            )

    def stage(self, name: str) -> Any | None:
        """What ``save_stage`` kept under that name."""
        return self._run["stages"].get(name)

    def save_stage(self, name: str, value: Any) -> None:
        """Keep something, so that a killed run need not do it again."""
        self._run["stages"][name] = value
        write_json(self.folder / _RUN, self._run)

    def _path(self, number: int) -> Path:
        return self.folder / f"shard_{number:05d}.npz"

    def save(self, number: int, shard: Shard) -> None:
        """Write a shard: it is there as a whole, or not at all."""
        values = (shard.images, shard.labels, shard.starts, shard.before, shard.reached, shard.after)
        arrays: dict[str, Any] = dict(zip(_ARRAYS, values, strict=True))

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomically(self._path(number), write)

    def load(self, number: int) -> Shard | None:
        """A shard that an earlier run left; None if there is none, or it is damaged and must be made again."""
        path = self._path(number)
        if not path.exists():
            return None
        try:
            return _read_shard(path)
        except InputError:
            return None

    def finish(self, found: dict[str, Any], images: ImageSet) -> dict[str, Any]:
        """Write and return the manifest."""
        shards = sorted(self.folder.glob("shard_*.npz"))
        parts = [_read_shard(path) for path in shards]
        manifest = {
            "format": _FORMAT,
            "version": 1,
            **self.identity,
            **found,
            "class_names": list(images.class_names),
            "images": sum(len(part.labels) for part in parts),
            "distance": {
                name: _summary(np.concatenate([getattr(part, name) for part in parts]))
                for name in ("before", "reached", "after")
            },
            "shards": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards},
        }
        write_json(self.folder / MANIFEST, manifest)
        (self.folder / _RUN).unlink()
        return manifest


def load_robust_dataset(folder: Path) -> ImageSet:
    """The images of a finished robust dataset, with the manifest's account of them as source.

    Raises:
        InputError: no manifest (the run was not finished), or a shard that is missing, damaged or another one.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise ValueError(f"format {manifest['format']}")
        shards, names = dict(manifest["shards"]), tuple(manifest["class_names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "a robust dataset must have a complete manifest.json",
            got=f"{type(error).__name__}: {error}",
            path=folder,
            key="--robust-data",
            fix="finish it: the same codesign make-robust-dataset command goes on where it stopped",
        ) from error
    parts = [_checked_shard(folder / name, digest) for name, digest in shards.items()]
    source = {"split": "train", "files": shards, "teacher": manifest["teacher"], "config": manifest["config"]}
    return ImageSet(
        f"robust {manifest['data']['name']}",
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        names,
        source,
    )


def _checked_shard(path: Path, digest: str) -> Shard:
    shard = _read_shard(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise InputError("a shard must be the one that the manifest names", path=path, key="--robust-data")
    return shard


def _read_shard(path: Path) -> Shard:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return Shard(*(archive[name] for name in _ARRAYS))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            "a shard must be a complete npz file",
            got=f"{type(error).__name__}: {error}",
            path=path,
            key="--robust-data",
            fix="make the robust dataset again",
        ) from error


def _summary(values: npt.NDArray[np.float32]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p95": float(np.quantile(values, 0.95)),
        "max": float(values.max()),
    }
