"""``codesign train --defense``: a trained network is defended and trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.config_defense import DefenseChoice
    from codesign.data.images import ImageSet
    from codesign.defenses.neni.training import DefendedTrainingConfig

__all__ = ["DEFENSE_KEYS", "DefendedRun", "defended_run", "summary"]

DEFENSE_KEYS = ("defense", "checkpoint", "final_lr", "evaluation_images")
"""Settings that go with a defence only."""
_NOT_HERE = ("calibration_data", "calibration_split", "calibration_dir", "cost_images", "name")
"""Settings of a defence that belong to an evaluation."""


@dataclass(frozen=True)
class DefendedRun:
    """What a run does, checked.

    Args:
        choice: the defence.
        config: of its fine-tuning; names the network too.
        checkpoint: with the network's weights.
    """

    choice: DefenseChoice
    config: DefendedTrainingConfig
    checkpoint: str | None

    def train(self, training_set: ImageSet, test_set: ImageSet, out: Path, **options: Any) -> dict[str, Any]:
        """Load the network and run; returns the record.

        Args:
            options: ``device``, ``resume``, ``progress``, ``on_epoch`` of ``train_defended``.
        """
        from codesign.defenses.neni.training import train_defended
        from codesign.models.loading import load_model
        from codesign.models.zoo import ZOO

        name = self.config.model
        # A zoo network is as wide as its data, as when it was trained.
        classes = len(training_set.class_names) if name in ZOO else None
        base = load_model(name, checkpoint=self.checkpoint, num_classes=classes)
        settings, images = self.choice.settings(), self.choice.calibration_images
        found = train_defended(
            base, training_set, test_set, settings, self.config, out, calibration_images=images, **options
        )
        return found.record


def defended_run(values: Mapping[str, Any], path: Path | None, lines: Mapping[str, int]) -> DefendedRun:
    """Check the settings.

    Args:
        values: key -> value, of the flags and the config file.
        path: the config file, if any.
        lines: key -> line in it.

    Raises:
        InputError: a setting is unknown, missing or wrong.
    """
    from codesign.defenses.neni.training import DefendedTrainingConfig
    from codesign.training.config import make_config_of

    own = dict(values)
    choice = _choice(own.pop("defense"), path, lines.get("defense"))
    checkpoint = own.pop("checkpoint", None)
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise InputError(
            "checkpoint must be a path", got=checkpoint, path=path, line=lines.get("checkpoint"), key="--checkpoint"
        )
    return DefendedRun(choice, make_config_of(DefendedTrainingConfig, own, path=path, lines=lines), checkpoint)


def _choice(given: Any, path: Path | None, line: int | None) -> DefenseChoice:
    from pydantic import ValidationError

    from codesign.config_defense import DefenseChoice, defense_from_text

    if not isinstance(given, str | dict):
        raise InputError("a defence is a name or a mapping", got=given, path=path, line=line, key="--defense")
    settings = defense_from_text(given) if isinstance(given, str) else given
    elsewhere = [key for key in _NOT_HERE if key in settings]
    if elsewhere:
        raise InputError(
            f"{', '.join(elsewhere)} belongs to codesign evaluate",
            got=given,
            path=path,
            line=line,
            key="--defense",
            fix="training distils on the first calibration_images of the training split of --data",
        )
    try:
        return DefenseChoice.model_validate(settings)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in detail["loc"])
        rule = f"{place + ': ' if place else ''}{detail['msg'].removeprefix('Value error, ')}"
        got = None if isinstance(detail["input"], dict) else detail["input"]
        raise InputError(rule, got=got, path=path, line=line, key="--defense") from error


def summary(record: Mapping[str, Any], out: Path) -> str:
    """One line about a finished run."""
    test, pgd = record["test"], record["test"]["pgd"]
    worst = min(found["accuracy"] for found in pgd["gradients"].values())
    epoch = f"epoch {record['selected_epoch'] + 1}" if record["selected_epoch"] >= 0 else "distilled"
    return (
        f"{out / record['network']}: {epoch}; on {test['clean']['images']} test images {test['clean']['accuracy']:.2%} "
        f"clean, {worst:.2%} under PGD-{pgd['steps']} at eps {pgd['eps']:.4g}. That is no robustness evaluation: "
        f"codesign evaluate {out / record['network']} tries every gradient mode"
    )
