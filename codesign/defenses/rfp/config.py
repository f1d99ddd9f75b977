"""Everything that determines what is pruned, as one value object that is recorded with the pruned network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from codesign.errors import InputError, did_you_mean

__all__ = ["PruningConfig", "make_pruning_config"]

_PATTERN = re.compile(r"(\d+):(\d+)")


class PruningConfig(BaseModel):
    """What is removed, how much of it, and on what evidence.

    ``filters`` are taken out of the network, which gets smaller; ``weights`` and ``N:M`` set single weights to zero,
    which leaves the network's shape and serves accelerators that use sparse weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    granularity: str = Field("filters", description="filters, weights, or N:M such as 2:4")
    criterion: str | None = Field(
        None, description="name or file.py:function; activation_gradient for filters, l1_norm for weights where absent"
    )
    ratio: float | None = Field(None, gt=0, le=1, description="share removed; 0.3 where absent, fixed by N:M")
    layer_ratios: dict[str, float] = Field({}, description="layer name or pattern -> ratio in place of the general one")
    scope: Literal["layer", "global"] = Field("layer", description="the ratio holds in every layer, or over all")
    exclude: tuple[str, ...] = Field((), description="layer names or patterns that stay as they are")
    coupled: bool = Field(False, description="filters: also prune what a sum ties together (residual streams)")
    max_layer_ratio: float = Field(1.0, gt=0, le=1, description="no layer loses more than this share (global scope)")
    multiple: int = Field(
        1, ge=1, description="filters: every layer keeps a multiple of so many, the nearest to what the ratio says"
    )
    images: int = Field(1000, ge=1, description="training images that the criterion looks at, the first ones")
    batch_size: int = Field(100, ge=1, description="images of one pass of the criterion")
    seed: int = Field(0, ge=0, description="of the random criterion")

    @field_validator("granularity")
    @classmethod
    def _known_granularity(cls, value: str) -> str:
        found = _PATTERN.fullmatch(value)
        if value in {"filters", "weights"} or (found is not None and 0 < int(found[1]) < int(found[2])):
            return value
        raise ValueError("must be filters, weights, or N:M with 0 < N < M (2:4 keeps two of four)")

    @field_validator("layer_ratios")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for pattern, ratio in value.items():
            if not 0 <= ratio <= 1:
                raise ValueError(f"the ratio of {pattern} must lie in 0 .. 1 (got {ratio})")
        return value

    @property
    def pattern(self) -> tuple[int, int] | None:
        """(N, M) of an N:M pattern."""
        found = _PATTERN.fullmatch(self.granularity)
        return None if found is None else (int(found[1]), int(found[2]))

    @property
    def chosen_criterion(self) -> str:
        """The criterion, the default filled in."""
        if self.criterion is not None:
            return self.criterion
        return "activation_gradient" if self.granularity == "filters" else "l1_norm"

    @property
    def chosen_ratio(self) -> float:
        """The general ratio, the default filled in."""
        if self.pattern is not None:
            return 1 - self.pattern[0] / self.pattern[1]
        return 0.3 if self.ratio is None else self.ratio

    def record(self) -> dict[str, Any]:
        """The values as JSON types, defaults filled in."""
        return self.model_dump(mode="json") | {"criterion": self.chosen_criterion, "ratio": self.chosen_ratio}


def make_pruning_config(values: Mapping[str, Any]) -> PruningConfig:
    """A checked config from plain values. Raises InputError that lists every key that is wrong."""
    try:
        config = PruningConfig.model_validate(dict(values))
    except ValidationError as error:
        details = error.errors()
        key = f"--{str(details[0]['loc'][0]).replace('_', '-')}"
        raise InputError("; ".join(_describe(detail) for detail in details), key=key) from error
    if config.pattern is not None and (config.ratio is not None or config.layer_ratios or config.scope != "layer"):
        raise InputError(
            "an N:M pattern fixes how much is removed in every layer",
            got="a ratio, layer ratios or a global scope beside it",
            key="--granularity",
            fix="leave them out",
        )
    if config.multiple > 1 and config.granularity != "filters":
        raise InputError(
            "a multiple is one of filters",
            got=f"--granularity {config.granularity}",
            key="--multiple",
            fix="leave it out; N:M patterns are regular as they are",
        )
    return config


def _describe(detail: Any) -> str:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(key, PruningConfig.model_fields)}"
    return f"{key}: {detail['msg'].removeprefix('Value error, ')} (got {detail['input']!r})"
