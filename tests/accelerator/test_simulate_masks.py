"""The YAML of docs/output_masks.md from files to counts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from codesign.cli.app import run

ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Component
    name: dram
    class: DRAM
    attributes: {width: 8, datawidth: 8}
  - !Component
    name: spad
    class: SRAM
    attributes: {width: 8, datawidth: 8, depth: 4096}
  - !Component
    name: mac
    class: intmac
    attributes: {width: 8, datawidth: 8}
variables: {version: 0.4, global_cycle_seconds: 1e-9}
sparse_optimizations:
  version: 0.4
  targets:
  - target: dram
    action_optimization:
    - {type: skipping, options: [{target: A, condition_on: [Z]}]}
    - {type: skipping, options: [{target: Z, condition_on: [Z]}]}
  - target: mac
    compute_optimization: [{type: skip_on_masked_output}]
"""
CASE = """
problem:
  version: 0.4
  shape:
    name: matmul
    dimensions: [M, K, N]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 4, K: 2, N: 3, densities: {Z: DENSITY}}
mapping:
- {target: spad, type: temporal, factors: [M=1, K=2, N=3], permutation: [N, K, M]}
- {target: dram, type: temporal, factors: [M=4, K=1, N=1], permutation: [M, K, N]}
ERT:
  version: 0.4
  tables:
  - {name: "top.dram[1..1]", actions: [{name: read, energy: 8}, {name: write, energy: 8}, {name: update, energy: 8},
     {name: leak, energy: 0}]}
  - {name: "top.spad[1..1]", actions: [{name: read, energy: 1}, {name: write, energy: 1}, {name: update, energy: 1},
     {name: leak, energy: 0}]}
  - {name: "top.mac[1..1]", actions: [{name: compute, energy: 0.5}, {name: skipped_compute, energy: 0.0}]}
"""


def simulate(folder, density: str, *options: str):
    (folder / "case").mkdir()
    (folder / "case" / "arch.yaml").write_text(ARCHITECTURE, encoding="utf-8")
    (folder / "case" / "case.yaml").write_text(CASE.replace("DENSITY", density), encoding="utf-8")
    mask = np.zeros((2, 4, 3), bool)
    mask[0, 0] = mask[1, 0] = True  # row 0 in both samples
    mask[1, 1, 2] = True  # one output of row 1 in one of them
    np.save(folder / "case" / "mask.npy", mask)
    code = run(["simulate", str(folder / "case"), "--json", str(folder / "out.json"), "--quiet", *options])
    return code, folder / "out.json"


def test_a_row_comes_only_if_one_of_its_outputs_is_wanted(tmp_path):
    code, out = simulate(tmp_path, "{distribution: actual_data, file: mask.npy, sample_axis: true}")
    assert code == 0
    result = json.loads(out.read_text())[0]["result"]
    dram = result["levels"]["dram"]["dataspaces"]
    # 4 rows of 2 words; of the 8 rows of both samples 3 are wanted.
    assert dram["A"]["algorithmic_reads"] == 8
    assert dram["A"]["actual_reads"] == 3
    assert dram["A"]["skipped_reads"] == 5
    assert dram["Z"]["algorithmic_updates"] == 12
    assert dram["Z"]["actual_updates"] == 5  # 12 * 3 / 8 = 4.5, to the nearest
    # 7 wanted outputs of 2 operations in two samples; 9 operations of rows that came, for outputs that are not wanted.
    assert result["computes"]["actual"] == 7
    assert result["computes"]["kept_away_by_skipping"] == 24 - 9
    assert result["computes"]["skipped"] == 9 - 7
    assert result["compute_cycles"] == 7


@pytest.mark.parametrize(
    ("density", "options", "message"),
    [
        ("{distribution: actual_data, file: mask.npy}", (), "[4, 3]"),
        ("0.5", ("--semantics", "compat"), "being written"),
    ],
)
def test_refused(tmp_path, capsys, density, options, message):
    code, _ = simulate(tmp_path, density, *options)
    assert code == 2
    assert message in capsys.readouterr().err


ROWS = ARCHITECTURE.replace(
    "  - !Component\n    name: spad",
    "  - !Container\n    name: row\n    spatial: {meshX: 2}\n  - !Component\n    name: spad",
)
"""Two rows side by side."""
ROW_CASE = CASE.replace(
    "- {target: spad",
    "- {target: row, type: spatial, factors: [M=2, K=1, N=1], permutation: [M, K, N]}\n- {target: spad",
).replace("factors: [M=4, K=1, N=1]", "factors: [M=2, K=1, N=1]")
REAL = "{distribution: actual_data, file: mask.npy, sample_axis: true}"


def rows(folder, density: str, *options: str):
    """Four rows of the result, two at a time; the first and third are wanted as a whole, the others not at all."""
    (folder / "case").mkdir()
    (folder / "case" / "arch.yaml").write_text(ROWS, encoding="utf-8")
    (folder / "case" / "case.yaml").write_text(ROW_CASE.replace("DENSITY", density), encoding="utf-8")
    mask = np.zeros((1, 4, 3), bool)
    mask[0, [0, 2]] = True
    np.save(folder / "case" / "mask.npy", mask)
    code = run(["simulate", str(folder / "case"), "--json", str(folder / "out.json"), *options])
    return code, json.loads((folder / "out.json").read_text())[0]["result"] if code == 0 else None


def test_waterfall_and_realised_latency_of_a_case(tmp_path, capsys):
    code, result = rows(tmp_path, REAL, "--waterfall", "--realised", "--reorder-channels")
    assert code == 0
    assert result["cycles"] == 6
    realised = result["realised"]
    assert realised["expected_cycles"] == [6.0]
    # Rows 0 and 1 are side by side, then rows 2 and 3: a full and an empty one each time.
    assert realised["realised_cycles"] == [12]
    assert realised["imbalance"] == 2.0
    assert realised["instances"] == 2
    assert realised["reordered"] == {
        "dimension": "M", "expected_cycles": [6.0], "realised_cycles": [6], "instances": 2, "steps": 2,
        "waits_for": ["Z"], "imbalance": 1.0,
    }  # fmt: skip
    fall = result["waterfall"]
    assert fall["stages"]["theoretical MACs removed"] == fall["stages"]["MACs skipped"] == 0.5
    assert fall["stages"]["cycles saved"] == 0.0
    assert fall["lost_cycles"]["imbalance"] == 6.0
    assert fall["not_modelled"] == ["predictor"]
    shown = capsys.readouterr()
    assert "every step waits" in shown.out
    assert "re-ordered along M" in shown.out
    assert "imbalance 50.0%" in shown.out
    assert "not modelled: predictor" in shown.out
    assert "storing and reading the mask over Z (12 bits a sample)" in shown.err


def test_nothing_more_is_said_unasked(tmp_path):
    _, result = rows(tmp_path, REAL)
    assert not {"waterfall", "realised"} & result.keys()


@pytest.mark.parametrize(
    ("density", "options", "message"),
    [
        ("0.5", ("--realised",), "needs the actual data"),
        (REAL, ("--reorder-channels",), "add --realised"),
        (REAL, ("--waterfall", "--semantics", "compat"), "clean semantics (got --engine embedded --semantics compat)"),
        (REAL, ("--realised", "--engine", "timeloop"), "embedded engine"),
    ],
)
def test_questions_that_have_no_answer(tmp_path, capsys, density, options, message):
    code, _ = rows(tmp_path, density, *options)
    assert code == 2
    assert message in " ".join(capsys.readouterr().err.split())
