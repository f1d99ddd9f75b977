"""Writes masks to disk as they come: memory holds one batch of one tensor, however many samples follow."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.masks.format import (
    MANIFEST,
    InputKind,
    Manifest,
    MaskEntry,
    MaskOperand,
    Setting,
    entry_name,
    pack,
    packed_bytes,
)

__all__ = ["MaskStream", "MaskWriter"]


def _meaning(threshold: float) -> str:
    return "the element is not zero" if threshold == 0 else f"the element's magnitude is above {threshold:g}"


def _mask(values: npt.NDArray[Any], threshold: float, name: str) -> npt.NDArray[np.bool_]:
    """1 where an element is nonzero; a boolean array is the mask itself."""
    if values.dtype == np.bool_:
        return values
    if np.issubdtype(values.dtype, np.floating) and np.isnan(np.min(values, initial=0)):
        raise InputError(
            "a mask cannot be made of NaN", got=name, key="masks", fix="check the model's weights and the input images"
        )
    mask: npt.NDArray[np.bool_] = values != 0 if threshold == 0 else np.abs(values) > threshold
    return mask


class MaskStream:
    """One tensor on its way to disk; made by ``MaskWriter``."""

    def __init__(self, path: Path, sample_shape: tuple[int, ...], fields: Mapping[str, Any]) -> None:
        self.samples = 0
        self._path = path
        self._sample_shape = sample_shape
        self._fields = fields
        self._ones = 0
        self._hash = hashlib.sha256()
        self._path.touch(exist_ok=False)

    @property
    def name(self) -> str:
        """The tensor's name in the manifest."""
        return str(self._fields["name"])

    def append(self, values: npt.NDArray[Any]) -> None:
        """More samples.

        Args:
            values: (samples, *sample_shape); booleans are the mask, numbers are compared with the threshold.

        Raises:
            InputError: another shape, or NaN.
        """
        if values.ndim == 0 or values.shape[1:] != self._sample_shape:
            raise InputError(
                f"samples of {self.name} must have shape {self._sample_shape}", got=values.shape, key="masks"
            )
        mask = _mask(values, self._fields["threshold"], self.name)
        packed = pack(mask)
        with self._path.open("ab") as file:
            file.write(packed.data)
        self._hash.update(packed.data)
        self._ones += int(np.count_nonzero(mask))
        self.samples += len(values)

    def entry(self, constant: bool) -> MaskEntry:
        """What the manifest says of the tensor. Raises InputError where nothing was appended."""
        if self.samples == 0:
            raise InputError("a mask needs at least one sample", got=f"none for {self.name}", key="masks")
        shape = self._sample_shape if constant else (self.samples, *self._sample_shape)
        bits = int(np.prod(self._sample_shape, dtype=np.int64))
        return MaskEntry(
            shape=shape,
            sample_axis=None if constant else 0,
            bits_per_sample=bits,
            bytes_per_sample=packed_bytes(bits),
            bit_order="little",
            file=self._path.name,
            sha256=self._hash.hexdigest(),
            ones=self._ones,
            density=self._ones / (bits * self.samples),
            **self._fields,
        )


class MaskWriter:
    """A mask folder in the making, as a context manager.

    Everything goes to a hidden folder beside the target, which is moved into place when the block ends well and removed
    when it does not: a folder of that name is always complete.

    Args:
        folder: must not exist, unless ``overwrite``.
        attributes: where the masks come from (model, data, attack, seed), for the manifest.
        overwrite: replace an existing mask folder.
    """

    def __init__(
        self, folder: str | Path, *, attributes: Mapping[str, Setting] | None = None, overwrite: bool = False
    ) -> None:
        self.folder = Path(folder)
        self._attributes = dict(attributes or {})
        self._overwrite = overwrite
        self._streams: dict[str, MaskStream] = {}
        self._constants: dict[str, MaskEntry] = {}
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        if self.folder.exists():
            if not self._overwrite:
                raise InputError(
                    "the mask folder must not exist yet",
                    got=str(self.folder),
                    key="masks",
                    fix="name another, or remove it",
                )
            if not (self.folder / MANIFEST).is_file():
                raise InputError("only a mask folder may be overwritten", got=str(self.folder), key="masks")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._temporary is not None  # set by __enter__
        try:
            if error is None:
                self._finish(self._temporary)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _finish(self, temporary: Path) -> None:
        streams = [stream.entry(constant=False) for stream in self._streams.values()]
        entries = tuple(sorted((*streams, *self._constants.values()), key=lambda entry: entry.file))
        if not entries:
            raise InputError("a mask folder needs at least one mask", got="none", key="masks")
        manifest = Manifest(attributes=self._attributes, tensors=entries)
        text = json.dumps(manifest.model_dump(mode="json"), indent=1)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp makes it private
        if self.folder.exists():
            shutil.rmtree(self.folder)
        temporary.replace(self.folder)

    def stream(
        self,
        layer: str,
        operand: MaskOperand,
        input_kind: InputKind,
        sample_shape: tuple[int, ...],
        *,
        threshold: float = 0.0,
        meaning: str | None = None,
    ) -> MaskStream:
        """A tensor that differs from sample to sample, to be appended to.

        Raises:
            InputError: the tensor is there already, or is empty.
        """
        stream = self._open(layer, operand, input_kind, sample_shape, threshold, meaning)
        self._streams[stream.name] = stream
        return stream

    def add_constant(
        self,
        layer: str,
        operand: MaskOperand,
        values: npt.NDArray[Any],
        *,
        threshold: float = 0.0,
        meaning: str | None = None,
    ) -> None:
        """A tensor that is the same for every sample. Adding it again does nothing if it has not changed.

        Raises:
            InputError: it has changed, is empty, or holds NaN.
        """
        known = self._constants.get(entry_name(layer, operand, None))
        if known is not None:
            packed = pack(_mask(values[None], threshold, known.name))
            if (hashlib.sha256(packed.data).hexdigest(), threshold) != (known.sha256, known.threshold):
                raise InputError("a weight must not change between two recordings", got=known.name, key="masks")
            return
        stream = self._open(layer, operand, None, values.shape, threshold, meaning)
        stream.append(values[None])
        self._constants[stream.name] = stream.entry(constant=True)

    def _open(
        self,
        layer: str,
        operand: MaskOperand,
        input_kind: InputKind | None,
        sample_shape: tuple[int, ...],
        threshold: float,
        meaning: str | None,
    ) -> MaskStream:
        if self._temporary is None:
            raise RuntimeError("MaskWriter: use it as a context manager")
        name = entry_name(layer, operand, input_kind)
        if name in self._streams:
            raise InputError("a mask is written once", got=name, key="masks")
        if not sample_shape or min(sample_shape) < 1:
            raise InputError("a mask must not be empty", got=f"{name} of shape {sample_shape}", key="masks")
        if not 0 <= threshold < np.inf:
            raise InputError("a threshold must be at least 0", got=threshold, key="threshold")
        number = len(self._streams) + len(self._constants)
        file = f"{number:04d}_{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.bits"
        fields = {
            "name": name,
            "layer": layer,
            "operand": operand,
            "input_kind": input_kind,
            "threshold": float(threshold),
            "meaning": meaning or _meaning(threshold),
        }
        return MaskStream(self._temporary / file, tuple(sample_shape), fields)
