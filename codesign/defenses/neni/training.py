"""A defended network from a trained one, in a folder: distil, train on through the approximation, measure, save.

The folder holds ``neni.json`` with its weights (a model for ``load_model`` and every command), ``model.json`` (the
record), the network as distilled, and the state after the last epoch: a killed run that is resumed gives the same
weights as one that was not.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

import codesign
from codesign.data.images import ImageSet
from codesign.defenses.neni.defending import DefendedModel, defend, gradient_mode
from codesign.defenses.neni.finetuning import finetune_defended
from codesign.defenses.neni.gradients import GradientMode, GradientSettings
from codesign.defenses.neni.saving import DEFENDED_FILE, load_defended, save_defended
from codesign.defenses.neni.settings import NeniSettings
from codesign.defenses.rfp.finetuning import FinetuningConfig
from codesign.errors import InputError
from codesign.models.loading import LoadedModel
from codesign.models.tracing import trace
from codesign.store import write_json
from codesign.training.adversary import LinfPGD
from codesign.training.loop import EpochReport, Progress, generator_for
from codesign.training.measure import measure_accuracy
from codesign.training.run import RECORD_FILE
from codesign.training.state import STATE_FILE

__all__ = ["DefendedTrainingConfig", "TrainedDefence", "train_defended"]

_DISTIL, _EVALUATE = 5, 4
_DISTILLED = "distilled"
_MODES: tuple[GradientMode, ...] = ("as_coded", "straight_through")


class DefendedTrainingConfig(FinetuningConfig):
    """Training a defended network on. With ``epochs`` 0 it is only distilled."""

    epochs: int = Field(20, ge=0, description="passes over the training images; 0 only distils")
    evaluation_images: int = Field(1000, ge=1, description="test images of the final evaluation, at most")


@dataclass(frozen=True)
class TrainedDefence:
    """A finished run.

    Args:
        defended: the network that was saved.
        path: of its ``neni.json``.
        record_file: of the record.
        record: that file's content.
    """

    defended: DefendedModel
    path: Path
    record_file: Path
    record: dict[str, Any]


def train_defended(
    base: LoadedModel,
    training_set: ImageSet,
    test_set: ImageSet,
    settings: NeniSettings,
    config: DefendedTrainingConfig,
    out: Path,
    *,
    calibration_images: int = 1000,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress = lambda _stage, _done, _total: None,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
) -> TrainedDefence:
    """Distil on the first training images, fine-tune on all, and leave a loadable network in ``out``.

    Args:
        base: a trained network; it is unchanged.
        training_set, test_set: the latter only for the figures of the record.
        settings: of the method.
        config: of the fine-tuning; ``seed`` also draws the projection.
        out: made as needed.
        calibration_images: training images of the distillation, at most.
        device: torch device of the fine-tuning.
        resume: continue the run in ``out`` if there is one; without it, a folder that holds a run is an error.
        progress, on_epoch: as for ``codesign.training.run.train``.

    Raises:
        InputError: a folder with another run, data of another shape, too many classes, a network that cannot be
            defended or saved, a loss that is not finite.
    """
    _check_data(base, training_set, test_set)
    _check_folder(out, resume)
    origin = {
        "base": base.source,
        "settings": settings.record(),
        "seed": config.seed,
        "calibration": {"images": min(calibration_images, len(training_set)), "data": training_set.source},
    }
    distilled = _distilled(base, training_set, settings, config, out / _DISTILLED, origin, progress)
    history: tuple[dict[str, Any], ...] = ()
    selected, defended = -1, distilled
    if config.epochs:
        tuned = finetune_defended(
            distilled, training_set, config, out, device=device, progress=progress, on_epoch=on_epoch
        )
        defended, selected, history = tuned.defended, tuned.selected_epoch, tuned.history
        defended.module.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    test = _evaluated(defended.module, test_set, config, progress)
    finetuning = config.record() | {"selected_epoch": selected, "history": list(history)}
    path = save_defended(out, defended, base, origin=origin | {"finetuning": finetuning if config.epochs else None})
    record = {
        "model": base.name,
        "defense": "neni",
        "network": DEFENDED_FILE,
        "config": config.record(),
        "selected_epoch": selected,
        "test": test,
        **defended.record(),
        "base": base.source,
        "calibration": origin["calibration"],
        "data": {"training": training_set.source, "test": test_set.source},
        "versions": {
            "codesign": codesign.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "device": device,
        "threads": torch.get_num_threads(),
        "history": list(history),
    }
    write_json(out / RECORD_FILE, record)
    return TrainedDefence(defended, path, out / RECORD_FILE, record)


def _check_data(base: LoadedModel, *image_sets: ImageSet) -> None:
    for images in image_sets:
        if images.images.shape[1:] != base.input_shape:
            raise InputError(
                f"{base.name} takes images of shape {base.input_shape}",
                got=f"{images.name} with {images.images.shape[1:]}",
                key="--data",
            )
        if len(images.class_names) > base.num_classes:
            raise InputError(
                f"{base.name} has {base.num_classes} classes",
                got=f"{images.name} with {len(images.class_names)}",
                key="--data",
            )


def _check_folder(out: Path, resume: bool) -> None:
    held = [name for name in (DEFENDED_FILE, RECORD_FILE, STATE_FILE, _DISTILLED) if (out / name).exists()]
    if held and not resume:
        raise InputError(
            "the output folder must not hold a run already",
            got=", ".join(held),
            path=out,
            key="--out",
            fix="continue it with --resume, or choose another folder",
        )


def _distilled(
    base: LoadedModel,
    images: ImageSet,
    settings: NeniSettings,
    config: DefendedTrainingConfig,
    folder: Path,
    origin: dict[str, Any],
    progress: Progress,
) -> DefendedModel:
    """The distilled network: from the folder where a run left it, else made and left there."""
    path = folder / DEFENDED_FILE
    origin = json.loads(json.dumps(origin))  # as it comes back from disk
    if path.exists():
        found = load_defended(path)
        if found.origin != origin:
            differing = [key for key in origin if found.origin.get(key) != origin[key]]
            raise InputError(
                "a run can only be resumed with the model, data and settings that it was started with",
                got=f"another {', '.join(differing)}",
                path=path,
                key="--resume",
                fix="use the same values, or another --out",
            )
        return found.defended
    calibration = torch.from_numpy(images.images[: origin["calibration"]["images"]].copy())
    generator = generator_for(config.seed, _DISTIL)
    traced = trace(base.module, base.input_shape)
    defended = defend(base.module, traced, calibration, settings, generator, progress=progress)
    save_defended(folder, defended, base, origin=origin)
    return defended


def _evaluated(
    module: nn.Module, test_set: ImageSet, config: DefendedTrainingConfig, progress: Progress
) -> dict[str, Any]:
    """Clean accuracy, and under PGD as autograd sees the network and with gradients through the rounding."""
    count = config.evaluation_images
    images, labels = torch.from_numpy(test_set.images[:count].copy()), torch.from_numpy(test_set.labels[:count].copy())
    attack = LinfPGD(config.eps, config.evaluation_attack_step_size, config.evaluation_steps)
    # A control may be random: its draws are those of torch's generator.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator_for(config.seed, _EVALUATE).get_state())
        clean = measure_accuracy(module, images, labels)
        attacked = {}
        for mode in _MODES:
            with gradient_mode(module, GradientSettings(mode)):
                found = measure_accuracy(
                    module,
                    images,
                    labels,
                    attack=attack,
                    generator=generator_for(config.seed, _EVALUATE),
                    progress=partial(progress, f"evaluate, gradients {mode}"),
                )
            attacked[mode] = found.record()
    pgd = {"norm": "Linf", "eps": attack.eps, "steps": attack.steps, "step_size": attack.step_size, "restarts": 1}
    return {"clean": clean.record(), "pgd": pgd | {"gradients": attacked}}
