"""Whole cases from YAML text, with expectations as formulas that can be checked by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from codesign.accelerator.engines import Engine
from codesign.accelerator.engines.embedded import simulate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.loader import load_case
from codesign.accelerator.spec.mapping import Mapping
from codesign.errors import InputError

M, K, N = 16, 32, 8
DEPTH, WIDTH, WORD = 72, 32, 8
BLOCK = WIDTH // WORD
LANES = 4
READ, WRITE, UPDATE, LEAK, MAC = 7.0, 11.0, 13.0, 0.5, 0.25

PROBLEM = f"""
problem:
  version: 0.4
  shape:
    name: matmul
    dimensions: [M, K, N]
    data_spaces:
    - {{name: A, projection: [[[M]], [[K]]]}}
    - {{name: B, projection: [[[K]], [[N]]]}}
    - {{name: Z, projection: [[[M]], [[N]]], read_write: true}}
  instance: {{M: {M}, K: {K}, N: {N}}}
"""

ARCHITECTURE = f"""
architecture:
  version: 0.4
  nodes:
  - !Component
    name: dram
    class: DRAM
    attributes: {{width: {WIDTH}, datawidth: {WORD}}}
  - !Component
    name: buffer
    class: SRAM
    attributes: {{depth: {DEPTH}, width: {WIDTH}, datawidth: {WORD}}}
  - !Container
    name: lanes
    spatial: {{meshX: {LANES}}}
  - !Component
    name: mac
    class: intmac
    attributes: {{width: {WORD}}}
"""


def table(*, skip: str = "") -> str:
    text = "ERT:\n  version: 0.4\n  tables:\n"
    for name in ("dram", "buffer"):
        text += f"  - name: top.{name}[1..1]\n    actions:\n"
        for action, energy in (("read", READ), ("write", WRITE), ("update", UPDATE), ("leak", LEAK)):
            if f"{name}.{action}" != skip:
                text += f"    - {{name: {action}, arguments: {{}}, energy: {energy}}}\n"
    text += f"  - name: top.mac[1..{LANES}]\n    actions:\n    - {{name: compute, arguments: {{}}, energy: {MAC}}}\n"
    text += "ART:\n  version: 0.4\n  tables:\n"
    for name, area in (("dram[1..1]", 1000), ("buffer[1..1]", 100), (f"mac[1..{LANES}]", 10)):
        text += f"  - {{name: 'top.{name}', area: {area}}}\n"
    return text


def mapping(buffer: str, spatial: str = f"M=1 K=1 N={LANES}", keep: str = "[A, B, Z]", bypass: str = "[]") -> str:
    """``buffer``: factors of the buffer, K innermost; DRAM takes what is left, with N innermost there."""
    given = dict.fromkeys("MKN", 1)
    for factors in (buffer, spatial):
        for part in factors.split():
            given[part[0]] *= int(part[2:])
    rest = ", ".join(f"{d}={bound // given[d]}" for d, bound in (("M", M), ("K", K), ("N", N)))
    return f"""
mapping:
- {{target: dram, type: temporal, factors: [{rest}], permutation: [N, K, M]}}
- {{target: buffer, type: dataspace, keep: {keep}, bypass: {bypass}}}
- {{target: buffer, type: temporal, factors: [{", ".join(buffer.split())}], permutation: [K, M, N]}}
- {{target: lanes, type: spatial, factors: [{", ".join(spatial.split())}], permutation: [N, K, M]}}
"""


def case(tmp_path: Path, *texts: str) -> Case:
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text)
    return load_case(paths)


def result_of(tmp_path: Path, mapping_text: str, *, architecture: str = ARCHITECTURE) -> Result:
    result = simulate(case(tmp_path, architecture, PROBLEM, mapping_text, table()))
    assert isinstance(result, Result)
    json.dumps(result.to_json(), allow_nan=False)
    return result


def test_inner_product_with_the_output_in_the_buffer(tmp_path):
    """The buffer holds rows of A (m x K), all lanes share them; each lane has its column of B and Z."""
    m = 4
    result = result_of(tmp_path, mapping(f"M={m} K={K} N=1"))
    buffer, dram = result.levels["buffer"], result.levels["dram"]
    macs = M * K * N
    steps = macs // LANES
    assert result.computes.algorithmic == result.computes.actual == macs
    assert result.cycles == result.compute_cycles == steps
    assert result.utilization == 1.0
    # A is multicast to the lanes, B and Z are not.
    assert buffer.dataspaces["A"].actual_reads == steps
    assert buffer.dataspaces["B"].actual_reads == macs
    assert buffer.dataspaces["Z"].actual_updates == macs
    # The first partial sum of every output starts from zero.
    assert buffer.dataspaces["Z"].actual_reads == macs - M * N
    # A stays while n advances; B comes again for every tile of rows.
    assert buffer.dataspaces["A"].actual_fills == dram.dataspaces["A"].actual_reads == M * K
    assert buffer.dataspaces["B"].actual_fills == dram.dataspaces["B"].actual_reads == K * N * (M // m)
    assert dram.dataspaces["Z"].actual_updates == M * N
    assert dram.dataspaces["Z"].actual_reads == buffer.dataspaces["Z"].actual_fills == 0
    assert buffer.dataspaces["A"].utilized_capacity == m * K
    assert buffer.dataspaces["B"].utilized_capacity == K * LANES
    assert buffer.dataspaces["Z"].utilized_capacity == m * LANES


def test_energy_is_vector_accesses_times_the_table(tmp_path):
    m = 4
    result = result_of(tmp_path, mapping(f"M={m} K={K} N=1"))
    buffer = result.levels["buffer"]
    macs, steps = M * K * N, M * K * N // LANES
    vectors = {"A": (steps, M * K, 0), "B": (macs, K * N * (M // m), 0), "Z": (macs - M * N, 0, macs)}
    for name, (reads, fills, updates) in vectors.items():
        want = (reads * READ + fills * WRITE + updates * UPDATE) / BLOCK
        assert buffer.dataspaces[name].energy_pJ == pytest.approx(want), name
    assert buffer.leakage_pJ == pytest.approx(LEAK * result.cycles)
    assert result.computes.energy_pJ == pytest.approx(macs * MAC)
    parts = sum(level.energy_pJ + level.network_pJ for level in result.levels.values())
    assert result.energy_pJ == pytest.approx(parts + result.computes.energy_pJ)
    assert result.area_um2 == 1000 + 100 + LANES * 10


def test_a_bypassed_tensor_goes_straight_to_dram(tmp_path):
    result = result_of(tmp_path, mapping(f"M=4 K={K} N=1", keep="[A, Z]", bypass="[B]"))
    assert "B" not in result.levels["buffer"].dataspaces
    assert result.levels["dram"].dataspaces["B"].actual_reads == M * K * N


def test_spatial_reduction_sends_one_sum_up(tmp_path):
    text = mapping("M=4 K=8 N=1", spatial=f"M=1 K={LANES} N=1")
    alone = text.replace("type: spatial,", "type: spatial, no_link_transfer: [Z],")
    macs = M * K * N
    buffer = result_of(tmp_path, alone).levels["buffer"]
    assert buffer.dataspaces["Z"].actual_updates == macs // LANES
    assert buffer.dataspaces["A"].actual_reads == macs


def test_neighbours_that_held_the_sum_before_pass_it_on(tmp_path):
    """Timeloop lets a lane take what a neighbour held one step before. Without registers in the lanes that holds for
    a sum that all lanes add to in several steps: it reaches the buffer once per visit."""
    k = 8
    result = result_of(tmp_path, mapping(f"M=4 K={k} N=1", spatial=f"M=1 K={LANES} N=1"))
    assert result.levels["buffer"].dataspaces["Z"].actual_updates == M * K * N // LANES // k


def test_partial_sums_come_back_when_k_is_split_outside(tmp_path):
    k = 8
    result = result_of(tmp_path, mapping(f"M=4 K={k} N=1"))
    buffer, dram = result.levels["buffer"].dataspaces["Z"], result.levels["dram"].dataspaces["Z"]
    rounds = K // k
    assert dram.actual_updates == M * N * rounds
    assert dram.actual_reads == buffer.actual_fills == M * N * (rounds - 1)
    assert dram.temporal_reductions == M * N * (rounds - 1)


def test_bandwidth_bounds_the_cycles(tmp_path):
    words = 2
    narrow = ARCHITECTURE.replace(f"depth: {DEPTH}, ", f"depth: {DEPTH}, read_bandwidth: {words}, ")
    result = result_of(tmp_path, mapping(f"M=4 K={K} N=1"), architecture=narrow)
    buffer = result.levels["buffer"]
    reads = sum(stats.actual_reads for stats in buffer.dataspaces.values())
    assert result.compute_cycles == M * K * N // LANES
    assert result.cycles == buffer.cycles == math.ceil(reads / words)
    assert buffer.bandwidth_slowdown == pytest.approx(result.compute_cycles * words / reads)
    assert result.utilization == pytest.approx(result.compute_cycles / result.cycles)
    assert result.levels["dram"].cycles == result.compute_cycles
    assert result.levels["dram"].leakage_pJ == pytest.approx(LEAK * result.cycles)


def test_a_tile_that_does_not_fit_is_a_result(tmp_path):
    result = simulate(case(tmp_path, ARCHITECTURE, PROBLEM, mapping(f"M={M} K={K} N=1"), table()))
    assert isinstance(result, Infeasible)
    assert (result.level, result.dataspace, result.unit) == ("buffer", "A", "words")
    assert result.demand == M * K + K * LANES + M * LANES
    assert result.capacity == DEPTH * BLOCK
    assert any("M (now 16)" in lever for lever in result.levers)
    json.dumps(result.to_json(), allow_nan=False)


def test_double_buffering_halves_the_capacity(tmp_path):
    double = ARCHITECTURE.replace(f"depth: {DEPTH}, ", f"depth: {DEPTH}, multiple_buffering: 2, ")
    m = 4
    demand = m * K + K * LANES + m * LANES
    assert demand > DEPTH * BLOCK // 2
    result = simulate(case(tmp_path, double, PROBLEM, mapping(f"M={m} K={K} N=1"), table()))
    assert isinstance(result, Infeasible)
    assert (result.demand, result.capacity) == (demand, DEPTH * BLOCK // 2)


def test_too_many_lanes(tmp_path):
    loaded = case(tmp_path, ARCHITECTURE, PROBLEM, mapping("M=1 K=4 N=1"), table())
    compute = dataclasses.replace(loaded.architecture.compute, mesh_x=LANES // 2)
    architecture = dataclasses.replace(loaded.architecture, compute=compute)
    result = simulate(dataclasses.replace(loaded, architecture=architecture))
    assert isinstance(result, Infeasible)
    assert (result.level, result.demand, result.capacity, result.unit) == ("mac", LANES, LANES // 2, "instances")


def test_missing_energies_are_errors(tmp_path):
    text = mapping(f"M=4 K={K} N=1")
    with pytest.raises(InputError, match="codesign energy"):
        simulate(case(tmp_path, ARCHITECTURE, PROBLEM, text))
    with pytest.raises(InputError, match="gives buffer no energy for random_fill"):
        loaded = case(tmp_path, ARCHITECTURE, PROBLEM, text, table())
        assert loaded.energy is not None
        kept = [e for e in loaded.energy if (e.component, e.action) not in {("buffer", "update"), ("buffer", "write")}]
        simulate(dataclasses.replace(loaded, energy=dataclasses.replace(loaded.energy, energies=tuple(kept))))
    with pytest.raises(InputError, match="no component buffer"):
        kept = [entry for entry in loaded.energy if entry.component != "buffer"]
        simulate(dataclasses.replace(loaded, energy=dataclasses.replace(loaded.energy, energies=tuple(kept))))


def test_a_missing_leak_is_said(tmp_path):
    loaded = case(tmp_path, ARCHITECTURE, PROBLEM, mapping(f"M=4 K={K} N=1"), table(skip="dram.leak"))
    result = simulate(loaded)
    assert isinstance(result, Result)
    assert result.levels["dram"].leakage_pJ == 0
    assert any("dram" in warning and "leak" in warning for warning in result.warnings)


def test_a_mapping_that_misses_the_bound_is_an_error(tmp_path):
    loaded = case(tmp_path, ARCHITECTURE, PROBLEM, mapping(f"M=4 K={K} N=1"), table())
    level = loaded.mapping.levels[-1]
    broken = Mapping((*loaded.mapping.levels[:-1], dataclasses.replace(level, temporal=level.temporal[1:])))
    with pytest.raises(InputError, match="iterations, its bound is"):
        simulate(dataclasses.replace(loaded, mapping=broken))


def test_dimensions_of_billions_stay_exact(tmp_path):
    huge = 2 * 10**9
    problem = PROBLEM.replace(f"M: {M},", f"M: {huge},")
    text = mapping(f"M=4 K={K} N=1").replace(f"[M={M // 4}", f"[M={huge // 4}", 1)
    result = simulate(case(tmp_path, ARCHITECTURE, problem, text, table()))
    assert isinstance(result, Result)
    assert result.computes.actual == huge * K * N
    assert result.levels["dram"].dataspaces["A"].actual_reads == huge * K


def test_the_function_is_an_engine():
    engine: Engine = simulate
    assert callable(engine)
