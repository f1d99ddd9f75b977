"""Everything that an evaluation reads, before any work is done, so that bad input costs no time."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.config import EvaluateConfig
from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.neni import NeniSettings
from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator, load_accelerator
from codesign.evaluation.dual_module import DualModule
from codesign.evaluation.dual_record import check_precision, dual_design
from codesign.evaluation.provenance import file_hashes, program_versions
from codesign.evaluation.software import ProgressSink
from codesign.evaluation.subjects import Subject, calibration_images, defended_subject, load_subjects
from codesign.evaluation.threats import check_threats

__all__ = ["Inputs", "read_inputs", "with_defenses"]


@dataclass(frozen=True)
class Inputs:
    """What an evaluation works on.

    Args:
        config: its settings.
        accelerators: in the order asked for.
        dual: by accelerator, the dual-module design whose executor it is.
        images: that are evaluated.
        calibration: of each defence, images that are not.
        subjects: networks as they were loaded; with the defended ones behind each after ``with_defenses``.
        engine: what simulates.
        versions: of the programs.
    """

    config: EvaluateConfig
    accelerators: tuple[Accelerator, ...]
    dual: dict[str, DualModule]
    images: ImageSet
    calibration: tuple[ImageSet, ...]
    subjects: tuple[Subject, ...]
    engine: Engine
    versions: dict[str, str]

    @property
    def files(self) -> tuple[dict[str, str], ...]:
        """Name and sha256 of every file that the result depends on."""
        found = [{"role": "data", **item} for item in file_hashes(self.images.source)]
        for images in self.calibration:
            found += [{"role": "calibration", **item} for item in file_hashes(images.source)]
        for subject in self.subjects:
            if subject.defended is None:
                found += [{"role": f"model {subject.label}", **item} for item in file_hashes(subject.loaded.source)]
        for accelerator in self.accelerators:
            found += [{"role": "architecture", **item} for item in accelerator.record().files]
        for design in self.dual.values():
            for half in (design.projection, design.approximation):
                found += [{"role": "architecture", **item} for item in half.record().files]
        return tuple({json.dumps(item): item for item in found}.values())

    @property
    def key(self) -> str:
        """Hash of all that decides the result."""
        content = {"config": self.config.model_dump(mode="json"), "files": self.files, "versions": self.versions}
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_inputs(config: EvaluateConfig) -> Inputs:
    """Read and check everything that the configuration names.

    Raises:
        InputError: something is missing, not valid, or does not fit the rest.
    """
    accelerators = _accelerators(config)
    whole = load_dataset(config.data, data_dir=config.data_dir)
    if not len(whole):
        raise InputError("a data set must hold images", got="none", key=config.data)
    images = whole if config.images is None else sample(whole, config.images)
    check_threats(config, images.images.shape[1:])
    subjects = tuple(
        subject for number in range(len(config.models)) for subject in load_subjects(config, number, images)
    )
    labels = [subject.label for subject in subjects]
    if len(set(labels)) != len(labels):
        raise InputError("models need distinct names", got=", ".join(labels), key="models", fix="set `name`")
    calibration = tuple(calibration_images(config, defense, whole, images) for defense in config.defenses)
    settings = {defense.label: defense.settings() for defense in config.defenses}
    settings |= {each.label: each.defended.model.settings for each in subjects if each.defended is not None}
    dual = _dual(accelerators, settings) if settings else {}
    engine, engine_versions = _engine(config)
    versions = program_versions() | engine_versions
    return Inputs(config, accelerators, dual, images, calibration, subjects, engine, versions)


def with_defenses(inputs: Inputs, progress: ProgressSink) -> Inputs:
    """The inputs with every defended network behind its base.

    Raises:
        InputError: a defence cannot be put around a network with these settings.
    """
    config = inputs.config
    if not config.defenses:
        return inputs
    found: list[Subject] = []
    for choice, base in zip(config.models, inputs.subjects, strict=True):
        found.append(base)
        for defense, images in zip(config.defenses, inputs.calibration, strict=True):
            found.append(defended_subject(config, choice, base, defense, images, progress))
    return replace(inputs, subjects=tuple(found))


def _dual(accelerators: tuple[Accelerator, ...], settings: dict[str, NeniSettings]) -> dict[str, DualModule]:
    found = {}
    for accelerator in accelerators:
        design = dual_design(accelerator)
        if design is not None:
            for label, own in settings.items():
                check_precision(design, own, label)
            found[accelerator.name] = design
    return found


def _engine(config: EvaluateConfig) -> tuple[Engine, dict[str, str]]:
    """What simulates, and the versions of its programs."""
    if config.engine == "embedded":
        return simulate, {}
    from codesign.accelerator.engines.timeloop import TimeloopEngine

    engine = TimeloopEngine.found()
    return engine, engine.installation.versions()


def _accelerators(config: EvaluateConfig) -> tuple[Accelerator, ...]:
    found: dict[str, str] = {}
    for name in config.architectures:
        stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        if stem in found:
            raise InputError(
                "two architectures of a run must differ in name, which is that of the file",
                got=f"{found[stem]} and {name}",
                key="architectures",
                fix="copy one of the files under another name",
            )
        found[stem] = name
    return tuple(load_accelerator(name) for name in config.architectures)
