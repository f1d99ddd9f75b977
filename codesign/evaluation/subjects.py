"""What is evaluated: trained networks as they are, and with a defence around them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codesign.config import EvaluateConfig, ModelChoice, defended_label
from codesign.config_defense import COST_IMAGES, DefenseChoice
from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.defenses.neni import DefendedLayerReport, DefendedModel, defend
from codesign.defenses.neni.saving import load_defended
from codesign.errors import InputError
from codesign.evaluation.software import ProgressSink, check_fit
from codesign.models.layers import Coverage, TracedModel, Traffic
from codesign.models.loading import LoadedModel, load_model
from codesign.models.saved import holds_defended
from codesign.models.tracing import trace

__all__ = ["Defended", "Subject", "calibration_images", "defended_subject", "load_subjects"]


@dataclass(frozen=True)
class Subject:
    """One network of the run.

    Args:
        label: its name in the record.
        loaded: pixels to logits, and where it comes from.
        traced: its layers and what else it does.
        defended: what is around it, None for a network as it was loaded.
    """

    label: str
    loaded: LoadedModel
    traced: TracedModel
    defended: Defended | None = None

    @property
    def has_hardware(self) -> bool:
        """Whether it is simulated: controls are there for robustness, only the method itself has a place in silicon."""
        return self.defended is None or self.defended.model.settings.control == "neni"


@dataclass(frozen=True)
class Defended:
    """A defence around a network.

    Args:
        model: the defended network and what is known of its layers.
        base: the network that it was put around.
        cost_images: how many images' own costs are simulated.
        calibration: where the images of its distillation come from, for the record.
    """

    model: DefendedModel
    base: Subject
    cost_images: int
    calibration: dict[str, Any]

    def reports(self) -> dict[str, DefendedLayerReport]:
        """What is known of each defended layer, by the base network's name for it; every use of a layer has one."""
        known = {report.name: report for report in self.model.layers}
        names = (layer.name for layer in self.base.traced.layers)
        return {name: known[first] for name in names if (first := name.partition("#")[0]) in known}


def load_subjects(config: EvaluateConfig, number: int, images: ImageSet) -> tuple[Subject, ...]:
    """A model of the configuration as it is; one that was saved with a defence, behind the exact network within it.

    Raises:
        InputError: it cannot be loaded, does not fit the images, or has nothing to simulate.
    """
    choice = config.models[number]
    shape = images.images.shape
    try:
        loaded = load_model(
            choice.model,
            checkpoint=choice.checkpoint,
            num_classes=choice.num_classes,
            input_shape=choice.input_shape,
            default_input_shape=(shape[1], shape[2], shape[3]),
        )
    except InputError as error:
        raise _named(error, number) from error
    check_fit(loaded, images, choice.label)
    if choice.model.endswith(".json") and holds_defended(Path(choice.model)):
        return _saved(config, number, choice)
    return (_exact(config, number, choice.label, loaded),)


def _exact(config: EvaluateConfig, number: int, label: str, loaded: LoadedModel) -> Subject:
    traced = trace(loaded.module, loaded.input_shape, ignore=config.ignore)
    if not traced.layers:
        raise InputError(
            f"{label} must have a layer with multiply-accumulates (convolution, linear, matrix product)",
            got="none",
            key=f"models[{number}]",
        )
    return Subject(label, loaded, traced)


def _saved(config: EvaluateConfig, number: int, choice: ModelChoice) -> tuple[Subject, Subject]:
    """A defended network from its file, behind its exact base: no claim about a defence without what it defends."""
    if config.defenses:
        raise InputError(
            "a network that was saved with a defence cannot get another one",
            got=choice.model,
            key=f"models[{number}]",
            fix="evaluate it without --defense, or in a run of its own",
        )
    saved = load_defended(Path(choice.model))
    base = _exact(config, number, f"{choice.label} (exact)", saved.base)
    defended = Defended(saved.defended, base, COST_IMAGES, dict(saved.origin.get("calibration", {})))
    return base, _with_trace(Subject(choice.label, saved.loaded(), base.traced, defended))


def _named(error: InputError, number: int) -> InputError:
    """The loader knows a single model, ``--model``; here it is one of a list."""
    if error.key is None or not error.key.startswith("--model"):
        return error
    return InputError(
        error.rule, got=error.got, path=error.path, line=error.line, key=f"models[{number}]", fix=error.fix
    )


def defended_subject(
    config: EvaluateConfig,
    choice: ModelChoice,
    base: Subject,
    defense: DefenseChoice,
    calibration: ImageSet,
    progress: ProgressSink,
) -> Subject:
    """A model with a defence around it, distilled on the calibration images.

    Raises:
        InputError: the method cannot be put around this model with these settings.
    """
    label = defended_label(choice, defense)
    check_fit(base.loaded, calibration, label)
    generator = torch.Generator().manual_seed(config.seed)
    # Random controls draw from torch's default generator, here too while their noise is measured.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = defend(
            base.loaded.module,
            base.traced,
            torch.from_numpy(calibration.images),
            defense.settings(),
            generator,
            progress=lambda stage, done, total: progress(f"{label}: {stage}", done, total),
        )
    source = {"images": len(calibration), "name": calibration.name, **calibration.source}
    loaded = replace(
        base.loaded,
        name=label,
        module=model.module,
        source={
            "kind": "defended",
            "base": base.loaded.source,
            "settings": model.settings.record(),
            "calibration": source,
        },
    )
    return _with_trace(Subject(label, loaded, base.traced, Defended(model, base, defense.cost_images, source)))


def _with_trace(subject: Subject) -> Subject:
    """A defended network with its own layers, where it has a place in hardware."""
    return replace(subject, traced=_traced(subject)) if subject.has_hardware else subject


def _traced(subject: Subject) -> TracedModel:
    """The defended network's layers; its other work as hardware does it, not as the software is written.

    A defended layer is three layers: projection, approximate product, exact product. Rounding belongs to the output
    stage of the projection; selection and merging read z and z~ once and write z'.
    """
    assert subject.defended is not None
    base, reports = subject.defended.base.traced, subject.defended.reports()
    layers = trace(subject.loaded.module, subject.loaded.input_shape).layers
    sizes = {layer.name: prod(layer.outputs) for layer in base.layers if layer.name in reports}
    merging = tuple(Traffic(f"{name}.merging", "elementwise", 2 * size, size) for name, size in sizes.items())
    remark = Coverage(
        "neni",
        len(merging),
        "modelled",
        "projection and approximate product as layers, selection and merging as memory traffic; the arithmetic of "
        "rounding and selection is not modelled on an ordinary array",
    )
    return TracedModel(layers, (*base.traffic, *merging), (*base.coverage, remark))


def calibration_images(
    config: EvaluateConfig, defense: DefenseChoice, whole: ImageSet, evaluated: ImageSet
) -> ImageSet:
    """The images that a defence is fitted to, none of which is evaluated.

    Args:
        whole: the data set that is evaluated, all of it.
        evaluated: the part of it that is.

    Raises:
        InputError: too few are left, or an image is evaluated as well.
    """
    if defense.calibration_data is None:
        rest = np.arange(len(evaluated), len(whole))[: defense.calibration_images]
        if len(rest) < 2:
            raise InputError(
                "a defence is fitted to images that are not evaluated",
                got=f"all {len(whole)} images of {whole.name} are",
                key="defenses.calibration_data",
                fix="evaluate fewer (--images), or name another set: --defense neni:calibration_data=...",
            )
        return whole.take(rest)
    found = load_dataset(
        defense.calibration_data,
        data_dir=defense.calibration_dir or config.data_dir,
        split=defense.calibration_split,
    )
    found = found.take(np.arange(min(len(found), defense.calibration_images)))
    both = _digests(found) & _digests(evaluated)
    if both:
        raise InputError(
            "a defence must be fitted to images that are not evaluated",
            got=f"{len(both)} images are in both {found.name} and {evaluated.name}",
            key="defenses.calibration_data",
            fix="name a training set",
        )
    return found


def _digests(images: ImageSet) -> set[bytes]:
    return {hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images.images}
