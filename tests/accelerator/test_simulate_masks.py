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
