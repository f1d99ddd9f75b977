"""Everything that determines a training run, as one value object that is recorded beside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codesign.config import Pixels
from codesign.errors import InputError, did_you_mean

__all__ = ["Method", "Precision", "TrainingConfig", "make_config_of", "make_training_config"]

Method = Literal["natural", "adversarial"]
Precision = Literal["float32", "bfloat16"]


_Config = TypeVar("_Config", bound="TrainingConfig")


class TrainingConfig(BaseModel):
    """What is trained, on what, and how. Equal configs on the same data, versions and device give equal checkpoints.

    ``natural`` training minimises the cross entropy on the images, ``adversarial`` on PGD examples of them
    (Madry et al., 2018, arXiv:1706.06083). The learning rate rises linearly to ``lr`` and then falls to 0 as a half
    cosine. Evaluation is always in float32. With the natural method ``eps`` only serves the final evaluation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str = Field(description="zoo name of the network")
    data: str = Field(description="data set; its training split is trained on")
    method: Method = Field(description="natural or adversarial (PGD, Madry et al. 2018)")
    eps: Pixels = Field(ge=0, le=1, description="L-infinity radius, pixels in [0, 1]; fractions such as 8/255 are fine")
    steps: int = Field(7, ge=1, description="PGD steps of the inner loop")
    step_size: Pixels | None = Field(None, gt=0, description="PGD step size; 2.5 * eps / steps where absent")
    epochs: int = Field(ge=1, description="passes over the training images")
    batch_size: int = Field(256, ge=1, description="images of an optimizer step; an incomplete last batch is left out")
    lr: float = Field(0.1, gt=0, description="peak learning rate")
    warmup_fraction: float = Field(0.2, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum of SGD")
    weight_decay: float = Field(5e-4, ge=0, description="of every parameter")
    crop_padding: int = Field(2, ge=0, description="zero-pad by so many pixels and crop at random; 0 for no crops")
    flip: bool = Field(True, description="mirror images left to right with probability 1/2")
    validation_images: int = Field(3000, ge=1, description="training images held out to select the best epoch")
    precision: Precision = Field("float32", description="float32, or bfloat16 (autocast) in training")
    seed: int = Field(0, ge=0, description="of initialisation, split, order, augmentation and attacks")
    evaluation_steps: int = Field(20, ge=1, description="PGD steps of the final evaluation")
    evaluation_step_size: Pixels | None = Field(
        None, gt=0, description="PGD step size there; 2.5 * eps / evaluation_steps where absent"
    )

    def record(self) -> dict[str, Any]:
        """The values as JSON types, the absent step sizes filled in."""
        return self.model_dump() | {
            "step_size": self.attack_step_size,
            "evaluation_step_size": self.evaluation_attack_step_size,
        }

    @property
    def attack_step_size(self) -> float:
        """PGD step size of the inner loop, pixels in [0, 1]."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    @property
    def evaluation_attack_step_size(self) -> float:
        """PGD step size of the final evaluation, pixels in [0, 1]."""
        if self.evaluation_step_size is None:
            return 2.5 * self.eps / self.evaluation_steps
        return self.evaluation_step_size


def make_training_config(
    values: Mapping[str, Any], *, path: Path | None = None, lines: Mapping[str, int] | None = None
) -> TrainingConfig:
    """A checked config from plain values; see ``make_config_of``."""
    return make_config_of(TrainingConfig, values, path=path, lines=lines)


def make_config_of(
    kind: type[_Config],
    values: Mapping[str, Any],
    *,
    path: Path | None = None,
    lines: Mapping[str, int] | None = None,
) -> _Config:
    """A checked config of some kind of training from plain values.

    Args:
        kind: its class.
        values: key -> value.
        path: the file that they come from, if any.
        lines: key -> line in that file.

    Raises:
        InputError: one message that lists every unknown, missing or wrong key.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        details = error.errors()
        key = str(details[0]["loc"][0])
        line = (lines or {}).get(key)
        said = "; ".join(_describe(detail, kind) for detail in details)
        raise InputError(said, path=path, line=line, key=key) from error


def _describe(detail: Any, kind: type[TrainingConfig]) -> str:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {did_you_mean(key, kind.model_fields)}"
    if detail["type"] == "missing":
        return f"{key} is missing; give --{key.replace('_', '-')} or the key {key} of the config file"
    return f"{key}: {detail['msg'].removeprefix('Value error, ')} (got {detail['input']!r})"
