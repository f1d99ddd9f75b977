"""The mask format on disk: a manifest and one file of packed bits a tensor. See docs/mask_format.md.

Only numpy and the manifest are needed to read it; nothing here imports torch.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from codesign.errors import InputError

__all__ = [
    "MANIFEST",
    "InputKind",
    "Manifest",
    "MaskEntry",
    "MaskOperand",
    "entry_name",
    "pack",
    "packed_bytes",
    "read_manifest",
    "unpack",
]

MANIFEST = "manifest.json"
_VERSION = 1

MaskOperand = Literal["inputs", "weights", "outputs"]
InputKind = Literal["clean", "adversarial"]
Setting = str | int | float | bool | None


class MaskEntry(BaseModel):
    """One tensor of bits.

    Args:
        name: unique: layer, operand and input kind, joined by colons.
        layer: the traced layer that it is an operand of.
        operand: inputs, weights or outputs of that layer.
        input_kind: what flowed through the model; None for a tensor that does not depend on the input.
        shape: with the samples as first axis where ``sample_axis`` is 0; of one tensor where it is None.
        sample_axis: 0, or None for a tensor that is the same for every sample.
        bits_per_sample, bytes_per_sample: every sample begins on a whole byte; the bits that fill up its last are 0.
        bit_order: "little": element i of a sample, in C order, is bit ``i % 8`` of its byte ``i // 8``.
        file: relative to the manifest's folder; ``samples * bytes_per_sample`` bytes without a header.
        sha256: of that file.
        ones: how many bits are 1.
        density: ``ones`` over the number of elements.
        meaning: what a 1 says of its element.
        threshold: the magnitude above which an element counts as nonzero.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    layer: str
    operand: MaskOperand
    input_kind: InputKind | None
    shape: tuple[int, ...] = Field(min_length=1)
    sample_axis: Literal[0] | None
    bits_per_sample: int
    bytes_per_sample: int
    bit_order: Literal["little"]
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    ones: int = Field(ge=0)
    density: float = Field(ge=0, le=1)
    meaning: str
    threshold: float = Field(ge=0, allow_inf_nan=False)

    @property
    def samples(self) -> int:
        """Number of samples; 1 for a tensor that is the same for every sample."""
        return self.shape[0] if self.sample_axis == 0 else 1

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.shape[1:] if self.sample_axis == 0 else self.shape

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.samples * self.bytes_per_sample

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.shape) < 1:
            raise ValueError(f"an empty mask: every size in shape must be at least 1 (got {list(self.shape)})")
        bits = prod(self.sample_shape)
        if (self.bits_per_sample, self.bytes_per_sample) != (bits, packed_bytes(bits)):
            raise ValueError(
                f"shape {list(self.shape)} has {bits} bits in {packed_bytes(bits)} bytes a sample "
                f"(got {self.bits_per_sample} in {self.bytes_per_sample})"
            )
        if abs(self.density - self.ones / (self.samples * bits)) > 1e-9:
            raise ValueError(f"density must be ones / elements (got {self.density} for {self.ones} ones)")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(f"file must lie in the folder of the manifest (got {self.file!r})")
        return self


class Manifest(BaseModel):
    """What is in a mask folder; ``attributes`` says where it comes from (model, data, attack, seed)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["codesign-masks"] = "codesign-masks"
    schema_version: Literal[1] = 1
    attributes: dict[str, Setting] = Field(default_factory=dict)
    tensors: tuple[MaskEntry, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for names, kind in (([t.name for t in self.tensors], "name"), ([t.file for t in self.tensors], "file")):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"every tensor needs its own {kind} (got twice: {', '.join(twice)})")
        return self


def entry_name(layer: str, operand: str, input_kind: str | None) -> str:
    """The unique name of a tensor."""
    return ":".join(part for part in (layer, operand, input_kind) if part)


def packed_bytes(bits: int) -> int:
    """Bytes of one sample: whole bytes."""
    return (bits + 7) // 8


def pack(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(samples, ...) booleans as (samples, bytes a sample)."""
    return np.packbits(mask.reshape(len(mask), -1), axis=1, bitorder="little")


def unpack(packed: npt.NDArray[np.uint8], sample_shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """The inverse of ``pack``: booleans of shape (samples, *sample_shape)."""
    bits = np.unpackbits(packed, axis=1, count=prod(sample_shape), bitorder="little")
    return bits.view(np.bool_).reshape(len(packed), *sample_shape)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a mask folder, checked.

    Raises:
        InputError: no folder, no manifest, not JSON, another schema version, missing, unknown or contradictory entries.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(
            "a mask folder must hold manifest.json", got=str(folder), key="masks", fix="record it with codesign measure"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise InputError("the manifest must be JSON", got=str(error), path=path, line=line) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != _VERSION:
        raise InputError(
            f"this version of the package reads schema version {_VERSION}",
            got="none" if version is None else version,
            path=path,
            key="schema_version",
            fix="record the masks again, or read them with the version of the package that wrote them",
        )
    try:
        return Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            first["msg"].removeprefix("Value error, "),
            got=None if first["type"] == "value_error" else first["input"],
            path=path,
            key=".".join(str(part) for part in first["loc"]) or "tensors",
        ) from error
