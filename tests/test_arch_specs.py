"""The shipped architectures: they load, energies are known, numbers have their source, every layer has a mapping."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.model import evaluate
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.density import DENSE, Hypergeometric
from codesign.accelerator.spec.loader import Design, load_design
from codesign.accelerator.spec.problem import Dataspace, Problem, Term
from codesign.resources import arch_specs_dir

SPECS = sorted(arch_specs_dir().glob("*.yaml"))
NAMES = [path.stem for path in SPECS]
N, G, M, C, P, Q, R, S = range(8)

# bounds N, G, M, C, P, Q, R, S and stride
LAYERS = {
    "first conv": ((1, 1, 16, 1, 28, 28, 3, 3), 1),
    "conv": ((1, 1, 32, 32, 14, 14, 3, 3), 1),
    "strided conv": ((1, 1, 32, 16, 14, 14, 3, 3), 2),
    "pointwise conv": ((1, 1, 24, 96, 7, 7, 1, 1), 1),
    "depthwise conv": ((1, 48, 1, 1, 14, 14, 3, 3), 1),
    "grouped conv": ((1, 4, 16, 8, 14, 14, 3, 3), 1),
    "1-D kernel": ((1, 1, 8, 8, 9, 9, 1, 7), 1),
    "patch embedding": ((1, 1, 64, 3, 14, 14, 16, 16), 16),
    "classifier": ((1, 1, 10, 64, 1, 1, 1, 1), 1),
    "linear on tokens": ((197, 1, 64, 192, 1, 1, 1, 1), 1),
    "batched matmul": ((197, 3, 197, 64, 1, 1, 1, 1), 1),
    "prime everything": ((1, 1, 13, 11, 17, 19, 5, 5), 1),
    "one MAC": ((1, 1, 1, 1, 1, 1, 1, 1), 1),
}


def problem(
    name: str,
    input_density: float | None = None,
    *,
    bounds: tuple[int, ...] | None = None,
    stride: int = 1,
) -> Problem:
    if bounds is None:
        bounds, stride = LAYERS[name]
    window = ((Term(P, stride), Term(R)), (Term(Q, stride), Term(S)))
    spaces = (
        Dataspace("Weights", tuple((Term(d),) for d in (G, C, M, R, S))),
        Dataspace("Inputs", (*((Term(d),) for d in (N, G, C)), *window)),
        Dataspace("Outputs", tuple((Term(d),) for d in (N, G, M, P, Q)), read_write=True),
    )
    inputs = DENSE if input_density is None else Hypergeometric(input_density)
    return Problem(name, tuple("NGMCPQRS"), bounds, spaces, (DENSE, inputs, DENSE))


def run(design: Design, layer: str, input_density: float) -> tuple[Result, Result]:
    """The layer on the design with one mapping: dense, and with that share of nonzero inputs."""
    table = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    dense = problem(layer)
    mapping = heuristic_mapping(design.architecture, dense, design.constraints(dense), energy=table)
    assert not isinstance(mapping, Infeasible), mapping
    results = []
    for workload in (dense, problem(layer, input_density)):
        answer = evaluate(design.architecture, workload, mapping, table, design.sparse)
        assert isinstance(answer, Result), answer
        results.append(answer)
    return results[0], results[1]


def test_at_least_the_three_families_ship() -> None:
    assert {"eyeriss_row_stationary", "systolic_weight_stationary", "vector_pe_edge"} <= set(NAMES)


@pytest.mark.parametrize("path", SPECS, ids=NAMES)
def test_it_loads_and_every_energy_and_area_is_known(path: Path) -> None:
    design = load_design([path])
    assert design.warnings == ()
    table = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    for level in design.architecture.storage:
        if not level.spatial_dummy:
            actions = table.actions(level.name)
            assert {"read", "write", "update", "leak"} <= set(actions)
            assert all(actions[action] > 0 for action in ("read", "write", "update"))
            assert (table.area_um2(level.name) > 0) is (level.component_class != "DRAM")
    compute = table.actions(design.architecture.compute.name)
    assert compute["compute"] > compute["leak"] > 0
    for entry in (*table.energies, *table.areas):
        assert entry.provenance.source
        assert entry.provenance.confidence in {"measured", "published", "simulated", "scaled"}


@pytest.mark.parametrize("path", SPECS, ids=NAMES)
def test_every_number_has_its_source_on_its_line(path: Path) -> None:
    """A source is one of the short names that the header explains, or the words "own choice"."""
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[: lines.index("architecture:")]
    names = [match[1] for line in header if (match := re.match(r"#   ([A-Z]+\d*)  ", line))]
    assert names, "the header names the sources"
    for number, line in enumerate(lines[len(header) :], start=len(header) + 1):
        code, _, comment = line.partition("#")
        if not re.search(r"\d", code) or code.strip().startswith("version:"):
            continue
        assert any(name in comment for name in (*names, "own choice")), f"{path.name}:{number}: {line}"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", SPECS, ids=NAMES)
def test_every_kind_of_layer_has_a_legal_mapping(path: Path, layer: str) -> None:
    design = load_design([path])
    dense, sparse = run(design, layer, 0.5)
    assert dense.cycles >= problem(layer).macs / design.architecture.compute.instances
    assert dense.computes.actual == problem(layer).macs
    assert sparse.energy_pJ <= dense.energy_pJ
    # Bandwidth-bound cycles are rounded from the compute cycles, which differ.
    assert sparse.cycles <= dense.cycles * 1.001 + 1


def test_gating_saves_energy_but_no_time() -> None:
    dense, sparse = run(load_design([arch_specs_dir() / "eyeriss_row_stationary.yaml"]), "conv", 0.5)
    assert sparse.cycles == pytest.approx(dense.cycles, rel=0.01)
    assert sparse.computes.actual == pytest.approx(dense.computes.actual / 2, rel=0.01)
    spad = "weights_spad"
    gated = sparse.levels[spad].dataspaces["Weights"].gated_reads
    assert gated == pytest.approx(dense.levels[spad].dataspaces["Weights"].actual_reads / 2, rel=0.01)
    assert sparse.energy_pJ < 0.85 * dense.energy_pJ


def test_skipping_saves_energy_and_time() -> None:
    dense, sparse = run(load_design([arch_specs_dir() / "vector_pe_edge.yaml"]), "conv", 0.5)
    assert sparse.computes.actual == pytest.approx(dense.computes.actual / 2, rel=0.01)
    assert sparse.cycles < 0.9 * dense.cycles
    assert sparse.energy_pJ < 0.85 * dense.energy_pJ


def test_the_systolic_array_ignores_zeros() -> None:
    dense, sparse = run(load_design([arch_specs_dir() / "systolic_weight_stationary.yaml"]), "conv", 0.5)
    assert (sparse.cycles, sparse.energy_pJ) == (dense.cycles, dense.energy_pJ)


# The publications' own totals, against what the files say.
def test_eyeriss_has_the_published_sizes() -> None:
    architecture = load_design([arch_specs_dir() / "eyeriss_row_stationary.yaml"]).architecture
    levels = {level.name: level for level in architecture.storage}
    bits = {name: (level.size_words or 0) * level.word_bits for name, level in levels.items()}
    assert architecture.compute.instances == 168
    assert bits["shared_glb"] / 8 == 108 * 1024
    assert (bits["ifmap_spad"] / 8, bits["weights_spad"] / 8, bits["psum_spad"] / 8) == (24, 448, 48)
    on_chip = sum(bits[name] * levels[name].instances for name in bits if not levels[name].spatial_dummy) / 8 / 1024
    # JSSC 2017, chip summary: 181.5 kB; the rest are the configuration registers and FIFOs.
    assert on_chip == pytest.approx(181.5, rel=0.07)
    assert architecture.global_cycle_seconds == pytest.approx(1 / 200e6)


def test_the_systolic_array_is_the_tpu_scaled_down() -> None:
    architecture = load_design([arch_specs_dir() / "systolic_weight_stationary.yaml"]).architecture
    levels = {level.name: level for level in architecture.storage}
    macs = 16 * 16 / (256 * 256)
    assert architecture.compute.instances == 256
    buffer, accumulators = levels["unified_buffer"], levels["accumulators"]
    assert (buffer.size_words or 0) * buffer.word_bits / 8 == 24 * 2**20 * macs
    stored = (accumulators.size_words or 0) * accumulators.word_bits * accumulators.instances / 8
    assert stored == 4 * 2**20 * macs
    assert levels["dram"].shared_bandwidth == pytest.approx(34e9 / 700e6 * 16 / 256, rel=2e-3)
    assert architecture.global_cycle_seconds == pytest.approx(1 / 700e6, rel=1e-6)


def test_the_vector_design_is_the_nvdla_of_128_macs() -> None:
    architecture = load_design([arch_specs_dir() / "vector_pe_edge.yaml"]).architecture
    levels = {level.name: level for level in architecture.storage}
    assert architecture.compute.instances == 128
    buffer = levels["global_buffer"]
    assert (buffer.size_words or 0) * buffer.word_bits / 8 == 256 * 1024
    kib = {name: (level.size_words or 0) * level.word_bits / 8192 for name, level in levels.items()}
    assert (kib["weight_buffer"], kib["input_buffer"], kib["accumulation_buffer"]) == (32 / 8, 8 / 8, 3)
    assert (levels["dram"].shared_bandwidth or 0) / architecture.global_cycle_seconds == pytest.approx(2e9)


# JSSC 2017, table of AlexNet (batch 4, 200 MHz): processing latency of the five convolutions in ms.
ALEXNET = {
    "conv1": ((4, 1, 96, 3, 55, 55, 11, 11), 4, 16.5),
    "conv2": ((4, 2, 128, 48, 27, 27, 5, 5), 1, 39.2),
    "conv3": ((4, 1, 384, 256, 13, 13, 3, 3), 1, 21.8),
    "conv4": ((4, 2, 192, 192, 13, 13, 3, 3), 1, 16.0),
    "conv5": ((4, 2, 128, 192, 13, 13, 3, 3), 1, 10.0),
}


def test_eyeriss_runs_alexnet_about_as_fast_as_the_chip() -> None:
    """Within 25 % a layer, never slower than 10 %: the model knows neither ramp-up nor configuration.

    Energy is not claimed: the chip's clock tree, networks and control are not modelled (docs/energy.md).
    """
    design = load_design([arch_specs_dir() / "eyeriss_row_stationary.yaml"])
    table = estimate(design.architecture, design.sparse)
    for layer, (bounds, stride, published_ms) in ALEXNET.items():
        workload = problem(layer, bounds=bounds, stride=stride)
        mapping = heuristic_mapping(design.architecture, workload, design.constraints(workload), energy=table)
        assert not isinstance(mapping, Infeasible)
        result = evaluate(design.architecture, workload, mapping, table, design.sparse)
        assert isinstance(result, Result)
        latency_ms = result.cycles * design.architecture.global_cycle_seconds * 1e3
        assert 0.75 * published_ms < latency_ms < 1.1 * published_ms, layer


def test_eyeriss_has_roughly_the_published_energy_ratios() -> None:
    """ISCA 2016: MAC 1, register file 1, global buffer 6, DRAM 200; what differs and why is in docs/energy.md."""
    design = load_design([arch_specs_dir() / "eyeriss_row_stationary.yaml"])
    table = estimate(design.architecture, design.sparse)
    mac = table.actions("mac")["compute"]
    words = {"shared_glb": 4, "dram": 4}
    ratio = {name: table.actions(name)["read"] / words.get(name, 1) / mac for name in ("shared_glb", "dram")}
    spads = sum(table.actions(name)["read"] for name in ("ifmap_spad", "weights_spad", "psum_spad"))
    pe = (spads + table.actions("psum_spad")["update"]) / mac
    assert 0.5 < pe < 1.5
    assert 3 < ratio["shared_glb"] < 12
    assert 20 < ratio["dram"] < 200
