"""A whole training run in a folder: train, select, evaluate on the test split, write checkpoint and record."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import codesign
from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.models.zoo import ZooEntry, zoo_entry
from codesign.training.adversary import LinfPGD
from codesign.training.config import TrainingConfig
from codesign.training.loop import EpochReport, Progress, Trainer, generator_for, initialized
from codesign.training.measure import measure_accuracy
from codesign.training.state import STATE_FILE, load_state, save_state, write_atomically

__all__ = ["CHECKPOINT_FILE", "RECORD_FILE", "TrainingResult", "train"]

CHECKPOINT_FILE = "model.safetensors"
RECORD_FILE = "model.json"
_EVALUATE = 4


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run: the checkpoint, the JSON file beside it, and that file's content."""

    checkpoint: Path
    record_file: Path
    record: dict[str, Any]


def train(
    config: TrainingConfig,
    training_set: ImageSet,
    test_set: ImageSet,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress = lambda _stage, _done, _total: None,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
) -> TrainingResult:
    """Train a zoo network and leave ``model.safetensors`` and ``model.json`` in ``out``.

    The epoch is selected by accuracy on held-out training images (adversarial accuracy for the adversarial method); the
    test images are used once, for the figures in the record: clean accuracy, and accuracy under PGD at ``config.eps``.
    After every epoch the state is written; a killed run that is resumed gives the same weights as one that was not.

    Args:
        config: the run.
        training_set, test_set: the two splits of ``config.data``, of the network's input shape.
        out: folder for the results, made if needed.
        device: torch device.
        resume: continue the run in ``out`` if there is one; without it, a folder that holds a run is an error.
        progress: called with (stage, units done, units in total).
        on_epoch: called after every epoch.

    Raises:
        InputError: a folder with another run, data of another shape, a loss that is not finite.
    """
    entry = zoo_entry(config.model)
    _check_shapes(entry, training_set, test_set)
    state = _found_state(out, config, resume)
    out.mkdir(parents=True, exist_ok=True)
    images, labels = torch.from_numpy(training_set.images.copy()), torch.from_numpy(training_set.labels)
    model = initialized(entry, len(training_set.class_names), config.seed)
    trainer = Trainer(config, model, images, labels, torch.device(device))
    if state is not None:
        trainer.restore(state)
    while trainer.epoch < config.epochs:
        on_epoch(trainer.run_epoch(progress))
        save_state(out, trainer.state(), config)
    trainer.network.load_state_dict(trainer.best_weights)
    test = _evaluate(trainer, test_set, progress)
    return _write(
        out,
        trainer,
        entry,
        test,
        len(training_set.class_names),
        {"training": training_set.source, "test": test_set.source},
    )


def _check_shapes(entry: ZooEntry, *image_sets: ImageSet) -> None:
    for images in image_sets:
        if images.images.shape[1:] != entry.input_shape:
            raise InputError(
                f"{entry.name} takes images of shape {entry.input_shape}",
                got=f"{images.name} with {images.images.shape[1:]}",
                key="--data",
                fix="choose a network for these images",
            )


def _found_state(out: Path, config: TrainingConfig, resume: bool) -> dict[str, Any] | None:
    held = [name for name in (STATE_FILE, CHECKPOINT_FILE) if (out / name).exists()]
    if held and not resume:
        raise InputError(
            "the output folder must not hold a training run already",
            got=", ".join(held),
            path=out,
            key="--out",
            fix="continue it with --resume, or choose another folder",
        )
    return load_state(out, config)


def _evaluate(trainer: Trainer, test_set: ImageSet, progress: Progress) -> dict[str, Any]:
    """Clean and PGD accuracy on the test split, in float32."""
    config = trainer.config
    images, labels = torch.from_numpy(test_set.images.copy()), torch.from_numpy(test_set.labels)
    attack = LinfPGD(config.eps, config.evaluation_attack_step_size, config.evaluation_steps)
    clean = measure_accuracy(trainer.model, images, labels)
    attacked = measure_accuracy(
        trainer.model,
        images,
        labels,
        attack=attack,
        generator=generator_for(config.seed, _EVALUATE),
        progress=lambda done, total: progress("evaluate", done, total),
    )
    pgd = {"norm": "Linf", "eps": attack.eps, "steps": attack.steps, "step_size": attack.step_size, "restarts": 1}
    return {"clean": clean.record(), "pgd": {**pgd, **attacked.record()}}


def _write(
    out: Path, trainer: Trainer, entry: ZooEntry, test: dict[str, Any], num_classes: int, data: dict[str, Any]
) -> TrainingResult:
    weights = {key: value.contiguous() for key, value in trainer.best_weights.items()}
    checkpoint, record_file = out / CHECKPOINT_FILE, out / RECORD_FILE
    write_atomically(checkpoint, lambda path: save_file(weights, path, metadata={"model": entry.name}))
    record = {
        "model": entry.name,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "input_shape": list(entry.input_shape),
        "num_classes": num_classes,
        "normalization": entry.normalization.record(),
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "config": trainer.config.record(),
        "selected_epoch": trainer.best_epoch,
        "test": test,
        "data": data,
        "versions": {
            "codesign": codesign.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "device": str(trainer.device),
        "threads": torch.get_num_threads(),
        "history": trainer.history,
    }
    text = json.dumps(record, indent=2) + "\n"
    write_atomically(record_file, lambda path: path.write_text(text, encoding="utf-8"))
    return TrainingResult(checkpoint, record_file, record)
