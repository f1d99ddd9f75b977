"""One layer of a traced model on an accelerator, with densities or with its recorded masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.reordering import best_order
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.density import ActualData
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.record import InputKind, RealisedRecord, WaterfallRecord
from codesign.evaluation.waterfall import layer_waterfall
from codesign.masks.reading import MaskSet
from codesign.models.layers import Layer
from codesign.workloads.lowering import problem, shape_key
from codesign.workloads.masks import masked_problem

__all__ = ["LayerRun", "LayerSimulator", "total_realised"]


@dataclass(frozen=True, slots=True)
class LayerRun:
    """What is known of one layer.

    Args:
        result: of the engine.
        waterfall: None with another engine than the embedded one.
        realised: None where only densities are known.
        warnings: of the engine, and why masks could not be simulated.
    """

    result: Result
    waterfall: WaterfallRecord | None
    realised: RealisedRecord | None
    warnings: tuple[str, ...]


class LayerSimulator:
    """Simulates layers of one model for one kind of input; equal layers once.

    Args:
        accelerator: the design.
        engine: what simulates.
        masks: recorded masks of the model for ``density: actual``; None for expected densities.
        input_kind: which of the masks.
    """

    def __init__(self, accelerator: Accelerator, engine: Engine, masks: MaskSet | None, input_kind: InputKind) -> None:
        self._accelerator = accelerator
        self._engine = engine
        self._masks = masks
        self._kind = input_kind
        self._done: dict[str, LayerRun] = {}

    def run(
        self, layer: Layer, mapping: Mapping, *, input_density: float, weight_density: float
    ) -> LayerRun | Infeasible:
        """Simulate a layer.

        A layer whose masks are beyond the model is simulated with its densities, and a warning says so.

        Raises:
            InputError: a mask is missing, damaged, or not of this layer.
        """
        expected = problem(layer, input_density=input_density, weight_density=weight_density)
        if self._masks is None:
            return self._once(layer, expected, mapping)
        if not self._accelerator.design.sparse:
            return self._even(self._once(layer, expected, mapping), layer)
        try:
            return self._once(layer, masked_problem(layer, self._masks, input_kind=self._kind), mapping)
        except InputError as error:
            if not error.rule.startswith("not modelled"):
                raise
            run = self._once(layer, expected, mapping)
            if isinstance(run, Infeasible):
                return run
            return replace(run, warnings=(*run.warnings, f"simulated with its densities, not its masks: {error}"))

    def _once(self, layer: Layer, workload: Problem, mapping: Mapping) -> LayerRun | Infeasible:
        key = shape_key(workload)
        if key not in self._done:
            found = self._simulated(layer, workload, mapping)
            if isinstance(found, Infeasible):
                return found
            self._done[key] = found
        return self._done[key]

    def _simulated(self, layer: Layer, workload: Problem, mapping: Mapping) -> LayerRun | Infeasible:
        accelerator = self._accelerator
        design = accelerator.design
        result = self._engine(
            Case(layer.name, design.architecture, workload, mapping, design.sparse, accelerator.energy)
        )
        if isinstance(result, Infeasible):
            return result
        if self._engine is not simulate:
            # Another engine's numbers and those of a waterfall would not belong together.
            return LayerRun(result, None, None, result.warnings)
        if not any(isinstance(density, ActualData) for density in workload.densities):
            fall = layer_waterfall(accelerator, workload, mapping)
            return fall if isinstance(fall, Infeasible) else LayerRun(result, fall, None, result.warnings)
        latency = realised_latency(design.architecture, workload, mapping, accelerator.energy, design.sparse)
        if isinstance(latency, Infeasible):
            return latency
        fall = layer_waterfall(accelerator, workload, mapping, latency)
        if isinstance(fall, Infeasible):
            return fall
        order = best_order(design.architecture, workload, mapping, accelerator.energy, design.sparse, latency)
        return LayerRun(result, fall, _record(result, latency, order), result.warnings)

    def _even(self, run: LayerRun | Infeasible, layer: Layer) -> LayerRun | Infeasible:
        """On a design that looks at no zero, all instances have the same work."""
        if isinstance(run, Infeasible):
            return run
        assert self._masks is not None
        cycles = float(run.result.compute_cycles)
        samples = self._masks.tensor(layer.name, "inputs", self._kind).entry.samples
        latency = float(run.result.cycles)
        return replace(run, realised=RealisedRecord(samples, cycles, cycles, latency, None, None, None))


def _record(result: Result, latency: RealisedLatency, order: tuple[str, RealisedLatency] | None) -> RealisedRecord:
    realised = _mean(latency.realised_cycles)
    ordered = None if order is None else _mean(order[1].realised_cycles)
    return RealisedRecord(
        samples=len(latency.realised_cycles),
        expected_cycles=_mean(latency.expected_cycles),
        realised_cycles=realised,
        latency_cycles=max(float(result.cycles), realised),
        reordered_by=None if order is None else order[0],
        reordered_cycles=ordered,
        reordered_latency_cycles=None if ordered is None else max(float(result.cycles), ordered),
    )


def _mean(values: tuple[float, ...] | tuple[int, ...]) -> float:
    return sum(values) / len(values)


def total_realised(parts: list[tuple[RealisedRecord | None, int]]) -> RealisedRecord | None:
    """Of layers that run one after another; None if it is known of none of them.

    Args:
        parts: of every layer, with its expected latency, which stands in where the realised one is not known. A layer
            whose channels cannot be ordered keeps its order.
    """
    known = [part for part, _ in parts if part is not None]
    if not known:
        return None
    ordered = [part.reordered_by for part in known if part.reordered_by is not None]

    def latency(part: RealisedRecord | None, expected: int, *, reordered: bool) -> float:
        if part is None:
            return float(expected)
        best = part.reordered_latency_cycles if reordered else None
        return part.latency_cycles if best is None else best

    return RealisedRecord(
        samples=min(part.samples for part in known),
        expected_cycles=sum(part.expected_cycles for part in known),
        realised_cycles=sum(part.realised_cycles for part in known),
        latency_cycles=sum(latency(part, expected, reordered=False) for part, expected in parts),
        reordered_by=", ".join(dict.fromkeys(ordered)) or None,
        reordered_cycles=sum(
            part.realised_cycles if part.reordered_cycles is None else part.reordered_cycles for part in known
        )
        if ordered
        else None,
        reordered_latency_cycles=sum(latency(part, expected, reordered=True) for part, expected in parts)
        if ordered
        else None,
    )
