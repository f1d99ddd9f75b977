"""Energy and area tables, and compound classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import ARCHITECTURE, design

from codesign.accelerator.spec.compound import Formula
from codesign.errors import InputError

ERT = """
ERT:
  version: '0.4'
  tables:
  - name: chip_top_level.dram[1..1]
    actions:
    - {name: read, arguments: {a: 1}, energy: 512.0}
    - {name: read, arguments: {a: 2}, energy: 600}
    - {name: leak, arguments: {}, energy: 0}
  - name: chip.pe[1..8].spad[1..2]
    actions: [{name: write, energy: 1e-3}]
"""
ART = "ART: {version: 0.4, tables: [{name: 'chip.dram[1..1]', area: 1.5}, {name: mac, area: 2}]}\n"


def test_components_are_named_by_the_last_part(tmp_path: Path) -> None:
    table = design(tmp_path, ARCHITECTURE, ERT, ART).energy
    assert table is not None
    assert [(e.component, e.action, e.energy_pJ) for e in table] == [
        ("dram", "read", 512.0),
        ("dram", "read", 600.0),
        ("dram", "leak", 0.0),
        ("spad", "write", 0.001),
    ]
    assert table.actions("dram") == {"read": 600.0, "leak": 0.0}
    assert (table.area_um2("dram"), table.area_um2("mac")) == (1.5, 2.0)
    assert table.energies[0].provenance.source == "part1.yaml"
    assert design(tmp_path, ARCHITECTURE, ART).energy is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("energy: 512.0", "energy: -1", "must not be negative"),
        ("energy: 512.0", "energy: .nan", "finite number"),
        ("energy: 512.0", 'energy: "5 pJ"', "finite number"),
        (", energy: 0}", "}", "needs `energy`"),
        ("energy: 512.0", "energie: 512.0", "did you mean energy"),
        ("name: chip.pe[1..8].spad[1..2]", "name: other.dram[1..4]", "one table"),
        ("'0.4'", "'0.2'", "version"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in ERT
    with pytest.raises(InputError, match=words) as caught:
        design(tmp_path, ARCHITECTURE, ERT.replace(old, new, 1))
    assert caught.value.path == tmp_path / "part1.yaml"


def test_tables_may_be_given_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="may be given once"):
        design(tmp_path, ARCHITECTURE, ERT, ERT)


COMPOUND = """
compound_components:
  version: 0.4
  classes:
  - - name: counted
      attributes:
        technology: "must_specify"
        depth: "must_specify"
        bits: max(1, ceil(log2(depth)))
        n_banks: 2
      subcomponents:
      - {name: array, class: SRAM, attributes: {depth: depth, width: [8, bits]}, area_scale: 0.5}
      - {name: "pointer[0..1]", class: intadder, attributes: {width: bits}, energy_scale: bits / 2}
      actions:
      - name: read
        arguments: {delta: 0..1}
        subcomponents:
        - {name: array, actions: [{name: read}]}
        - {name: "pointer[0]", actions: [{name: add, energy_scale: 2, arguments: {x: delta}}, {name: leak, repeat: n}]}
"""


def test_compound_classes_keep_their_formulas(tmp_path: Path) -> None:
    (compound,) = design(tmp_path, ARCHITECTURE, COMPOUND).compound_classes
    assert list(compound.attributes) == ["technology", "depth", "bits", "n_banks"]
    assert compound.attributes["technology"] == "must_specify"
    assert compound.attributes["bits"] == Formula("max(1, ceil(log2(depth)))")
    assert Formula("max(1, ceil(log2(depth)))").value({"depth": 300}) == 9
    array, pointer = compound.subcomponents
    assert (array.area_scale, array.energy_scale) == (0.5, 1.0)
    assert dict(array.attributes) == {"depth": Formula("depth"), "width": (8, Formula("bits"))}
    assert (pointer.name, pointer.energy_scale) == ("pointer[0..1]", Formula("bits / 2"))
    read = compound.action("read")
    assert dict(read.arguments) == {"delta": Formula("0..1")}
    add, leak = read.parts[1].actions
    assert (read.parts[1].subcomponent, add.name, add.energy_scale) == ("pointer[0]", "add", 2)
    assert dict(add.arguments) == {"x": Formula("delta")}
    assert leak.energy_scale == Formula("n")
    with pytest.raises(KeyError):
        compound.action("write")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("- {name: array, actions", "- {name: arry, actions", "did you mean array"),
        ("class: SRAM, ", "", "needs `class`"),
        ("area_scale: 0.5", "area_share: 0.5", "did you mean area_scale"),
        ("actions:\n      - name: read", "action:\n      - name: read", "did you mean actions"),
    ],
)
def test_compound_classes_that_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in COMPOUND
    with pytest.raises(InputError, match=words):
        design(tmp_path, ARCHITECTURE, COMPOUND.replace(old, new, 1))


def test_names_of_compound_classes_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must differ"):
        design(tmp_path, ARCHITECTURE, COMPOUND, COMPOUND)
