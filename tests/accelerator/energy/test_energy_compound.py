"""Compound classes against an ERT and ART that Accelergy made, and the composition rules one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.accelerator.energy import BUILTIN, Component, ComponentEstimate, estimate
from codesign.accelerator.energy.compound import with_compounds
from codesign.accelerator.spec.compound import (
    ActionPart,
    CompoundAction,
    CompoundClass,
    Formula,
    Subcomponent,
    SubcomponentAction,
)
from codesign.accelerator.spec.loader import load_design
from codesign.errors import InputError

# A buffer with its address counters, and an approximate MAC behind its operand latches.
DESIGN = """
architecture:
  version: 0.4
  nodes:
  - !Container
    name: chip
    attributes: {technology: "45nm", global_cycle_seconds: 1e-9}
  - !Component
    name: dram
    class: DRAM
    attributes: {width: 64, datawidth: 8, type: "LPDDR4"}
  - !Component
    name: buffer
    class: storage
    subclass: counted_buffer
    attributes: {width: 64, depth: 4096, datawidth: 8, n_banks: 2}
  - !Container
    name: pe
    spatial: {meshX: 4}
  - !Component
    name: mac
    class: intmac
    subclass: latched_mac
    attributes: {operand_bits: 4}
compound_components:
  version: 0.4
  classes:
  - name: counted_buffer
    attributes:
      technology: "must_specify"
      width: "must_specify"
      depth: "must_specify"
      n_banks: 2
      global_cycle_seconds: "must_specify"
    subcomponents:
    - name: array
      class: SRAM
      attributes:
        technology: technology
        width: width
        depth: depth
        n_banks: n_banks
        global_cycle_seconds: global_cycle_seconds
    - name: pointer[0..1]
      class: intadder
      attributes:
        technology: technology
        width: max(1, ceil(log2(depth)))
        global_cycle_seconds: global_cycle_seconds
    actions:
    - name: read
      subcomponents:
      - name: array
        actions: [{name: read}]
      - name: pointer[0]
        actions: [{name: add}]
    - name: write
      subcomponents:
      - name: array
        actions: [{name: write}]
      - name: pointer[0..1]
        actions: [{name: add}]
    - name: update
      subcomponents:
      - name: array
        actions: [{name: update}]
      - name: pointer[1]
        actions: [{name: add}]
    - name: leak
      subcomponents:
      - name: array
        actions: [{name: leak}]
      - name: pointer[0..1]
        actions: [{name: leak}]
  - name: latched_mac
    attributes:
      technology: "must_specify"
      operand_bits: 4
      global_cycle_seconds: "must_specify"
    subcomponents:
    - name: core
      class: intmac
      attributes:
        technology: technology
        width: operand_bits
        global_cycle_seconds: global_cycle_seconds
    - name: latch[0..2]
      class: regfile
      attributes:
        technology: technology
        width: operand_bits
        depth: 2
        global_cycle_seconds: global_cycle_seconds
    actions:
    - name: compute
      subcomponents:
      - name: core
        actions: [{name: compute}]
      - name: latch[0..2]
        actions: [{name: read}]
    - name: leak
      subcomponents:
      - name: core
        actions: [{name: leak}]
"""
CHIP = {"technology": "45nm", "global_cycle_seconds": 1e-9}
ADDER_PJ, ADDER_UM2 = 0.21, 278.0


def adder_tree(**changed: object) -> CompoundClass:
    """A compound of ``n`` adders of ``width`` bits; ``add`` uses all of them."""
    given: dict[str, object] = {
        "name": "tree",
        "attributes": {"n": 4, "last": Formula("n - 1")},
        "subcomponents": (Subcomponent("adder[0..last]", "intadder", {"width": Formula("width")}),),
        "actions": (action("compute", "adder[0..last]"),),
        **changed,
    }
    return CompoundClass(**given)  # type: ignore[arg-type]


def action(name: str, part: str, **scale: object) -> CompoundAction:
    return CompoundAction(name, (ActionPart(part, (SubcomponentAction("add", **scale),)),))  # type: ignore[arg-type]


def ask(compound: CompoundClass, *others: CompoundClass, **attributes: object) -> ComponentEstimate:
    known = with_compounds([compound, *others], BUILTIN)
    return known[compound.name](Component("part", compound.name, {**CHIP, "width": 32, **attributes}))


# What Accelergy 0.4 (6911d15) made of DESIGN: component -> action -> pJ, and um2.
ACCELERGY_PJ = {
    "dram": {"read": 512.0, "write": 512.0, "update": 512.0, "leak": 0.0},
    "buffer": {"read": 14.4103, "write": 13.576, "update": 13.4972, "leak": 0.00266819},
    "mac": {"compute": 0.256901, "leak": 0.0015375},
}
ACCELERGY_UM2 = {"dram": 0.0, "buffer": 111430.0, "mac": 165.034}


def test_the_compound_classes_that_accelergy_evaluated(tmp_path: Path) -> None:
    (tmp_path / "design.yaml").write_text(DESIGN, encoding="utf-8")
    design = load_design([tmp_path / "design.yaml"])
    table = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    for name, expected in ACCELERGY_PJ.items():
        assert table.actions(name) == pytest.approx(expected, rel=1e-5)
        # Accelergy takes 70 instead of 71 um2 for the comparators of a register file (regfile.py).
        assert table.area_um2(name) == pytest.approx(ACCELERGY_UM2[name], rel=2e-3)


def test_copies_add_up_in_energy_and_area() -> None:
    answer = ask(adder_tree())
    assert answer.action("compute").value == pytest.approx(4 * ADDER_PJ)
    assert answer.area_um2.value == pytest.approx(4 * ADDER_UM2)
    assert answer.action("compute").provenance.scaling == "4 x adder.add 0.21"
    assert "Aladdin" in answer.action("compute").provenance.source
    assert answer.action("compute").provenance.confidence == "published"


def test_attributes_of_the_component_come_before_the_classes_own() -> None:
    assert ask(adder_tree(), n=6).action("compute").value == pytest.approx(6 * ADDER_PJ)
    assert ask(adder_tree(), width=16).action("compute").value == pytest.approx(4 * ADDER_PJ / 2)


def test_an_index_is_one_copy() -> None:
    answer = ask(adder_tree(actions=(action("compute", "adder[0]"),)))
    assert answer.action("compute").value == pytest.approx(ADDER_PJ)
    assert answer.area_um2.value == pytest.approx(4 * ADDER_UM2)


def test_scales_multiply() -> None:
    part = Subcomponent("adder", "intadder", {"width": 32}, area_scale=3, energy_scale=Formula("n / 2"))
    compound = adder_tree(subcomponents=(part,), actions=(action("compute", "adder", energy_scale=5),))
    answer = ask(compound)
    assert answer.action("compute").value == pytest.approx(ADDER_PJ * 2 * 5)
    assert answer.area_um2.value == pytest.approx(ADDER_UM2 * 3)


def test_of_argument_ranges_the_largest_counts() -> None:
    ranged = CompoundAction(
        "compute",
        (ActionPart("adder", (SubcomponentAction("add", energy_scale=Formula("lanes")),)),),
        {"lanes": "1..n"},
    )
    compound = adder_tree(subcomponents=(Subcomponent("adder", "intadder", {"width": 32}),), actions=(ranged,))
    assert ask(compound, n=7).action("compute").value == pytest.approx(7 * ADDER_PJ)


def test_compounds_of_compounds() -> None:
    outer = CompoundClass(
        "pair",
        {},
        (Subcomponent("tree[0..1]", "tree", {"width": 32, "n": 3}),),
        (CompoundAction("compute", (ActionPart("tree[0..1]", (SubcomponentAction("compute"),)),)),),
    )
    assert ask(outer, adder_tree()).action("compute").value == pytest.approx(6 * ADDER_PJ)


def test_a_compound_that_contains_itself() -> None:
    part = Subcomponent("inner", "tree", {"width": 32})
    with pytest.raises(InputError, match="may not contain themselves"):
        ask(adder_tree(subcomponents=(part,), actions=()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"attributes": {"taps": "must_specify"}}, "needs taps, which is not given"),
        ({"attributes": {"taps": Formula("must_specify")}}, "needs taps, which is not given"),
        ({"attributes": {"last": Formula("m - 1")}}, "the name m is not known"),
        ({"attributes": {"last": 1.5}}, "ends of a range must be whole numbers"),
        ({"attributes": {"last": -5}}, "must not end before it begins"),
        ({"subcomponents": (Subcomponent("adder", "intader", {}),)}, "did you mean intadder"),
        ({"subcomponents": (Subcomponent("adder", "intadder", {}),), "actions": ()}, "depends on width"),
        ({"subcomponents": (Subcomponent("adder", "intadder", {"width": 8}, area_scale=-1),)}, "a scale must be"),
        ({"actions": (action("compute", "adder", arguments={"data_delta": 0}),)}, "are not modelled"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ask(adder_tree(**{"attributes": {"last": 3}, **changed}))
    assert caught.value.key is not None
    assert caught.value.key.startswith("part")


def test_an_action_that_the_subcomponent_lacks() -> None:
    compound = adder_tree(
        subcomponents=(Subcomponent("array", "SRAM", {"width": 64, "depth": 128}),),
        actions=(action("compute", "array"),),
    )
    with pytest.raises(InputError, match="class 'SRAM' has no such action"):
        ask(compound)


def test_a_compound_may_replace_a_primitive() -> None:
    assert with_compounds([adder_tree(name="SRAM")], BUILTIN)["SRAM"] is not BUILTIN["SRAM"]
    assert BUILTIN["SRAM"] is with_compounds([], BUILTIN)["SRAM"]
