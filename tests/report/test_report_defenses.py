"""Defended models beside their bases, within a run and over several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from codesign.evaluation.record import DefenseRecord, ModelRecord, Record, SpreadRecord
from codesign.report.comparison import combine
from codesign.report.defenses import ARRAY, DENSE, DUAL, EXACT, defense_tables, show_defenses

DEFENSE = DefenseRecord(
    method="neni",
    base="natural",
    settings={"share": 0.5},
    calibration={"images": 1000, "name": "training"},
    layers=(),
    exact_layers={"stem.conv": "the first convolution"},
    bitops={"undefended": 80.0, "defended": 20.0, "network_undefended": 100.0, "network_defended": 40.0},
    spreads=(SpreadRecord("vector_pe_edge", "clean", "energy_uJ", 32, 2.0, 1.0, 3.0),),
)


@pytest.fixture
def defended(record: Record) -> Record:
    """The first model once more, as if a defence stood around it and everything cost twice as much."""
    base = record.models[0]
    twin = replace(
        base,
        name=f"{base.name} + neni",
        defense=replace(DEFENSE, base=base.name),
        hardware=tuple(
            replace(entry, totals=replace(entry.totals, energy_uJ=2 * entry.totals.energy_uJ))
            for entry in base.hardware
        ),
    )
    return replace(record, models=(base, twin))


def test_ratios_are_over_the_exact_network_on_the_same_architecture(defended: Record) -> None:
    (table,) = defense_tables(defended)
    assert table.bitops_ratio == 0.4
    assert table.layers_bitops_ratio == 0.25
    assert table.calibration_text == "fitted to 1,000 images of training that are not evaluated"
    of_method = [row for row in table.rows if row.variant in (ARRAY, DUAL)]
    assert {row.energy_ratio for row in of_method} == {2.0}
    assert {row.latency_ratio for row in of_method} == {1.0}
    assert {row.architecture for row in of_method if row.variant == DUAL} == {"vector_pe_edge"}
    assert {row.energy_ratio for row in table.rows if row.variant == EXACT} == {1.0}
    assert not any(row.variant == DENSE for row in table.rows)  # these records have no waterfall


def test_without_its_base_a_defence_is_not_compared(defended: Record) -> None:
    (table,) = defense_tables(replace(defended, models=defended.models[1:]))
    assert table.rows == ()
    console = Console(record=True, width=120)
    show_defenses(console, replace(defended, models=defended.models[1:]))
    assert console.export_text() == ""


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ({}, "compute the same number of neurons for every image"),
        (
            {"images": 8, "clean_mean": 0.5, "clean_p5": 0.4, "clean_p95": 0.6}
            | {"attacked_mean": 0.61, "attacked_p5": 0.5, "attacked_p95": 0.75},
            "from 50.0 to 61.0 % (95th percentile 60.0 to 75.0 %) over 8 images",
        ),
    ],
)
def test_an_attack_on_the_work_is_told(defended: Record, work: dict[str, Any], expected: str) -> None:
    def changed(model: ModelRecord) -> ModelRecord:
        return model if model.defense is None else replace(model, defense=replace(model.defense, work=work))

    (table,) = defense_tables(replace(defended, models=tuple(changed(model) for model in defended.models)))
    assert expected in table.work_text


def test_runs_side_by_side_keep_every_twin_with_its_own_base(defended: Record) -> None:
    both = combine({"one": defended, "two": defended}).record
    tables = defense_tables(both)
    assert [table.defense.base for table in tables] == [f"{defended.models[0].name} ({run})" for run in ("one", "two")]
    assert all(table.rows for table in tables)
