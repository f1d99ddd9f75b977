"""What becomes of the work that a mask over the outputs leaves out, on a dual-module design, predictor included."""

from __future__ import annotations

from dataclasses import replace

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.imbalance import RealisedLatency, realised_latency
from codesign.accelerator.model.reordering import best_order
from codesign.accelerator.result import Result
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.waterfall import masks_known
from codesign.evaluation.dual_module import DualLayer, DualModule, pipelined
from codesign.evaluation.record import RealisedRecord, WaterfallRecord
from codesign.evaluation.waterfall import layer_waterfall, with_predictor
from codesign.workloads.dual_module import DualWorkload

__all__ = ["dual_waterfall"]


def dual_waterfall(
    design: DualModule, work: DualWorkload, found: DualLayer
) -> tuple[WaterfallRecord, RealisedRecord | None]:
    """The waterfall of a defended layer, and its latency with imbalance where its masks are recorded.

    The work is that of the exact product, the dense run that of the executor alone. "predictor" is all that the
    speculator, the selection and the mask cost: their energy, and the cycles by which the pipeline of both modules, and
    the memories that they share, are longer than the executor's own. With imbalance the executor's stage takes what its
    busiest instance takes.

    Args:
        found: what ``design.simulate(work)`` gave.

    Raises:
        InputError: something is not modelled.
    """
    executor = design.executor
    mapping = design.executor_mapping(work)
    assert isinstance(mapping, Mapping)  # the layer was simulated
    given = (executor.design.architecture, work.exact, mapping, executor.energy, executor.design.sparse)
    run = evaluate(*given)
    latency = realised_latency(*given) if masks_known(work.exact, executor.design.sparse) else None
    fall = layer_waterfall(executor, work.exact, mapping, latency if isinstance(latency, RealisedLatency) else None)
    assert isinstance(run, Result)
    assert isinstance(fall, WaterfallRecord)
    realised = None
    if isinstance(latency, RealisedLatency):
        realised = _realised(found, latency, best_order(*given, latency))
    return _with_pipeline(fall, run, found, realised), realised


def _with_pipeline(
    fall: WaterfallRecord, run: Result, found: DualLayer, realised: RealisedRecord | None
) -> WaterfallRecord:
    """Cycles of the pipeline instead of those of the executor alone."""
    ideal = fall.dense_cycles * (1 - fall.skipped_macs / fall.macs)
    imbalance = 0.0 if realised is None else realised.latency_cycles - found.latency_cycles
    alone = replace(
        fall, cycles=run.cycles + imbalance, lost_cycles={"imbalance": imbalance, "bandwidth": run.cycles - ideal}
    )
    return with_predictor(
        alone,
        energy_uJ=found.total_energy_pJ / 1e6 - fall.energy_uJ,
        cycles=float(found.latency_cycles - run.cycles),
    )


def _realised(found: DualLayer, latency: RealisedLatency, order: tuple[str, RealisedLatency] | None) -> RealisedRecord:
    samples = len(latency.realised_cycles)
    busiest = sum(latency.realised_cycles) / samples
    ordered = None if order is None else sum(order[1].realised_cycles) / samples
    return RealisedRecord(
        samples=samples,
        expected_cycles=sum(latency.expected_cycles) / samples,
        realised_cycles=busiest,
        latency_cycles=_pipeline_cycles(found, busiest),
        reordered_by=None if order is None else order[0],
        reordered_cycles=ordered,
        reordered_latency_cycles=None if ordered is None else _pipeline_cycles(found, ordered),
    )


def _pipeline_cycles(found: DualLayer, executor_cycles: float) -> float:
    """Latency of the layer if the compute units of its executor take this long."""
    stages = {**found.stage_cycles, "executor": max(found.stage_cycles["executor"], round(executor_cycles))}
    return float(max(pipelined(tuple(stages.values()), found.tiles), found.dram_cycles, found.buffer_cycles))
