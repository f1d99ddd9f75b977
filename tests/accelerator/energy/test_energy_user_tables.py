"""A user's own figures: units, matching, and every way in which a table can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.accelerator.energy import BUILTIN, Component, estimate, read_user_table
from codesign.accelerator.spec.loader import load_design
from codesign.cli.app import run
from codesign.errors import InputError

HEADER = "class,attributes,action,energy,energy_unit,area,area_unit,source,confidence\n"
ROWS = """my_SRAM,width=64;depth=512;technology=28nm,read,3200,fJ,0.005,mm2,compiler,measured
my_SRAM,width=64;depth=512;technology=28nm,write,0.0039,nJ,,,,
my_SRAM,width=64;depth=512;technology=28nm,leak,12,uW,,,,
my_SRAM,width=64,read,9,pJ,7000,um2,,
my_SRAM,width=64,write,9,pJ,,,,
my_mac,,compute,0.5,pJ,0,um2,,
"""
ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Container {name: chip, attributes: {technology: "28nm", global_cycle_seconds: 2e-9}}
  - !Component {name: dram, class: DRAM, attributes: {width: 64, datawidth: 8, type: "LPDDR4"}}
  - !Component {name: buffer, class: SRAM, subclass: my_SRAM, attributes: {width: 64, datawidth: 8, depth: 512}}
  - !Component {name: mac, class: compute, subclass: my_mac, attributes: {datawidth: 8}}
"""


def table(folder: Path, text: str = HEADER + ROWS) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def component(**attributes: object) -> Component:
    return Component("chip.buffer", "my_SRAM", {"technology": "28nm", "global_cycle_seconds": 2e-9, **attributes})


def test_the_row_with_most_attributes_counts_and_units_are_converted(tmp_path: Path) -> None:
    estimator = read_user_table(table(tmp_path))["my_SRAM"]
    exact = estimator(component(width=64, depth=512))
    assert exact.action("read").value == pytest.approx(3.2)
    assert exact.action("write").value == pytest.approx(3.9)
    # 12 uW over a cycle of 2 ns.
    assert exact.action("leak").value == pytest.approx(12e-6 * 2e-9 * 1e12)
    assert exact.area_um2.value == pytest.approx(5000)
    assert exact.action("read").provenance.source == "compiler (table.csv, line 2)"
    assert exact.action("read").provenance.confidence == "measured"
    assert exact.action("write").provenance.confidence == "user"
    other = estimator(component(width=64, depth=1024))
    assert other.action("read").value == 9
    assert other.area_um2.value == 7000


@pytest.mark.parametrize("technology", ["28nm", "28", 28])
def test_a_technology_is_the_same_in_every_spelling(technology: object, tmp_path: Path) -> None:
    estimator = read_user_table(table(tmp_path))["my_SRAM"]
    assert estimator(component(width=64, depth=512, technology=technology)).action("read").value == pytest.approx(3.2)


def test_a_component_that_no_row_describes_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    estimator = read_user_table(table(tmp_path))["my_SRAM"]
    with pytest.raises(InputError, match="no row of the table describes this my_SRAM") as caught:
        estimator(component(width=32, depth=512))
    assert "the nearest is width=64; depth=512; technology=28nm (line 2)" in str(caught.value)
    assert "width=32" in str(caught.value)


def test_a_design_with_the_users_classes(tmp_path: Path) -> None:
    arch = tmp_path / "arch.yaml"
    arch.write_text(ARCHITECTURE)
    design = load_design([arch])
    with pytest.raises(InputError, match="no energy table knows this component class"):
        estimate(design.architecture)
    found = estimate(design.architecture, estimators={**BUILTIN, **read_user_table(table(tmp_path))})
    assert found.actions("buffer")["read"] == pytest.approx(3.2)
    assert found.actions("mac")["compute"] == 0.5
    out = tmp_path / "energies.json"
    command = ["energy", str(arch), "--table", str(tmp_path / "table.csv"), "--json", str(out), "--quiet"]
    assert run(command) == 0
    entries = json.loads(out.read_text())["energies"]
    assert {"component": "buffer", "action": "read", "source": "compiler (table.csv, line 2)"}.items() <= next(
        entry.items() for entry in entries if (entry["component"], entry["action"]) == ("buffer", "read")
    )
    assert run([*command[:2], "--quiet"]) == 2


WRONG = {
    "a wrong unit": (HEADER + "x,,read,1,W,0,um2,,\n", "the unit of read must be one of fJ, pJ, nJ, uJ, mJ, J"),
    "an unknown unit of leak": (HEADER + "x,,leak,1,kW,0,um2,,\n", "the unit of leak must be one of"),
    "no unit": (HEADER + "x,,read,1,,0,um2,,\n", "energy_unit must not be empty"),
    "a unit in the wrong case": (HEADER + "x,,read,1,PJ,0,um2,,\n", "the unit of read"),
    "a wrong unit of area": (HEADER + "x,,read,1,pJ,3,nm2,,\n", "the unit of an area must be one of"),
    "an area without unit": (HEADER + "x,,read,1,pJ,3,,,\n", "area_unit must not be empty"),
    "no number": (HEADER + "x,,read,one,pJ,0,um2,,\n", "energy must be a finite number"),
    "nan": (HEADER + "x,,read,nan,pJ,0,um2,,\n", "energy must be a finite number"),
    "negative": (HEADER + "x,,read,-1,pJ,0,um2,,\n", "energy must be a finite number"),
    "a missing column": ("class,action,energy\nx,read,1\n", "lacks columns (got attributes, energy_unit)"),
    "an unknown column": (HEADER.replace("source", "sauce"), "did you mean source"),
    "short row": (HEADER + "x,,read,1\n", "as many cells as there are columns"),
    "long row": (HEADER + "x,,read,1,pJ,0,um2,,,more\n", "as many cells as there are columns"),
    "attributes": (HEADER + "x,width,read,1,pJ,0,um2,,\n", "attributes are written as width=64;depth=512"),
    "attribute twice": (HEADER + "x,w=1;w=2,read,1,pJ,0,um2,,\n", "attributes are written as"),
    "confidence": (HEADER + "x,,read,1,pJ,0,um2,,sure\n", "confidence must be one of"),
    "no rows": (HEADER, "has no rows"),
    "empty": ("", "lacks columns"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_tables(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_user_table(table(tmp_path, text))
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a CSV file"):
        read_user_table(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00class")
    with pytest.raises(InputError, match="must be a CSV file"):
        read_user_table(tmp_path / "binary.csv")


def test_rows_that_contradict_each_other_and_rows_without_an_area(tmp_path: Path) -> None:
    twice = HEADER + "x,width=8,read,1,pJ,0,um2,,\nx,width=8,read,2,pJ,0,um2,,\n"
    with pytest.raises(InputError, match="two rows describe the read of this x equally well"):
        read_user_table(table(tmp_path, twice))["x"](Component("c", "x", {"width": 8}))
    with pytest.raises(InputError, match="no row of this x gives its area"):
        read_user_table(table(tmp_path, HEADER + "x,,read,1,pJ,,,,\n"))["x"](Component("c", "x", {}))
