"""Settings of a defence that ``codesign evaluate`` puts around every model, from YAML or from one line of text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.defenses.neni import NeniSettings

__all__ = ["COST_IMAGES", "DefenseChoice", "defense_from_text"]

COST_IMAGES = 32
"""Images whose own cost is simulated, unless a run says otherwise."""


class DefenseChoice(BaseModel):
    """Non-essential neuron noise injection as it is put around a trained model; see docs/neni.md.

    The method's own keys are those of ``NeniSettings``, which checks them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    method: Literal["neni"] = Field("neni", description="the defence")
    name: str | None = Field(None, min_length=1, description="its name in the report; made from the settings if absent")
    share: float = Field(0.5, description="essential share rho of the neurons")
    layer_shares: dict[str, float] = Field(default_factory=dict, description="layer name: share, where one differs")
    selection: Literal["top_k", "n_of_m", "threshold"] = Field("top_k", description="how neurons are selected")
    group: tuple[int, int] = Field((4, 8), description="N:M of n_of_m")
    dimension: int | None = Field(None, description="k; by the Johnson-Lindenstrauss rule where absent")
    jl_eps: float = Field(0.5, description="distortion in that rule")
    precision: Literal["none", "int8", "int4", "int2"] = Field("int4", description="of the approximation")
    straight_through: bool = Field(False, description="whether rounding passes gradients on in the deployed network")
    solver: Literal["ridge", "gradient"] = Field("ridge", description="of the distillation")
    ridge: float = Field(1e-4, description="lambda over the mean diagonal")
    passes: Literal[1, 2] = Field(1, description="of the distillation")
    epochs: int = Field(2, description="of the gradient solver")
    learning_rate: float = Field(1e-3, description="of the gradient solver")
    exact_layers: tuple[str, ...] | None = Field(
        None, description="layers left exact; the first convolution and the last linear layer where absent"
    )
    control: Literal["neni", "exact", "approximation", "random", "gaussian", "uniform", "quantized"] = Field(
        "neni", description="the method, or a control that it is compared with"
    )
    calibration_data: str | None = Field(
        None, description="data set for the distillation; the images behind the evaluated ones where absent"
    )
    calibration_split: Literal["train", "test"] = Field("train", description="of calibration_data")
    calibration_dir: Path | None = Field(None, description="folder with its files; data_dir where absent")
    calibration_images: int = Field(1000, ge=2, description="at most so many, the first ones")
    cost_images: int = Field(COST_IMAGES, ge=1, description="images whose own cost on a dual module is simulated")

    @field_validator("group", mode="before")
    @classmethod
    def _group_from_text(cls, value: object) -> object:
        """``4:8`` as on the command line; YAML 1.2 reads that as text too."""
        if isinstance(value, str):
            return tuple(value.split(":"))
        return value

    @field_validator("exact_layers", mode="before")
    @classmethod
    def _names_from_text(cls, value: object) -> object:
        """``conv1+fc`` as on the command line."""
        return tuple(value.split("+")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_to_the_method(self) -> DefenseChoice:
        try:
            self.settings()
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def label(self) -> str:
        """Name in the report: given, or what differs from the defaults."""
        if self.name is not None:
            return self.name
        aside = {"method", "name", "cost_images", *(name for name in type(self).model_fields if "calibration" in name)}
        changed = self.model_dump(mode="json", exclude=aside, exclude_defaults=True)
        return "neni" + (
            f"({', '.join(f'{key}={_short(value)}' for key, value in changed.items())})" if changed else ""
        )

    def settings(self) -> NeniSettings:
        """The method's own settings.

        Raises:
            InputError: a value that the method does not take.
        """
        from codesign.defenses.neni.settings import NeniSettings

        fields = NeniSettings.__dataclass_fields__
        return NeniSettings(**{key: getattr(self, key) for key in type(self).model_fields if key in fields})


def _short(value: object) -> str:
    if isinstance(value, list):
        return ":".join(map(str, value)) if all(isinstance(item, int) for item in value) else "+".join(map(str, value))
    return str(value)


def defense_from_text(text: str) -> dict[str, Any]:
    """The settings that a text names: ``neni``, or ``neni:share=0.2,precision=int8``.

    Raises:
        InputError: a setting that is not name=value, or one that is given twice.
    """
    method, _, rest = (part.strip() for part in text.partition(":"))
    settings: dict[str, Any] = {"method": method}
    for item in (part.strip() for part in rest.split(",") if part.strip()):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise InputError("a setting is name=value", got=item, key="--defense", fix=f"{key}=...")
        if key in settings:
            raise InputError("a setting is given once", got=text, key=f"--defense {key}")
        settings[key] = value
    return settings
