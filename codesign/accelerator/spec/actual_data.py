"""A tensor's own mask as its density: which words are nonzero is known bit by bit, for one sample or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, did_you_mean

__all__ = ["ActualData", "MaskFile", "load_mask"]

_FIX = "give the mask of this layer, its axes in the order of the ranks, and its padding"


@dataclass(frozen=True, slots=True)
class MaskFile:
    """Where a mask was read from: a mask folder or an .npz file and the tensor in it, or an .npy file."""

    path: Path
    tensor: str | None = None


@dataclass(frozen=True, eq=False)
class ActualData:
    """The mask of a tensor (1: nonzero, or for Outputs: essential).

    Equal masks are equal whatever file they come from: they are compared by their content.

    Args:
        packed: uint8 (samples, bytes of one sample), bits of a sample in C order, little end first: what
            ``numpy.packbits(mask.reshape(samples, -1), axis=1, bitorder="little")`` gives.
        shape: of one sample.
        varies: True if the tensor has a value for every sample of the input; False for one that is the same for all.
        ranks: for each axis of a sample, the rank of the dataspace that it lies along; ranks without an axis must have
            extent 1.
        padding: zeros before and after the mask along each rank (negative: that many elements that the layer never
            touches are left out); none where empty.
        source: the file it was read from.
    """

    packed: npt.NDArray[np.uint8]
    shape: tuple[int, ...]
    varies: bool
    ranks: tuple[int, ...]
    padding: tuple[tuple[int, int], ...] = ()
    source: MaskFile | None = None

    def __post_init__(self) -> None:
        if len(self.ranks) != len(self.shape) or len(set(self.ranks)) != len(self.ranks):
            raise ValueError(f"ActualData: one rank an axis is needed (got {self.ranks} for shape {self.shape})")
        if not any(low or high for low, high in self.padding):
            object.__setattr__(self, "padding", ())

    @classmethod
    def of(
        cls,
        mask: npt.NDArray[Any],
        *,
        varies: bool,
        ranks: Sequence[int] | None = None,
        padding: Sequence[tuple[int, int]] = (),
        source: MaskFile | None = None,
    ) -> ActualData:
        """From an array; numbers count as ones where they are not zero.

        Args:
            mask: with the samples as first axis if ``varies``.
            ranks: in the order of the array's axes if None.

        Raises:
            InputError: an empty mask, or one with NaN.
        """
        if mask.size == 0 or mask.ndim == int(varies):
            raise InputError(
                "an empty mask",
                got=f"shape {list(mask.shape)}",
                path=None if source is None else source.path,
                fix="record it again",
            )
        if np.issubdtype(mask.dtype, np.floating) and bool(np.isnan(mask).any()):
            raise InputError(
                "a mask cannot have NaN",
                path=None if source is None else source.path,
                fix="check what it was made from",
            )
        bits = (mask != 0) if varies else (mask != 0)[None]
        packed = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
        shape = tuple(int(size) for size in bits.shape[1:])
        order = tuple(range(len(shape)) if ranks is None else ranks)
        return cls(packed, shape, varies, order, tuple(padding), source)

    @property
    def samples(self) -> int:
        """Samples of the mask; 1 where it does not vary."""
        return len(self.packed)

    @cached_property
    def sha256(self) -> str:
        """Hash of the bits and of everything that says where they lie."""
        digest = sha256(np.ascontiguousarray(self.packed).data)
        digest.update(repr((self.shape, self.varies, self.ranks, self.padding)).encode())
        return digest.hexdigest()

    @cached_property
    def ones(self) -> int:
        """Bits that are 1, over all samples."""
        return int(np.bitwise_count(self.packed).sum(dtype=np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActualData) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"ActualData(samples={self.samples}, shape={self.shape}, sha256={self.sha256[:16]!r})"

    def unpacked(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.bool_]:
        """Samples as booleans (samples, *shape)."""
        part = np.ascontiguousarray(self.packed[start:stop])
        bits = np.unpackbits(part, axis=1, count=int(np.prod(self.shape)), bitorder="little")
        return bits.view(np.bool_).reshape(len(part), *self.shape)

    def check_fit(self, name: str, extents: Sequence[int]) -> None:
        """Raise InputError unless the mask with its padding has exactly the tensor's extents, one a rank."""
        if max(self.ranks, default=0) >= len(extents) or (self.padding and len(self.padding) != len(extents)):
            raise self._unfit(name, extents, "more axes or paddings than ranks")
        padding = self.padding or ((0, 0),) * len(extents)
        found = [1] * len(extents)
        for size, rank in zip(self.shape, self.ranks, strict=True):
            found[rank] = size
        if any(-low > size or -high > size for size, (low, high) in zip(found, padding, strict=True)):
            raise self._unfit(name, extents, f"of which padding {[list(pair) for pair in padding]} leaves out more")
        padded = [low + size + high for size, (low, high) in zip(found, padding, strict=True)]
        if padded != list(extents):
            raise self._unfit(name, extents, f"padded {padded}" if self.padding else f"along the ranks {found}")

    def _unfit(self, name: str, extents: Sequence[int], how: str) -> InputError:
        return InputError(
            f"the mask of {name} must have the tensor's extents {list(extents)}",
            got=f"a sample of shape {list(self.shape)}, {how}",
            path=None if self.source is None else self.source.path,
            key=f"problem.instance.densities.{name}",
            fix=_FIX,
        )


def load_mask(
    path: Path,
    tensor: str | None,
    *,
    varies: bool | None = None,
    ranks: Sequence[int] | None = None,
    padding: Sequence[tuple[int, int]] = (),
) -> ActualData:
    """A mask from a mask folder (docs/mask_format.md), an .npz or an .npy file.

    Args:
        tensor: name in the folder or the .npz; may be None where there is only one.
        varies: whether the first axis is that of the samples. A folder says so itself.

    Raises:
        InputError: the file is missing, empty or damaged, has no such tensor, or holds NaN.
    """
    if path.is_dir():
        return _from_folder(path, tensor, ranks, padding)
    source = MaskFile(path, tensor)
    try:
        if path.stat().st_size == 0:
            raise InputError("an empty mask file", path=path, fix="record it again")
        content = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("there is no such mask file", path=path) from error
    except (ValueError, OSError, EOFError) as error:
        raise InputError("a mask file must be a mask folder, .npz or .npy", got=str(error), path=path) from error
    if not isinstance(content, np.ndarray):
        with content:
            name = _only(tensor, content.files, path)
            content, source = content[name], MaskFile(path, name)
    if content.dtype.kind not in "buif":
        raise InputError("a mask must hold numbers or truth values", got=str(content.dtype), path=path)
    return ActualData.of(content, varies=bool(varies), ranks=ranks, padding=padding, source=source)


def _from_folder(
    path: Path, tensor: str | None, ranks: Sequence[int] | None, padding: Sequence[tuple[int, int]]
) -> ActualData:
    from codesign.masks.reading import MaskSet  # pydantic is only needed here

    found = {item.entry.name: item for item in MaskSet(path)}
    name = _only(tensor, list(found), path)
    entry = found[name].entry
    order = tuple(range(len(entry.sample_shape)) if ranks is None else ranks)
    source = MaskFile(path, name)
    return ActualData(found[name].packed, entry.sample_shape, entry.sample_axis == 0, order, tuple(padding), source)


def _only(tensor: str | None, names: Sequence[str], path: Path) -> str:
    if tensor is None and len(names) == 1:
        return names[0]
    if tensor is None or tensor not in names:
        fix = did_you_mean(tensor or "", names) if names else "the file holds nothing"
        raise InputError("name the tensor of the mask file", got=tensor or "no name", path=path, fix=fix)
    return tensor
