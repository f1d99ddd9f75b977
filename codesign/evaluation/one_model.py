"""One network of an evaluation: attacked, its masks recorded, simulated on every accelerator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial

from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.defended import adaptive_attacks, defense_record, spreads
from codesign.evaluation.dual_record import dual_costs, exact_layers, simulate_dual
from codesign.evaluation.export import TimeloopExport
from codesign.evaluation.hardware import LayerDensities, MappedLayer, map_layers, simulate_model
from codesign.evaluation.inputs import Inputs
from codesign.evaluation.padding import on_arrays, padded_densities
from codesign.evaluation.record import (
    HardwareRecord,
    LayerRecord,
    ModelRecord,
    RobustnessRecord,
    SpreadRecord,
)
from codesign.evaluation.software import INPUT_KINDS, Masked, ProgressSink, measure_masks, measure_robustness
from codesign.evaluation.subjects import Subject
from codesign.evaluation.threats import with_threats
from codesign.masks.reading import MaskSet
from codesign.masks.statistics import write_csv
from codesign.models.layers import TracedModel
from codesign.robustness.result import RobustnessResult
from codesign.store import RunFolder
from codesign.workloads.lowering import DIMENSIONS
from codesign.workloads.traffic import Fusion

__all__ = ["Mapped", "evaluate_subject", "map_subject"]

Mapped = Mapping[str, tuple[MappedLayer, ...]]
"""By the name of the accelerator."""


def map_subject(inputs: Inputs, subject: Subject, progress: ProgressSink) -> Mapped:
    """A mapping for every layer that runs as a loop nest by itself, on every accelerator.

    Raises:
        InfeasibleLayerError: a layer has no legal mapping on an architecture.
    """
    if not subject.has_hardware:
        return {}
    return {accelerator.name: _mapped(inputs, subject, accelerator, progress) for accelerator in inputs.accelerators}


def _mapped(
    inputs: Inputs, subject: Subject, accelerator: Accelerator, progress: ProgressSink
) -> tuple[MappedLayer, ...]:
    stage = f"{subject.label}: {accelerator.name}"
    layers = on_arrays(subject)
    if subject.defended is not None and accelerator.name in inputs.dual:
        layers = exact_layers(subject.defended)
    try:
        return map_layers(
            accelerator,
            layers,
            lambda done: progress(stage, done, len(layers)),
            mappings=inputs.config.mappings,
        )
    except InputError as error:
        raise error.within(accelerator.path) from error


def evaluate_subject(
    inputs: Inputs, number: int, mapped: Mapped, run: RunFolder, progress: ProgressSink
) -> ModelRecord:
    """The record of one network.

    Args:
        number: of the network within ``inputs.subjects``.
        mapped: what ``map_subject`` gave.
        run: finished batches are kept there, and masks and Timeloop files written.
    """
    config, subject = inputs.config, inputs.subjects[number]
    # Numbered, so that two models whose names differ only in odd characters cannot share a folder.
    folder = f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '_', subject.label)}"
    result, robustness = _robustness(inputs, subject, run, folder, progress)
    layers: tuple[LayerRecord, ...] = ()
    hardware: tuple[HardwareRecord, ...] = ()
    costs: tuple[SpreadRecord, ...] = ()
    if subject.has_hardware:
        masked = measure_masks(
            subject.loaded,
            subject.traced,
            inputs.images,
            result,
            config,
            run.staging / "masks" / folder,
            subject.label,
            progress,
            defended=None if subject.defended is None else subject.defended.model,
        )
        write_csv(
            masked.folder / "statistics.csv",
            [row for kind in INPUT_KINDS for row in masked.statistics[kind]],
        )
        layers = _layers(subject.traced, masked)
        hardware = tuple(_hardware(inputs, subject, mapped, masked, robustness, run, folder, progress))
        costs = _costs(inputs, subject, masked, progress)
    remarks = () if subject.has_hardware else ("a control has no place in hardware: it is not simulated",)
    return ModelRecord(
        name=subject.label,
        source=subject.loaded.source,
        parameters=sum(parameter.numel() for parameter in subject.loaded.module.parameters()),
        macs=subject.traced.macs,
        coverage=tuple(asdict(row) for row in subject.traced.coverage),
        robustness=robustness,
        layers=layers,
        hardware=hardware,
        defense=None
        if subject.defended is None
        else defense_record(config, subject, result, inputs.images, costs, remarks),
    )


def _robustness(
    inputs: Inputs, subject: Subject, run: RunFolder, folder: str, progress: ProgressSink
) -> tuple[RobustnessResult, RobustnessRecord]:
    config = inputs.config
    measure = partial(
        measure_robustness,
        subject.loaded,
        inputs.images,
        adapt=lambda attacks: adaptive_attacks(attacks, subject, config.device),
        progress=progress,
    )
    result, robustness = measure(config, run.scratch(folder) / "robustness", subject.label)
    robustness = with_threats(
        config,
        (result, robustness),
        lambda changed, place, threat: measure(changed, place, f"{subject.label}, {threat}"),
        run.scratch(folder) / "threats",
    )
    return result, robustness


def _hardware(
    inputs: Inputs,
    subject: Subject,
    mapped: Mapped,
    masked: Masked,
    robustness: RobustnessRecord,
    run: RunFolder,
    folder: str,
    progress: ProgressSink,
) -> Iterator[HardwareRecord]:
    accuracies = {"clean": robustness.clean, "adversarial": robustness.robust}
    actual = inputs.config.density == "actual"
    for accelerator in inputs.accelerators:
        export = TimeloopExport(run.staging / "timeloop", accelerator, folder)
        layers = mapped[accelerator.name]
        design = inputs.dual.get(accelerator.name)
        for kind in INPUT_KINDS:
            densities = {
                row.layer: LayerDensities(row.nonzero_input_mac_share_exact, row.weight_density)
                for row in masked.statistics[kind]
            }
            if design is None:
                densities = padded_densities(subject, densities)
            export.write(layers, densities, kind)
            if subject.defended is not None and design is not None:
                progress.note(f"{subject.label}: {design.executor.name} with its speculator, {kind} inputs")
                yield simulate_dual(
                    design,
                    subject.defended,
                    layers,
                    MaskSet(masked.folder),
                    densities,
                    input_kind=kind,
                    accuracy=accuracies[kind],
                    fusion=Fusion(inputs.config.fusion),
                    mapping_file=export.mapping_file,
                    actual=actual,
                )
                continue
            yield simulate_model(
                accelerator,
                layers,
                subject.traced.traffic,
                densities,
                input_kind=kind,
                accuracy=accuracies[kind],
                fusion=Fusion(inputs.config.fusion),
                mapping_file=export.mapping_file,
                engine=inputs.engine,
                masks=MaskSet(masked.folder) if actual else None,
                progress=partial(progress, f"{subject.label}: {kind} on {accelerator.name}") if actual else None,
            )


def _costs(inputs: Inputs, subject: Subject, masked: Masked, progress: ProgressSink) -> tuple[SpreadRecord, ...]:
    """Costs of single images of a defended network on every dual-module design."""
    if subject.defended is None:
        return ()
    masks = MaskSet(masked.folder)
    count = subject.defended.cost_images
    found: list[SpreadRecord] = []
    for name, design in inputs.dual.items():
        stage = f"{subject.label}: {name}, image by image"
        costs = {}
        for done, kind in enumerate(INPUT_KINDS):
            progress(stage, done, len(INPUT_KINDS))
            costs[kind] = dual_costs(design, subject.defended, masks, kind, count)
        progress(stage, len(INPUT_KINDS), len(INPUT_KINDS))
        found += spreads(name, costs)
    return tuple(found)


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
