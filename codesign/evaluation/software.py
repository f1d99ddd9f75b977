"""The software half of an evaluation: a model's accuracy, clean and attacked, and the masks while both inputs flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from codesign.config import EvaluateConfig
from codesign.data.images import ImageSet
from codesign.defenses.neni import DefendedModel, record_essential
from codesign.errors import InputError
from codesign.evaluation.record import AccuracyRecord, InputKind, RobustnessRecord
from codesign.masks.format import Setting
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record as record_masks
from codesign.masks.statistics import LayerStatistics, model_statistics
from codesign.masks.writing import MaskWriter
from codesign.models.layers import TracedModel
from codesign.models.loading import LoadedModel
from codesign.robustness.attacks.base import Attack
from codesign.robustness.attacks.norms import norm_from_name
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.attacks.presets import attacks_from_text
from codesign.robustness.inference import pixels
from codesign.robustness.progress import Progress
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.result import RobustnessResult
from codesign.robustness.statistics import Accuracy

__all__ = ["INPUT_KINDS", "Masked", "ProgressSink", "attacks_of", "check_fit", "measure_masks", "measure_robustness"]

INPUT_KINDS: tuple[InputKind, ...] = ("clean", "adversarial")


class ProgressSink(Protocol):
    """Where an evaluation says how far it is; the command line shows it as bars."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None: ...

    def note(self, text: str) -> None:
        """Something the user should read."""


@dataclass(frozen=True)
class Masked:
    """Where the masks of a model are, and what they say of every layer, by input kind."""

    folder: Path
    statistics: dict[InputKind, tuple[LayerStatistics, ...]]


def attacks_of(config: EvaluateConfig) -> tuple[Attack, ...]:
    """The attacks that the configuration describes: the named ones, or one PGD."""
    norm = norm_from_name(config.norm)
    if config.attacks is not None:
        return attacks_from_text(config.attacks, norm, config.eps)
    pgd = PGD(norm=norm, eps=config.eps, steps=config.steps, step_size=config.step_size, restarts=config.restarts)
    return (pgd,)


def check_fit(loaded: LoadedModel, images: ImageSet, label: str) -> None:
    """Raise InputError unless the images have the shape, and at most the classes, that the model takes."""
    shape = images.images.shape[1:]
    if shape != loaded.input_shape:
        raise InputError(
            f"{label} takes images of shape {loaded.input_shape} (channels, height, width)",
            got=f"{shape} in {images.name}",
            key="data",
            fix="choose the data set that the model was trained on",
        )
    if len(images.class_names) > loaded.num_classes:
        raise InputError(
            f"{label} has {loaded.num_classes} outputs",
            got=f"{len(images.class_names)} classes in {images.name}",
            key="data",
            fix="choose the data set that the model was trained on",
        )


def measure_robustness(
    loaded: LoadedModel,
    images: ImageSet,
    config: EvaluateConfig,
    folder: Path,
    label: str,
    progress: ProgressSink,
    *,
    adapt: Callable[[Sequence[Attack]], tuple[Attack, ...]] = tuple,
) -> tuple[RobustnessResult, RobustnessRecord]:
    """Accuracy clean and under attack; ``folder`` keeps finished batches, so that a killed run goes on there.

    Args:
        adapt: makes of the configuration's attacks those that know the model.
    """

    def show(event: Progress) -> None:
        if event.note:
            progress.note(f"{label}: {event.note}")
        seen = max(event.images, 1)
        detail = (
            f"clean {event.clean_correct / seen:.1%}  robust {event.robust_correct / seen:.1%}" if event.images else ""
        )
        progress(f"{label}: attack", event.done, event.total, detail)

    result = evaluate_robustness(
        loaded.module,
        images,
        adapt(attacks_of(config)),
        batch_size=config.batch_size,
        seed=config.seed,
        device=config.device,
        progress=show,
        folder=folder,
    )
    assert result.robust is not None  # there was an attack
    record = RobustnessRecord(
        clean=_accuracy("clean", result.clean),
        attacks=tuple(_accuracy(repr(outcome.attack), outcome.accuracy) for outcome in result.attacks),
        robust=_accuracy("robust", result.robust),
        flags=tuple(_row(flag.to_json()) for flag in result.flags),
        sanity=tuple(_row(check.to_json()) for check in result.checks),
    )
    return result, record


def measure_masks(
    loaded: LoadedModel,
    traced: TracedModel,
    images: ImageSet,
    result: RobustnessResult,
    config: EvaluateConfig,
    folder: Path,
    label: str,
    progress: ProgressSink,
    *,
    defended: DefendedModel | None = None,
) -> Masked:
    """Record the masks of the first ``mask_images`` images as they are and as the attack left them.

    Args:
        defended: the defence in ``loaded``, whose essential neurons are recorded too.
    """
    count = len(images) if config.mask_images is None else min(config.mask_images, len(images))
    attributes: dict[str, Setting] = {
        "model": label,
        "data": images.name,
        "attack": "; ".join(repr(outcome.attack) for outcome in result.attacks),
        "seed": config.seed,
    }
    sources: dict[InputKind, Callable[[], Iterator[Tensor]]] = {
        "clean": lambda: _clean(images, config, count),
        "adversarial": lambda: _adversarial(result, config, count),
    }
    with MaskWriter(folder, attributes=attributes, overwrite=True) as writer:
        for part, kind in enumerate(INPUT_KINDS):
            shown = _counted(sources[kind](), label, progress, part * count, 2 * count)
            record_masks(loaded.module, traced, shown, writer, input_kind=kind)
            if defended is not None:
                record_essential(defended, sources[kind](), writer, input_kind=kind)
    masks = MaskSet(folder)
    return Masked(folder, {kind: model_statistics(traced, masks, input_kind=kind) for kind in INPUT_KINDS})


def _clean(images: ImageSet, config: EvaluateConfig, count: int) -> Iterator[Tensor]:
    for start in range(0, count, config.batch_size):
        yield pixels(images.images[start : min(start + config.batch_size, count)], config.device)


def _adversarial(result: RobustnessResult, config: EvaluateConfig, count: int) -> Iterator[Tensor]:
    import torch

    for batch in result.adversarial_batches():
        if batch.start >= count:
            return
        yield torch.from_numpy(batch.images[: count - batch.start]).to(config.device)


def _counted(batches: Iterator[Tensor], label: str, progress: ProgressSink, done: int, total: int) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        done += len(batch)
        progress(f"{label}: masks", done, total)


def _accuracy(name: str, accuracy: Accuracy) -> AccuracyRecord:
    return AccuracyRecord(
        name=name,
        correct=accuracy.correct,
        total=accuracy.total,
        low=accuracy.low,
        high=accuracy.high,
        level=accuracy.confidence,
        method=accuracy.method,
    )


def _row(data: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in data.items() if value is not None}
