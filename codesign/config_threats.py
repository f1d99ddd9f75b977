"""Further threats that ``codesign evaluate`` measures beside the run's own, from YAML or from one line of text."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from codesign.config_values import Pixels
from codesign.errors import InputError

__all__ = ["ThreatChoice", "threat_from_text"]


class ThreatChoice(BaseModel):
    """A ball of perturbations, and what searches it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    norm: Literal["linf", "l2"] = Field(description="norm of the perturbation")
    eps: Pixels = Field(ge=0, description="radius, pixels in [0, 1]")
    attacks: str | None = Field(
        None, description="attacks, such as pgd20; autoattack-standard; those of the run where absent"
    )

    @field_validator("norm", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _within_the_pixels(self) -> ThreatChoice:
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(f"an Linf eps lies in [0, 1], pixels being in [0, 1] (got {self.eps:g}); write 8/255")
        return self


def threat_from_text(text: str, key: str = "--threat") -> dict[str, Any]:
    """The settings that a text names: ``l2:0.25``, ``linf:8/255``, or with attacks ``l2:0.5:autoattack-standard``.

    Raises:
        InputError: no norm and radius.
    """
    norm, _, rest = (part.strip() for part in text.partition(":"))
    radius, colon, attacks = (part.strip() for part in rest.partition(":"))
    if not norm or not radius or (colon and not attacks):
        raise InputError(
            "a threat is norm:radius, or norm:radius:attacks",
            got=text,
            key=key,
            fix="for example linf:8/255, or l2:0.5:autoattack-standard",
        )
    return {"norm": norm, "eps": radius} | ({"attacks": attacks} if attacks else {})
