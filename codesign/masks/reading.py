"""Reads masks from disk, memory-mapped: a tensor is checked when it is first used and read sample by sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, did_you_mean
from codesign.masks.format import InputKind, Manifest, MaskEntry, MaskOperand, entry_name, read_manifest, unpack

__all__ = ["MaskSet", "MaskTensor"]


class MaskTensor:
    """One tensor of a mask folder."""

    def __init__(self, folder: Path, entry: MaskEntry, check_hash: bool) -> None:
        self.entry = entry
        self.path = folder / entry.file
        self._unchecked = check_hash
        self._packed: npt.NDArray[np.uint8] | None = None

    @property
    def packed(self) -> npt.NDArray[np.uint8]:
        """The bits as they are on disk: (samples, bytes a sample), read-only and memory-mapped.

        Raises:
            InputError: the file does not have the content that the manifest describes.
        """
        if self._unchecked:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.entry.sha256:
                raise InputError(
                    "the file must be the one that the manifest describes",
                    got=f"sha256 {digest[:12]}..., not {self.entry.sha256[:12]}...",
                    path=self.path,
                    fix="copy it again, or record the masks again",
                )
            self._unchecked = False
        if self._packed is None:
            shape = (self.entry.samples, self.entry.bytes_per_sample)
            self._packed = np.memmap(self.path, dtype=np.uint8, mode="r", shape=shape)
        return self._packed

    def read(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.bool_]:
        """Samples ``start`` to ``stop`` as booleans of shape (samples, *sample_shape); a constant is one sample."""
        return unpack(self.packed[start:stop], self.entry.sample_shape)

    def require(self, sample_shape: tuple[int, ...]) -> None:
        """Raises InputError where a sample does not have this shape."""
        if self.entry.sample_shape != sample_shape:
            raise InputError(
                f"a sample of {self.entry.name} must have shape {list(sample_shape)}",
                got=list(self.entry.sample_shape),
                path=self.path.parent,
                key="masks",
                fix="use the masks that were recorded from this model, for images of this size",
            )

    def chunks(self, elements: int = 1 << 22) -> Iterator[npt.NDArray[np.bool_]]:
        """All samples in order, about ``elements`` elements at a time (at least one sample)."""
        step = max(1, elements // self.entry.bits_per_sample)
        for start in range(0, self.entry.samples, step):
            yield self.read(start, start + step)


class MaskSet:
    """A mask folder.

    Args:
        folder: holds manifest.json.
        check_hashes: compare each file's sha256 when it is first used (sizes are compared at once, always).

    Raises:
        InputError: see ``read_manifest``; a file that is missing or of another size.
    """

    def __init__(self, folder: str | Path, *, check_hashes: bool = True) -> None:
        self.folder = Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self._tensors = {entry.name: MaskTensor(self.folder, entry, check_hashes) for entry in self.manifest.tensors}
        for tensor in self:
            self._check_size(tensor)

    def __iter__(self) -> Iterator[MaskTensor]:
        return iter(self._tensors.values())

    def __len__(self) -> int:
        return len(self._tensors)

    def has(self, layer: str, operand: MaskOperand, input_kind: InputKind | None) -> bool:
        """Whether there is such a tensor."""
        return entry_name(layer, operand, input_kind) in self._tensors

    def tensor(self, layer: str, operand: MaskOperand, input_kind: InputKind | None) -> MaskTensor:
        """The mask of an operand; ``input_kind`` None for one that is the same for every input.

        Raises:
            InputError: there is none.
        """
        name = entry_name(layer, operand, input_kind)
        if name not in self._tensors:
            raise InputError(
                "no such mask", got=name, path=self.folder, key="masks", fix=did_you_mean(name, self._tensors)
            )
        return self._tensors[name]

    @staticmethod
    def _check_size(tensor: MaskTensor) -> None:
        try:
            size = tensor.path.stat().st_size
        except FileNotFoundError as error:
            raise InputError("a file of the manifest is missing", got=tensor.entry.file, path=tensor.path) from error
        if size != tensor.entry.file_bytes:
            problem = "is truncated" if size < tensor.entry.file_bytes else "is too long"
            raise InputError(
                f"the file of {tensor.entry.name} {problem}: shape {list(tensor.entry.shape)} "
                f"takes {tensor.entry.file_bytes} bytes",
                got=f"{size} bytes",
                path=tensor.path,
                fix="copy it again, or record the masks again",
            )
