"""The hardware half takes its numbers from the engine that it is given, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.accelerator.engines import embedded
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.evaluation.accelerators import load_accelerator
from codesign.evaluation.hardware import InfeasibleLayerError, LayerDensities, map_layers, simulate_model
from codesign.evaluation.record import AccuracyRecord, HardwareRecord
from codesign.models.layers import Layer, Operand
from codesign.workloads.traffic import Fusion

LAYER = Layer(
    name="conv",
    kind="conv",
    bounds=(1, 1, 8, 4, 4, 4, 3, 3),
    inputs=Operand((4, 6, 6)),
    weights=Operand((8, 4, 3, 3), "conv.weight"),
    outputs=(8, 4, 4),
)
TWIN = replace(LAYER, name="twin")


def run(engine: object) -> HardwareRecord:
    accelerator = load_accelerator("vector_pe_edge")
    return simulate_model(
        accelerator,
        map_layers(accelerator, [LAYER, TWIN]),
        (),
        {name: LayerDensities(0.5, 1.0) for name in ("conv", "twin")},
        input_kind="clean",
        accuracy=AccuracyRecord("clean", 1, 2, 0.1, 0.9),
        fusion=Fusion.FUSED,
        mapping_file=str,
        engine=engine,  # type: ignore[arg-type]
    )


def test_the_engine_is_asked_once_for_each_different_layer_and_believed() -> None:
    asked: list[str] = []

    def engine(case: Case, **_: object) -> Result | Infeasible:
        asked.append(case.name)
        answer = embedded.simulate(case)
        assert isinstance(answer, Result)
        return replace(answer, cycles=10 * answer.cycles)

    own, others = run(embedded.simulate), run(engine)
    assert asked == ["conv"]  # its twin has the same shape and densities
    assert [row.layer for row in others.layers] == ["conv", "twin"]
    assert others.totals.latency_cycles == 10 * own.totals.latency_cycles
    assert others.totals.energy_uJ == own.totals.energy_uJ


def test_an_infeasible_answer_names_layer_and_architecture() -> None:
    refusal = Infeasible("input_buffer", 9, 4, "words", "input_buffer: 9 words do not fit into 4")
    with pytest.raises(InfeasibleLayerError, match=r"vector_pe_edge: conv: input_buffer: 9 words"):
        run(lambda *_, **__: refusal)
