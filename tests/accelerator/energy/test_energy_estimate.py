"""From an architecture to its table: which actions are listed, saved actions, metadata, own estimators, errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codesign.accelerator.energy import BUILTIN, Component, ComponentEstimate, Figure, estimate
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.energy_table import Provenance
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    SparseOptimizations,
)
from codesign.errors import InputError

CHIP = {"technology": "45nm", "global_cycle_seconds": 1e-9}
DRAM = Storage("dram", "DRAM", attributes={**CHIP, "width": 64, "type": "LPDDR4"})
BUFFER = Storage("buffer", "SRAM", attributes={**CHIP, "width": 64, "depth": 4096, "n_banks": 2})
DUMMY = Storage("inter_pe_spatial", "dummy_storage", spatial_dummy=True)
MAC = Compute("mac", "intmac", mesh_x=16, attributes={**CHIP, "width": 8})
DESIGN = Architecture("chip", (DUMMY, BUFFER, DRAM), MAC)


def saving(level: str, kind: str) -> SparseOptimizations:
    action = ActionOptimization(kind, (Option("Weights", ("Inputs",)),))  # type: ignore[arg-type]
    return SparseOptimizations((LevelSparsity(level, (action,)),))


def test_every_level_and_the_compute_are_listed_outermost_first() -> None:
    table = estimate(DESIGN)
    assert list(dict.fromkeys(entry.component for entry in table)) == ["dram", "buffer", "mac"]
    assert [entry.component for entry in table.areas] == ["dram", "buffer", "mac"]
    for name in ("dram", "buffer"):
        assert set(table.actions(name)) == {"read", "write", "update", "leak"}
    assert set(table.actions("mac")) == {"compute", "leak"}
    assert table.actions("buffer")["read"] == pytest.approx(14.3315, rel=1e-4)
    assert table.actions("mac")["compute"] == pytest.approx(0.845)
    assert table.actions("dram")["read"] == 512
    assert table.area_um2("buffer") == pytest.approx(111222, rel=1e-4)
    for entry in (*table.energies, *table.areas):
        assert entry.provenance.source


def test_gating_keeps_the_idle_energy_of_a_compute_and_nothing_of_an_access() -> None:
    table = estimate(DESIGN, saving("buffer", "gating"))
    actions = table.actions("buffer")
    assert {name: actions[name] for name in actions if "gated" in name or "skipped" in name} == {
        "gated_read": 0,
        "gated_write": 0,
        "gated_update": 0,
    }
    assert set(table.actions("mac")) == {"compute", "leak", "compute_gated"}
    assert table.actions("mac")["compute_gated"] == table.actions("mac")["leak"] > 0
    assert "gated_read" not in table.actions("dram")
    source = next(entry.provenance for entry in table if entry.action == "gated_read")
    assert "JSSC" in source.source
    assert "not modelled" in source.scaling


def test_skipping_leaves_nothing() -> None:
    table = estimate(DESIGN, saving("buffer", "skipping"))
    assert table.actions("buffer")["skipped_read"] == 0
    assert table.actions("mac")["compute_skipped"] == 0
    assert "compute_gated" not in table.actions("mac")


@pytest.mark.parametrize(("kind", "action"), [("gating", "compute_gated"), ("skipping", "compute_skipped")])
def test_savings_at_the_compute(kind: str, action: str) -> None:
    sparse = SparseOptimizations(compute=(ComputeOptimization("mac", kind),))  # type: ignore[arg-type]
    table = estimate(DESIGN, sparse)
    assert set(table.actions("mac")) == {"compute", "leak", action}
    assert set(table.actions("buffer")) == {"read", "write", "update", "leak"}


def test_metadata_is_an_array_of_its_own() -> None:
    level = replace(BUFFER, metadata_width_bits=32, metadata_depth=1024)
    table = estimate(replace(DESIGN, storage=(DUMMY, level, DRAM)), saving("buffer", "gating"))
    plain = estimate(DESIGN)
    metadata = BUILTIN["SRAM"](Component("m", "SRAM", {**BUFFER.attributes, "width": 32, "depth": 1024}))
    assert table.actions("buffer")["read"] == plain.actions("buffer")["read"]
    assert table.actions("buffer")["metadata_read"] == metadata.action("read").value
    assert table.actions("buffer")["metadata_write"] == metadata.action("write").value
    assert table.actions("buffer")["gated_metadata_update"] == 0
    expected = plain.actions("buffer")["leak"] + metadata.action("leak").value
    assert table.actions("buffer")["leak"] == pytest.approx(expected)
    assert table.area_um2("buffer") == pytest.approx(plain.area_um2("buffer") + metadata.area_um2.value)


def test_metadata_in_dram_needs_no_depth_but_an_sram_does() -> None:
    dram = replace(DRAM, metadata_width_bits=64)
    assert estimate(replace(DESIGN, storage=(BUFFER, dram))).actions("dram")["metadata_read"] == 512
    buffer = replace(BUFFER, metadata_width_bits=32)
    with pytest.raises(InputError, match="depends on depth"):
        estimate(replace(DESIGN, storage=(buffer, DRAM)))


def test_factors_of_the_architecture_file() -> None:
    scaled = replace(BUFFER, energy_scale=2.0, area_scale=3.0)
    table, plain = estimate(replace(DESIGN, storage=(scaled, DRAM))), estimate(DESIGN)
    assert table.actions("buffer")["write"] == 2 * plain.actions("buffer")["write"]
    assert table.area_um2("buffer") == 3 * plain.area_um2("buffer")
    entry = next(entry for entry in table if entry.component == "buffer")
    assert entry.provenance.scaling.endswith("x 2 by the architecture file")


def test_the_subclass_is_asked_before_the_class() -> None:
    level = replace(BUFFER, component_class="storage", subclass="SRAM")
    assert estimate(replace(DESIGN, storage=(level, DRAM))) == estimate(DESIGN)


def own_buffer(component: Component) -> ComponentEstimate:
    """A user's estimator: a measured macro."""
    measured = Provenance("own macro, data sheet", confidence="measured")
    figures = {action: Figure(component.integer("width") / 8, measured) for action in ("read", "write", "update")}
    return ComponentEstimate({**figures, "leak": Figure(1e-3, measured)}, Figure(5000, measured))


def test_a_users_estimator_comes_in_through_the_same_seam() -> None:
    level = replace(BUFFER, component_class="my_SRAM")
    design = replace(DESIGN, storage=(level, DRAM))
    table = estimate(design, estimators={**BUILTIN, "my_SRAM": own_buffer})
    assert table.actions("buffer") == {"read": 8, "write": 8, "update": 8, "leak": 1e-3}
    assert table.area_um2("buffer") == 5000
    assert next(entry for entry in table if entry.component == "buffer").provenance.confidence == "measured"
    with pytest.raises(InputError, match=r"no energy table knows .*my_SRAM.*did you mean SRAM"):
        estimate(design)


def test_an_estimator_must_give_what_the_engine_needs() -> None:
    figure = Figure(1.0, Provenance("own"))

    def silent(component: Component) -> ComponentEstimate:
        return ComponentEstimate({"read": figure}, figure)

    with pytest.raises(InputError, match="no energy for write") as caught:
        estimate(DESIGN, estimators={**BUILTIN, "SRAM": silent})
    assert caught.value.key == "buffer.class"
    with pytest.raises(InputError, match="no energy for mac_random or"):
        estimate(DESIGN, estimators={**BUILTIN, "intmac": silent})


def test_a_missing_leakage_is_said_to_be_missing() -> None:
    figure = Figure(1.0, Provenance("own"))

    def without(component: Component) -> ComponentEstimate:
        return ComponentEstimate({"read": figure, "write": figure}, figure)

    table = estimate(DESIGN, estimators={**BUILTIN, "SRAM": without})
    leak = next(entry for entry in table if entry.component == "buffer" and entry.action == "leak")
    assert leak.energy_pJ == 0
    assert "not modelled" in leak.provenance.scaling


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (replace(BUFFER, component_class="smartbuffer_SRAM"), "did you mean SRAM"),
        (replace(BUFFER, attributes={"width": 64, "depth": 64}), "depends on technology"),
        (replace(BUFFER, component_class="crossbar"), "known: DRAM, SRAM, comparator"),
    ],
)
def test_errors_name_the_component(changed: Storage, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        estimate(replace(DESIGN, storage=(changed, DRAM)))
    assert str(caught.value).startswith("buffer.")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_figure_is_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="Figure: a finite number"):
        Figure(value, Provenance("own"))


def test_an_estimate_knows_only_its_actions() -> None:
    answer = BUILTIN["SRAM"](Component("b", "SRAM", BUFFER.attributes))
    with pytest.raises(KeyError):
        answer.action("compute")
