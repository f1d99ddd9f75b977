"""A traced model on an accelerator: a mapping for every layer, and cycles and energy for each kind of input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.mapper.goal import Goal
from codesign.accelerator.mapper.store import MappingStore
from codesign.accelerator.mapper.stored import find_mapping
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.mapping import Mapping as LoopMapping
from codesign.accelerator.spec.problem import Problem
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.layer_run import LayerSimulator, total_realised
from codesign.evaluation.record import AccuracyRecord, HardwareRecord, InputKind, LayerHardware, Totals
from codesign.evaluation.waterfall import summed
from codesign.masks.reading import MaskSet
from codesign.models.layers import Layer, Traffic
from codesign.resources import mappings_dir
from codesign.workloads.lowering import problem, shape_key
from codesign.workloads.traffic import Fusion, MemoryTraffic, memory_traffic

__all__ = ["InfeasibleLayerError", "LayerDensities", "MappedLayer", "joined", "map_layers", "simulate_model"]

NON_MAC = "non-MAC operators"

# A record's multiply-accumulates must be those of the layers, so that no mapping may pad them.
_GOAL = Goal(("edp",), perfect_only=True)


class InfeasibleLayerError(Exception):
    """No legal mapping was found for a layer: carries the engine's answer."""

    def __init__(self, layer: str, architecture: str, answer: Infeasible) -> None:
        super().__init__(f"{architecture}: {layer}: {answer.message}")
        self.layer = layer
        self.architecture = architecture
        self.answer = answer


@dataclass(frozen=True, slots=True)
class LayerDensities:
    """Share of nonzero inputs and weights of a layer for one kind of input."""

    inputs: float
    weights: float


@dataclass(frozen=True, slots=True)
class MappedLayer:
    """A layer with the mapping that it runs with; the same for every kind of input, so that only masks differ."""

    layer: Layer
    dense: Problem
    mapping: LoopMapping


def map_layers(
    accelerator: Accelerator,
    layers: Sequence[Layer],
    progress: Callable[[int], None] | None = None,
    *,
    mappings: Path | None = None,
) -> tuple[MappedLayer, ...]:
    """A legal mapping for every layer; identical layers are searched once.

    Args:
        mappings: a folder of the user's own mappings: looked into after the shipped ones, and where mappings that had
            to be searched are kept.

    Raises:
        InputError: a stored mapping is broken.
        InfeasibleLayerError: a layer has no legal mapping under the architecture's constraints.
    """
    found: dict[str, LoopMapping] = {}
    design = accelerator.design
    own = None if mappings is None else MappingStore(mappings)
    stores = [MappingStore(mappings_dir()), *([] if own is None else [own])]
    mapped = []
    for done, layer in enumerate(layers):
        dense = problem(layer)
        key = shape_key(dense)
        if key not in found:
            task = Task(design.architecture, dense, design.constraints(dense), accelerator.energy, design.sparse)
            answer = find_mapping(task, stores, goal=_GOAL, keep_in=own)
            if isinstance(answer, Infeasible):
                raise InfeasibleLayerError(layer.name, accelerator.name, answer)
            found[key] = answer.mapping
        mapped.append(MappedLayer(layer, dense, found[key]))
        if progress is not None:
            progress(done + 1)
    return tuple(mapped)


def simulate_model(
    accelerator: Accelerator,
    mapped: Sequence[MappedLayer],
    traffic: Sequence[Traffic],
    densities: Mapping[str, LayerDensities],
    *,
    input_kind: InputKind,
    accuracy: AccuracyRecord,
    fusion: Fusion,
    mapping_file: Callable[[str], str],
    engine: Engine = simulate,
    masks: MaskSet | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HardwareRecord:
    """Energy, cycles and skipped work of one sample, layer by layer and in total.

    Args:
        densities: by layer name.
        mapping_file: where the mapping of a layer is written, relative to the run.
        engine: what simulates; the embedded one by default.
        masks: recorded masks, to be simulated themselves in place of their densities.
        progress: is told how many layers are done, of how many.

    Raises:
        InputError: a mask is missing, damaged or of another layer.
        InfeasibleLayerError: the engine finds a mapping illegal.
    """
    simulator = LayerSimulator(accelerator, engine, masks, input_kind)
    rows, warnings = [], []
    for number, item in enumerate(mapped):
        layer = item.layer
        density = densities[layer.name]
        run = simulator.run(layer, item.mapping, input_density=density.inputs, weight_density=density.weights)
        if isinstance(run, Infeasible):
            raise InfeasibleLayerError(layer.name, accelerator.name, run)
        warnings += [f"{layer.name}: {text}" for text in run.warnings]
        row = _layer_row(layer, run.result, accelerator, mapping_file(layer.name))
        rows.append(replace(row, waterfall=run.waterfall, realised=run.realised))
        if progress is not None:
            progress(number + 1, len(mapped))
    moved = [memory_traffic(item, fusion=fusion) for item in traffic]
    return joined(accelerator, rows, moved, input_kind, accuracy, tuple(warnings))


def _layer_row(layer: Layer, result: Result, accelerator: Accelerator, mapping: str) -> LayerHardware:
    compute = result.computes
    gated = compute.gated + compute.kept_away_by_gating
    by_component = {name: (level.energy_pJ + level.network_pJ) / 1e6 for name, level in result.levels.items()}
    by_component[accelerator.design.architecture.compute.name] = compute.energy_pJ / 1e6
    slowest = max(result.levels, key=lambda name: result.levels[name].cycles)
    bound_by = "compute" if result.cycles <= result.compute_cycles else f"{slowest} bandwidth"
    return LayerHardware(
        layer=layer.name,
        energy_uJ=result.energy_pJ / 1e6,
        latency_cycles=result.cycles,
        utilization=result.utilization,
        macs=compute.algorithmic,
        actual_macs=compute.actual,
        gated_macs=gated,
        # What is neither done nor gated takes neither energy nor time, whichever level left it out.
        skipped_macs=compute.algorithmic - compute.actual - gated,
        bound_by=bound_by,
        energy_by_component_uJ=by_component,
        mapping=mapping,
    )


def joined(
    accelerator: Accelerator,
    rows: Sequence[LayerHardware],
    moved: Sequence[MemoryTraffic],
    input_kind: InputKind,
    accuracy: AccuracyRecord,
    warnings: tuple[str, ...],
) -> HardwareRecord:
    architecture = accelerator.design.architecture
    outermost = architecture.storage[-1]
    actions = accelerator.energy.actions(outermost.name)
    traffic, traffic_uJ = [], 0.0
    for item in moved:
        energy_pJ = (item.words_read * actions["read"] + item.words_written * actions["write"]) / outermost.block_size
        traffic_uJ += energy_pJ / 1e6
        traffic.append(
            {
                "name": item.name,
                "kind": item.kind,
                "words_read": item.words_read,
                "words_written": item.words_written,
                "energy_uJ": energy_pJ / 1e6,
            }
        )
    names = dict.fromkeys(name for row in rows for name in row.energy_by_component_uJ)
    components = {name: sum(row.energy_by_component_uJ.get(name, 0.0) for row in rows) for name in names}
    components[f"{outermost.name}: {NON_MAC}"] = traffic_uJ
    cycles = sum(row.latency_cycles for row in rows)
    falls = [row.waterfall for row in rows if row.waterfall is not None]
    return HardwareRecord(
        architecture=accelerator.name,
        input_kind=input_kind,
        accuracy=accuracy,
        totals=Totals(
            energy_uJ=sum(row.energy_uJ for row in rows) + traffic_uJ,
            traffic_energy_uJ=traffic_uJ,
            latency_cycles=cycles,
            latency_ms=cycles * accelerator.design.cycle_seconds * 1e3,
            area_mm2=accelerator.area_mm2,
            utilization=sum(row.utilization * row.latency_cycles for row in rows) / cycles,
            macs=sum(row.macs for row in rows),
            actual_macs=sum(row.actual_macs for row in rows),
            gated_macs=sum(row.gated_macs for row in rows),
            skipped_macs=sum(row.skipped_macs for row in rows),
        ),
        energy_by_component_uJ=components,
        layers=tuple(rows),
        traffic=tuple(traffic),
        warnings=tuple(dict.fromkeys(warnings)),
        waterfall=summed(falls) if len(falls) == len(rows) else None,
        realised=total_realised([(row.realised, row.latency_cycles) for row in rows]),
    )
