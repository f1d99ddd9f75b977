"""A weight-stationary systolic array against its closed-form cycle count.

An R x C array holds a K x M weight matrix in ceil(K / R) * ceil(M / C) folds and streams N input vectors past each. The
cycles that compute are therefore folds * N. Not claimed: a real array also takes 2 R + C - 2 cycles a fold to load the
weights and for the skew of filling and draining (SCALE-Sim: A. Samajdar et al., arXiv 1811.02883); Timeloop's model has
no notion of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.result import Result
from codesign.accelerator.spec.loader import load_case

ROWS, COLUMNS = 8, 4

ARCHITECTURE = f"""
architecture:
  version: 0.4
  nodes:
  - !Container
    name: chip
    attributes: {{technology: "45nm", global_cycle_seconds: 1e-9}}
  - !Component
    name: memory
    class: DRAM
    attributes: {{width: 64, datawidth: 8}}
  - !Container
    name: column
    spatial: {{meshX: {COLUMNS}}}
  - !Container
    name: row
    spatial: {{meshY: {ROWS}}}
  - !Component
    name: weight
    class: regfile
    attributes: {{depth: 1, width: 8, datawidth: 8}}
    constraints: {{dataspace: {{keep: [Weights], bypass: [Inputs, Outputs]}}}}
  - !Component
    name: mac
    class: intmac
    attributes: {{width: 8}}
"""

TABLE = """
ERT:
  version: '0.4'
  tables:
  - {name: chip.memory, actions: [{name: read, energy: 512}, {name: write, energy: 512}, {name: update, energy: 512}]}
  - {name: chip.weight, actions: [{name: read, energy: 0.1}, {name: write, energy: 0.1}, {name: update, energy: 0.1}]}
  - {name: chip.mac, actions: [{name: compute, energy: 0.5}]}
"""


def case_text(m: int, k: int, n: int, folds_m: int, folds_k: int) -> tuple[str, str]:
    problem = f"""
problem:
  version: 0.4
  shape:
    name: product
    dimensions: [M, K, N]
    data_spaces:
    - {{name: Weights, projection: [[[M]], [[K]]]}}
    - {{name: Inputs, projection: [[[K]], [[N]]]}}
    - {{name: Outputs, projection: [[[M]], [[N]]], read_write: true}}
  instance: {{M: {m}, K: {k}, N: {n}}}
"""
    mapping = f"""
mapping:
- {{target: memory, type: temporal, factors: [M={folds_m}, K={folds_k}, N={n}], permutation: [N, K, M]}}
- {{target: column, type: spatial, factors: [M={m // folds_m}, K=1, N=1], permutation: [M, K, N], split: 3}}
- {{target: row, type: spatial, factors: [M=1, K={k // folds_k}, N=1], permutation: [K, M, N], split: 0}}
- {{target: weight, type: temporal, factors: [M=1, K=1, N=1], permutation: [M, K, N]}}
"""
    return problem, mapping


@pytest.mark.parametrize(
    ("m", "k", "n", "folds_m", "folds_k"),
    [(4, 8, 1, 1, 1), (4, 8, 100, 1, 1), (8, 16, 49, 2, 2), (12, 24, 7, 3, 3), (3, 5, 10, 1, 1), (16, 8, 196, 4, 1)],
)
def test_cycles_and_accesses(tmp_path: Path, m: int, k: int, n: int, folds_m: int, folds_k: int) -> None:
    problem, mapping = case_text(m, k, n, folds_m, folds_k)
    parts = {"arch": ARCHITECTURE, "ert": TABLE, "problem": problem, "mapping": mapping}
    for name, text in parts.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    result = simulate(load_case(sorted(tmp_path.glob("*.yaml"))))
    assert isinstance(result, Result)
    folds = folds_m * folds_k
    assert result.cycles == folds * n
    assert result.utilization == pytest.approx(m * k * n / (folds * n * ROWS * COLUMNS))
    memory = result.levels["memory"].dataspaces
    assert memory["Weights"].actual_reads == m * k  # every weight is loaded once
    assert memory["Inputs"].actual_reads == k * n * folds_m  # and multicast along the columns of a fold
    assert memory["Outputs"].actual_updates == m * n * folds_k  # summed down the rows before they leave
    assert memory["Outputs"].actual_reads == m * n * (folds_k - 1)


def test_a_tile_larger_than_the_array_is_illegal(tmp_path: Path) -> None:
    problem, mapping = case_text(8, 8, 4, 1, 1)
    for name, text in {"arch": ARCHITECTURE, "ert": TABLE, "problem": problem, "mapping": mapping}.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    answer = simulate(load_case(sorted(tmp_path.glob("*.yaml")))).to_json()
    assert answer["legal"] is False
    assert (answer["demand"], answer["capacity"]) == (8 * 8, ROWS * COLUMNS)
