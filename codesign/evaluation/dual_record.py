"""A defended network on a dual-module design, in the form of every other simulation of the record.

Layers left exact run on the executor as on any array; a defended layer is one row: its projection, approximate product,
selection and exact product overlap in time, so that they have one latency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from codesign.defenses.neni import DefendedLayerReport, NeniSettings
from codesign.defenses.neni.selection import kept_of
from codesign.defenses.neni.settings import BITS
from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.dual_module import DualLayer, DualModule, load_dual_module
from codesign.evaluation.dual_waterfall import dual_waterfall
from codesign.evaluation.hardware import LayerDensities, MappedLayer, joined, simulate_model
from codesign.evaluation.image_costs import ImageCosts, image_costs, masked_workload, total_costs
from codesign.evaluation.record import AccuracyRecord, ArchitectureRecord, HardwareRecord, InputKind, LayerHardware
from codesign.evaluation.subjects import Defended
from codesign.masks.reading import MaskSet
from codesign.models.layers import Layer
from codesign.workloads.dual_module import DualWorkload, Selection
from codesign.workloads.traffic import Fusion, memory_traffic

__all__ = ["check_precision", "dual_architecture", "dual_costs", "dual_design", "exact_layers", "simulate_dual"]

_HALVES = ("projection", "speculator")


def dual_design(accelerator: Accelerator) -> DualModule | None:
    """The design whose executor an architecture is; None where no speculator lies beside its file.

    The halves of the speculator of ``NAME.yaml`` are ``NAME_projection.yaml`` and ``NAME_speculator.yaml``.

    Raises:
        InputError: they do not fit the executor, or one of the two is missing.
    """
    path = accelerator.path
    halves = [path.with_name(f"{path.stem}_{half}.yaml") for half in _HALVES]
    there = [half for half in halves if half.is_file()]
    if not there:
        return None
    if len(there) == 1:
        missing = next(half for half in halves if half not in there)
        raise InputError("a dual-module design has two halves of a speculator", got=f"no {missing.name}", path=path)
    return load_dual_module(str(path), *map(str, halves))


def check_precision(design: DualModule, settings: NeniSettings, label: str) -> None:
    """Raise InputError unless the speculator's arithmetic is as wide as the approximation needs."""
    wanted = BITS[settings.precision]
    has = design.approximation.design.architecture.compute.word_bits
    if wanted > has:
        raise InputError(
            f"not modelled: the speculator of {design.executor.name} computes with {has} bits",
            got=f"{settings.precision} in {label}",
            key="defenses.precision",
            fix="choose another precision, leave this architecture out, or give its speculator that datawidth",
        )


def exact_layers(defended: Defended) -> tuple[Layer, ...]:
    """Layers of the base network that a dual-module design computes exactly."""
    reports = defended.reports()
    return tuple(layer for layer in defended.base.traced.layers if layer.name not in reports)


def simulate_dual(
    design: DualModule,
    defended: Defended,
    mapped: Sequence[MappedLayer],
    masks: MaskSet,
    densities: dict[str, LayerDensities],
    *,
    input_kind: InputKind,
    accuracy: AccuracyRecord,
    fusion: Fusion,
    mapping_file: Callable[[str], str],
    actual: bool = False,
) -> HardwareRecord:
    """Energy, cycles and executed work of one sample, on average over the recorded images.

    Args:
        mapped: the layers left exact, with their mappings on the executor.
        masks: operand ``outputs`` of every defended layer, and its inputs.
        densities: of the layers left exact.
        mapping_file: as of ``simulate_model``; a defended layer has none.
        actual: simulate the recorded masks of the layers left exact too, not their densities.

    Raises:
        InfeasibleLayerError: a part has no legal mapping.
    """
    executor = design.executor
    base = defended.base.traced
    exact = simulate_model(
        executor,
        mapped,
        base.traffic,
        densities,
        input_kind=input_kind,
        accuracy=accuracy,
        fusion=fusion,
        mapping_file=mapping_file,
        masks=masks if actual else None,
    )
    rows = {row.layer: row for row in exact.layers}
    selection_mm2 = 0.0
    for layer, report in _defended_layers(defended):
        work = _work(layer, report, defended, masks, input_kind, None)
        rows[layer.name] = _row(design, work, report)
        selection_mm2 = max(selection_mm2, design.selection_area_mm2(work))
    moved = [memory_traffic(item, fusion=fusion) for item in base.traffic]
    ordered = [rows[layer.name] for layer in base.layers]
    whole = joined(executor, ordered, moved, input_kind, accuracy, exact.warnings)
    area_mm2 = sum(design.area_mm2.values()) + selection_mm2
    return replace(whole, totals=replace(whole.totals, area_mm2=area_mm2))


def dual_costs(
    design: DualModule, defended: Defended, masks: MaskSet, input_kind: InputKind, samples: int
) -> ImageCosts:
    """Costs of all defended layers for each of the first images by itself."""
    layers = [
        image_costs(design, _work(layer, report, defended, masks, input_kind, samples))
        for layer, report in _defended_layers(defended)
    ]
    return total_costs(defended.base.label, layers)


def dual_architecture(accelerator: Accelerator, design: DualModule) -> ArchitectureRecord:
    """The executor's entry in the record, with the energies and areas of the speculator's halves beside it."""
    record = accelerator.record()
    halves = [
        (half, part.record()) for half, part in zip(_HALVES, (design.projection, design.approximation), strict=True)
    ]
    return replace(
        record,
        files=(*record.files, *(file for _, part in halves for file in part.files)),
        energy_table=(*record.energy_table, *(_of(half, row) for half, part in halves for row in part.energy_table)),
        area_table=(*record.area_table, *(_of(half, row) for half, part in halves for row in part.area_table)),
    )


def _of(half: str, row: Mapping[str, object]) -> dict[str, object]:
    return {**row, "component": f"{half}: {row['component']}"}


def _defended_layers(defended: Defended) -> list[tuple[Layer, DefendedLayerReport]]:
    reports = defended.reports()
    return [(layer, reports[layer.name]) for layer in defended.base.traced.layers if layer.name in reports]


def _work(
    layer: Layer,
    report: DefendedLayerReport,
    defended: Defended,
    masks: MaskSet,
    input_kind: InputKind,
    samples: int | None,
) -> DualWorkload:
    settings = defended.model.settings
    return masked_workload(
        layer,
        masks,
        dimension=report.dimension,
        bits=BITS[settings.precision],
        selection=_selection(settings, report),
        input_kind=input_kind,
        samples=samples,
    )


def _selection(settings: NeniSettings, report: DefendedLayerReport) -> Selection:
    if settings.selection == "n_of_m":
        return Selection("n_of_m", *settings.group)
    if settings.selection == "threshold":
        return Selection("threshold")
    return Selection("top_k", kept_of(report.share, report.outputs))


def _by_component(found: DualLayer) -> dict[str, float]:
    """The executor's part with the components of layers left exact, the method's other parts by their names."""
    parts = {f"NENI: {part}": pJ for part, pJ in found.energy_pJ.items() if part != "executor"}
    return {name: pJ / 1e6 for name, pJ in (found.executor_energy_pJ | parts).items()}


def _row(design: DualModule, work: DualWorkload, report: DefendedLayerReport) -> LayerHardware:
    """Additions of the projection count as multiply-accumulates of a third of its entries: zeros are skipped."""
    found: DualLayer = design.simulate(work)
    waterfall, realised = dual_waterfall(design, work, found)
    dense_additions = work.positions * report.groups * report.dimension * report.inputs
    # k as the method has it; what hardware adds to fill its lanes is in cycles and energy.
    approximate = work.positions * report.outputs * report.dimension
    macs = found.exact_macs + approximate + dense_additions
    actual = found.executed_macs + approximate + round(found.additions)
    units = design.executor.design.architecture.compute.instances
    return LayerHardware(
        layer=found.layer,
        energy_uJ=found.total_energy_pJ / 1e6,
        latency_cycles=found.latency_cycles,
        utilization=min(1.0, found.executed_macs / (found.latency_cycles * units)),
        macs=macs,
        actual_macs=actual,
        gated_macs=0,
        skipped_macs=macs - actual,
        bound_by=found.bound_by,
        energy_by_component_uJ=_by_component(found),
        mapping="",
        waterfall=waterfall,
        realised=realised,
    )
