"""``codesign evaluate`` from settings to a finished run: the one place where software and hardware meet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.config import EvaluateConfig, ModelChoice
from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator, load_accelerator
from codesign.evaluation.export import TimeloopExport
from codesign.evaluation.hardware import LayerDensities, MappedLayer, map_layers, simulate_model
from codesign.evaluation.notes import notes
from codesign.evaluation.paired import compare_models
from codesign.evaluation.provenance import file_hashes, program_versions
from codesign.evaluation.record import HardwareRecord, LayerRecord, ModelRecord, Record
from codesign.evaluation.software import (
    INPUT_KINDS,
    Masked,
    ProgressSink,
    check_fit,
    measure_masks,
    measure_robustness,
)
from codesign.evaluation.threats import check_threats, with_threats
from codesign.masks.statistics import write_csv
from codesign.models.layers import TracedModel
from codesign.models.loading import LoadedModel, load_model
from codesign.models.tracing import trace
from codesign.report import write_report
from codesign.store import RunFolder, check_destination, write_json
from codesign.workloads.lowering import DIMENSIONS
from codesign.workloads.traffic import Fusion

__all__ = ["run_evaluation"]


@dataclass(frozen=True)
class _Inputs:
    """Everything that is read before any work is done, so that bad input costs no time."""

    config: EvaluateConfig
    accelerators: tuple[Accelerator, ...]
    images: ImageSet
    models: tuple[tuple[ModelChoice, LoadedModel, TracedModel], ...]
    engine: Engine
    versions: dict[str, str]

    @property
    def files(self) -> tuple[dict[str, str], ...]:
        """Name and sha256 of every file that the result depends on."""
        found = [{"role": "data", **item} for item in file_hashes(self.images.source)]
        for choice, loaded, _ in self.models:
            found += [{"role": f"model {choice.label}", **item} for item in file_hashes(loaded.source)]
        for accelerator in self.accelerators:
            found += [{"role": "architecture", **item} for item in accelerator.record().files]
        return tuple(found)

    @property
    def key(self) -> str:
        """Hash of all that decides the result."""
        content = {"config": self.config.model_dump(mode="json"), "files": self.files, "versions": self.versions}
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_evaluation(config: EvaluateConfig, out: Path, *, force: bool, progress: ProgressSink) -> Record:
    """Evaluate every model on every architecture and leave the finished run at ``out``.

    Raises:
        InputError: bad settings or files; nothing is written then.
        InfeasibleLayerError: a layer has no legal mapping on an architecture; nothing is written either.
    """
    check_destination(out, force=force)
    with _threads(config.threads):
        inputs = _read(config)
        # Before the attacks, which take longest: a design that cannot run a layer is known at once.
        mapped = {
            (number, accelerator.name): _mapped(inputs, number, accelerator, progress)
            for number in range(len(inputs.models))
            for accelerator in inputs.accelerators
        }
        with RunFolder(out, inputs.key, force=force) as run:
            if run.resumed:
                progress.note("taking up the interrupted run")
            models = tuple(
                _model(inputs, number, [mapped[number, a.name] for a in inputs.accelerators], run, progress)
                for number in range(len(inputs.models))
            )
            record = Record(
                config=config.model_dump(mode="json"),
                seed=config.seed,
                versions=inputs.versions,
                inputs=inputs.files,
                models=models,
                architectures=tuple(accelerator.record() for accelerator in inputs.accelerators),
                notes=notes(config, inputs.images),
                comparisons=compare_models(models),
                data={
                    "name": inputs.images.name,
                    "images": len(inputs.images),
                    "classes": list(inputs.images.class_names),
                    "source": inputs.images.source,
                },
            )
            write_json(run.staging / "results.json", record.to_json())
            write_report(record, run.staging)
            run.publish()
    return record


def _read(config: EvaluateConfig) -> _Inputs:
    accelerators = _accelerators(config)
    images = load_dataset(config.data, data_dir=config.data_dir)
    if not len(images):
        raise InputError("a data set must hold images", got="none", key=config.data)
    if config.images is not None:
        images = sample(images, config.images)
    check_threats(config, images.images.shape[1:])
    models = tuple(_loaded(config, number, images) for number in range(len(config.models)))
    engine, engine_versions = _engine(config)
    return _Inputs(config, accelerators, images, models, engine, program_versions() | engine_versions)


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


def _loaded(config: EvaluateConfig, number: int, images: ImageSet) -> tuple[ModelChoice, LoadedModel, TracedModel]:
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
    traced = trace(loaded.module, loaded.input_shape, ignore=config.ignore)
    if not traced.layers:
        raise InputError(
            f"{choice.label} must have a layer with multiply-accumulates (convolution, linear, matrix product)",
            got="none",
            key=f"models[{number}]",
        )
    return choice, loaded, traced


def _named(error: InputError, number: int) -> InputError:
    """The loader knows a single model, ``--model``; here it is one of a list."""
    if error.key is None or not error.key.startswith("--model"):
        return error
    return InputError(
        error.rule, got=error.got, path=error.path, line=error.line, key=f"models[{number}]", fix=error.fix
    )


def _mapped(inputs: _Inputs, number: int, accelerator: Accelerator, progress: ProgressSink) -> tuple[MappedLayer, ...]:
    choice, _, traced = inputs.models[number]
    stage = f"{choice.label}: {accelerator.name}"
    try:
        return map_layers(
            accelerator,
            traced.layers,
            lambda done: progress(stage, done, len(traced.layers)),
            mappings=inputs.config.mappings,
        )
    except InputError as error:
        raise error.within(accelerator.path) from error


def _model(
    inputs: _Inputs,
    number: int,
    mapped: Sequence[tuple[MappedLayer, ...]],
    run: RunFolder,
    progress: ProgressSink,
) -> ModelRecord:
    config, images = inputs.config, inputs.images
    choice, loaded, traced = inputs.models[number]
    label = choice.label
    # Numbered, so that two models whose names differ only in odd characters cannot share a folder.
    folder = f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', label)}"
    scratch = run.scratch(folder) / "robustness"
    result, robustness = measure_robustness(loaded, images, config, scratch, label, progress)
    robustness = with_threats(
        config,
        (result, robustness),
        lambda changed, place, threat: measure_robustness(
            loaded, images, changed, place, f"{label}, {threat}", progress
        ),
        run.scratch(folder) / "threats",
    )
    masked = measure_masks(loaded, traced, images, result, config, run.staging / "masks" / folder, label, progress)
    write_csv(
        run.staging / "masks" / folder / "statistics.csv",
        [row for kind in INPUT_KINDS for row in masked.statistics[kind]],
    )
    hardware: list[HardwareRecord] = []
    for accelerator, layers in zip(inputs.accelerators, mapped, strict=True):
        export = TimeloopExport(run.staging / "timeloop", accelerator, folder)
        hardware += _hardware(accelerator, layers, traced, masked, robustness, config, export, inputs.engine)
    return ModelRecord(
        name=label,
        source=loaded.source,
        parameters=sum(parameter.numel() for parameter in loaded.module.parameters()),
        macs=traced.macs,
        coverage=tuple(asdict(row) for row in traced.coverage),
        robustness=robustness,
        layers=_layers(traced, masked),
        hardware=tuple(hardware),
    )


def _hardware(
    accelerator: Accelerator,
    mapped: tuple[MappedLayer, ...],
    traced: TracedModel,
    masked: Masked,
    robustness: Any,
    config: EvaluateConfig,
    export: TimeloopExport,
    engine: Engine,
) -> Iterator[HardwareRecord]:
    accuracies = {"clean": robustness.clean, "adversarial": robustness.robust}
    for kind in INPUT_KINDS:
        densities = {
            row.layer: LayerDensities(row.nonzero_input_mac_share_exact, row.weight_density)
            for row in masked.statistics[kind]
        }
        export.write(mapped, densities, kind)
        yield simulate_model(
            accelerator,
            mapped,
            traced.traffic,
            densities,
            input_kind=kind,
            accuracy=accuracies[kind],
            fusion=Fusion(config.fusion),
            mapping_file=export.mapping_file,
            engine=engine,
        )


def _layers(traced: TracedModel, masked: Masked) -> tuple[LayerRecord, ...]:
    rows = {kind: {row.layer: row for row in masked.statistics[kind]} for kind in INPUT_KINDS}
    return tuple(
        LayerRecord(
            name=layer.name,
            kind=layer.kind,
            bounds=dict(zip(DIMENSIONS, layer.bounds, strict=True)),
            macs=layer.macs,
            weight_density=rows["clean"][layer.name].weight_density,
            input_density={kind: rows[kind][layer.name].input_density_mean for kind in INPUT_KINDS},
            nonzero_input_mac_share={
                kind: rows[kind][layer.name].nonzero_input_mac_share_exact for kind in INPUT_KINDS
            },
        )
        for layer in traced.layers
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    former = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)
