"""Settings of ``codesign evaluate``: one value object, filled from flags, a YAML file, or both (a flag wins)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.yaml_reader import read_yaml
from codesign.config_defense import DefenseChoice, defense_from_text
from codesign.config_threats import ThreatChoice, threat_from_text
from codesign.config_values import Count, Pixels, Size, parse_fraction
from codesign.errors import InputError, did_you_mean

__all__ = [
    "EvaluateConfig",
    "ModelChoice",
    "Pixels",
    "defended_label",
    "load_config",
    "make_config",
    "parse_fraction",
]

# Far more than any machine has; OpenMP dies of 100,000 without a word.
MAX_THREADS = 1024
PGD_KEYS = frozenset({"steps", "step_size", "restarts"})
"""Settings of the attack that runs where ``attacks`` names none."""

DEFAULT_ARCHITECTURES = ("eyeriss_row_stationary", "systolic_weight_stationary", "vector_pe_edge")
DUAL_MODULE = "dual_module"
"""Joins the default ones where a defence runs, which is what it was designed for."""


class ModelChoice(BaseModel):
    """One model to evaluate: a zoo name, ``module:factory`` or a ``torch.export`` program, and its checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = Field(description="zoo name, module:factory, or path of a torch.export program (.pt2)")
    checkpoint: Path | None = Field(None, description="checkpoint file (.safetensors, .pt, .pth, .th)")
    name: str | None = Field(None, description="name in the report; the model's own where absent")
    num_classes: Count | None = Field(None, ge=2, description="classes, for a factory or zoo network that takes them")
    input_shape: tuple[Size, Size, Size] | None = Field(
        None, description="channels, height, width; where absent the model's own, or those of the data"
    )

    @property
    def label(self) -> str:
        """Name in the report."""
        return self.name or self.model


class EvaluateConfig(BaseModel):
    """Everything that decides the result of ``codesign evaluate``, and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    models: tuple[ModelChoice, ...] = Field(min_length=1, description="models to evaluate side by side")
    defenses: tuple[DefenseChoice, ...] = Field((), description="defences put around every model, each a model more")
    data: str = Field("fashion_mnist_1k", description="data set: name, npz:PATH or imagefolder:PATH")
    data_dir: Path | None = Field(None, description="folder with the data set's files")
    images: Count | None = Field(None, ge=1, description="number of images, the first ones; all where absent")
    architectures: tuple[str, ...] = Field(
        DEFAULT_ARCHITECTURES, min_length=1, description="shipped architecture names or paths of Timeloop v0.4 YAML"
    )
    engine: Literal["embedded", "timeloop"] = Field(
        "embedded", description="what simulates: the embedded engine, or the real programs where they are installed"
    )
    mappings: Path | None = Field(
        None, description="folder of your own mappings: looked into, and what had to be searched is kept there"
    )
    norm: Literal["linf", "l2"] = Field("linf", description="norm of the perturbation")
    eps: Pixels = Field(8 / 255, ge=0, description="radius of the perturbation, pixels in [0, 1]")
    attacks: str | None = Field(
        None, description="attacks, such as autoattack-standard or pgd:steps=50; square; PGD as below where absent"
    )
    steps: Count = Field(20, ge=1, description="PGD steps")
    step_size: Pixels | None = Field(None, gt=0, description="PGD step size; 2.5 * eps / steps where absent")
    restarts: Count = Field(1, ge=1, description="PGD restarts; the pointwise worst counts")
    threats: tuple[ThreatChoice, ...] = Field(
        (), description="further threats, measured beside the run's own: l2:0.5, linf:8/255:autoattack-standard"
    )
    batch_size: Count = Field(250, ge=1, description="images attacked at a time")
    seed: Count = Field(0, ge=0, description="seed of every random draw")
    device: str = Field("cpu", description="torch device of the model")
    threads: Count | None = Field(
        None, ge=1, le=MAX_THREADS, description="torch threads; torch's own choice where absent"
    )
    ignore: tuple[str, ...] = Field((), description="unsupported operators to leave out of the hardware model")
    fusion: Literal["fused", "unfused"] = Field(
        "fused", description="whether norms and activations are fused into the layer before them"
    )
    mask_images: Count | None = Field(None, ge=1, description="images whose masks are recorded; all where absent")
    density: Literal["expected", "actual"] = Field(
        "expected", description="what a layer is simulated with: densities, or the recorded masks themselves"
    )

    @model_validator(mode="before")
    @classmethod
    def _dual_module_for_a_defense(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("defenses") and "architectures" not in values:
            return values | {"architectures": (*DEFAULT_ARCHITECTURES, DUAL_MODULE)}
        return values

    @model_validator(mode="after")
    def _distinct(self) -> EvaluateConfig:
        labels = [model.label for model in self.models]
        labels += [defended_label(model, defense) for model in self.models for defense in self.defenses]
        if len(set(labels)) != len(labels):
            raise ValueError(f"models need distinct names (got {', '.join(labels)}); set `name`")
        if self.norm == "linf" and self.eps > 1:
            raise ValueError(f"an Linf eps lies in [0, 1], pixels being in [0, 1] (got {self.eps:g}); write 8/255")
        if len(set(self.threats)) != len(self.threats):
            raise ValueError("every threat must stand in `threats` once")
        if self.density == "actual" and self.engine != "embedded":
            raise ValueError(f"only the embedded engine simulates masks: `density: actual` (got {self.engine})")
        unused = sorted(PGD_KEYS & self.model_fields_set)
        if self.attacks is not None and unused:
            raise ValueError(f"{', '.join(unused)} describe the default PGD; with `attacks` write pgd:steps=..., there")
        return self


def defended_label(model: ModelChoice, defense: DefenseChoice) -> str:
    """Name in the report of a model with a defence around it."""
    return f"{model.label} + {defense.label}"


def make_config(values: dict[str, Any]) -> EvaluateConfig:
    """A checked configuration from plain values.

    Raises:
        InputError: one message that lists every key that is wrong.
    """
    return _validated(values, path=None, lines={}, flags=frozenset())


def load_config(path: Path, overrides: dict[str, Any]) -> EvaluateConfig:
    """A checked configuration from a YAML file, with ``overrides`` (flags that were given) on top.

    Paths in the file are relative to the current folder, as on the command line.
    """
    root = read_yaml(path)
    if not root.is_mapping:
        raise root.error("a configuration is a mapping of keys to values", got=root.describe())
    lines: dict[tuple[int | str, ...], int] = {}
    values = _plain(root, (), lines)
    if "attacks" in overrides:
        # The flag replaces the file's default PGD as a whole; only a flag beside it would contradict it.
        values = {key: value for key, value in values.items() if key not in PGD_KEYS}
    # A flag is not at the line where the file has its key.
    lines = {place: line for place, line in lines.items() if not (place and place[0] in overrides)}
    return _validated(values | overrides, path=path, lines=lines, flags=frozenset(overrides))


def _plain(node: Node, place: tuple[int | str, ...], lines: dict[tuple[int | str, ...], int]) -> Any:
    """The value of a YAML node without its tags, and where every part of it stands."""
    lines[place] = node.line
    if isinstance(node.value, dict):
        return {key: _plain(child, (*place, key), lines) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(child, (*place, index), lines) for index, child in enumerate(node.value)]
    return node.value


def _validated(
    values: dict[str, Any], *, path: Path | None, lines: dict[tuple[int | str, ...], int], flags: frozenset[str]
) -> EvaluateConfig:
    models = values.get("models")
    if isinstance(models, list | tuple):
        values = values | {"models": tuple({"model": m} if isinstance(m, str) else m for m in models)}
    defenses = values.get("defenses")
    if isinstance(defenses, list | tuple):
        values = values | {"defenses": tuple(defense_from_text(d) if isinstance(d, str) else d for d in defenses)}
    threats = values.get("threats")
    if isinstance(threats, list | tuple):
        values = values | {
            "threats": tuple(threat_from_text(t, "threats") if isinstance(t, str) else t for t in threats)
        }
    try:
        return EvaluateConfig.model_validate(values)
    except ValidationError as error:
        problems = [_problem(detail, path, lines, flags) for detail in _told_once(error)]
        if len(problems) == 1:
            raise problems[0] from error
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(f"{len(problems)} settings are wrong:{listed}") from error


def _told_once(error: ValidationError) -> list[Any]:
    """The findings without those that only follow from another: a list is "too short" once an item of it is wrong."""
    found = error.errors()
    places = [detail["loc"] for detail in found]

    def follows(detail: Any) -> bool:
        place = detail["loc"]
        return detail["type"] == "too_short" and any(p != place and p[: len(place)] == place for p in places)

    return [detail for detail in found if not follows(detail)]


# Of the mappings that a list holds, by the list's key.
_FIELDS = {
    "models": ModelChoice.model_fields,
    "defenses": DefenseChoice.model_fields,
    "threats": ThreatChoice.model_fields,
}

# Pydantic's words for kinds of values that a user of YAML knows under other names.
_RULES = {
    "tuple_type": "must be a list, for example [a, b]",
    "model_type": "must be a name, or a mapping with the key `model`",
    "too_short": "must name at least one",
    "too_long": "has too many items",
}


def _problem(
    detail: Any, path: Path | None, lines: dict[tuple[int | str, ...], int], flags: frozenset[str]
) -> InputError:
    """One of pydantic's findings as an error with its place in the file, or its flag, and a suggestion."""
    place = detail["loc"]
    if place and place[0] in flags:
        path = None
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or None
    if detail["type"] == "extra_forbidden":
        known = _FIELDS[str(place[0])] if len(place) > 1 else EvaluateConfig.model_fields
        return InputError("unknown key", path=path, line=line, key=key, fix=did_you_mean(str(place[-1]), known))
    if detail["type"] == "missing":
        return InputError("this key is required", path=path, line=line, key=key)
    rule = _RULES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    # What is wrong with a mapping as a whole says itself which of its values.
    shown = (
        None if not key or (isinstance(detail["input"], dict) and detail["type"] == "value_error") else detail["input"]
    )
    return InputError(rule, got=shown, path=path, line=line, key=key)
