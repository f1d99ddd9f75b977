"""Training a defended network on, through its approximation: natural or adversarial.

Rounding passes gradients on while training, the projection stays as drawn, and selection is as deployed: what is
trained are the parameters of the base, W~ and b~. Scales and calibrated thresholds stay as they were distilled.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from codesign.data.images import ImageSet
from codesign.defenses.neni.defending import DefendedModel
from codesign.defenses.neni.gradients import GradientSettings
from codesign.defenses.neni.measurement import measure_quality
from codesign.defenses.neni.wrapping import defended_layers
from codesign.defenses.rfp.finetuning import FinetuningConfig, finetune
from codesign.training.loop import EpochReport, Progress

__all__ = ["FinetunedDefence", "finetune_defended"]

_HELD_OUT = 512
"""Images, the last ones, on which the quality is measured again."""


@dataclass(frozen=True, eq=False)
class FinetunedDefence:
    """The defended network with the weights of the best epoch, and what every epoch did.

    The quality of its layers is measured anew, on the last images of those that it was trained on.
    """

    defended: DefendedModel
    selected_epoch: int
    history: tuple[dict[str, Any], ...]


def finetune_defended(
    defended: DefendedModel,
    images: ImageSet,
    config: FinetuningConfig,
    state_folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda _stage, _done, _total: None,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
) -> FinetunedDefence:
    """Train a copy of a defended network; ``defended`` is unchanged.

    Args:
        defended: from ``defend``.
        images: to train on; a seeded part is held out and selects the best epoch.
        config: natural or adversarial, epochs, learning rates.
        state_folder: after every epoch the state is written there; a run that finds it goes on from it.
        device: torch device.
        progress, on_epoch: as for ``codesign.training.run.train``.

    Raises:
        InputError: too few images, a loss that is not finite, a state of another run.
    """
    module = deepcopy(defended.module)
    former = [layer.gradient for layer in defended_layers(module)]
    for layer in defended_layers(module):
        layer.gradient = GradientSettings("straight_through")
    tuned = finetune(module, images, config, state_folder, device=device, progress=progress, on_epoch=on_epoch)
    layers = defended_layers(tuned.module)
    for layer, gradient in zip(layers, former, strict=True):
        layer.gradient = gradient
    reports = defended.layers
    if any(report.quality is not None for report in reports):
        pixels = torch.from_numpy(images.images[-_HELD_OUT:].copy())
        quality = measure_quality(tuned.module, layers, pixels, defended.settings, progress)
        reports = tuple(replace(report, quality=quality[report.name]) for report in reports)
    result = replace(defended, module=tuned.module, layers=reports)
    return FinetunedDefence(result, tuned.selected_epoch, tuned.history)
