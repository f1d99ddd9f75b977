"""A written architecture reads back equal: shipped designs, designs with every attribute, sparse designs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codesign.accelerator.spec.architecture import Architecture, Storage
from codesign.accelerator.spec.architecture_writer import UNLIMITED_ROWS, architecture_to_yaml
from codesign.accelerator.spec.loader import Design, load_design
from codesign.resources import arch_specs_dir

REFERENCE = Path(__file__).parents[3] / ".." / "shared" / "reference" / "arch"
SHIPPED = sorted(arch_specs_dir().glob("*.yaml"))

EVERYTHING = """
architecture:
  version: 0.4
  nodes:
  - !Container {name: chip, attributes: {technology: "45nm", global_cycle_seconds: 1e-9, energy_per_hop: 0.5}}
  - !Component
    name: 'main memory'
    class: DRAM
    attributes: {width: 64, datawidth: 16, type: "LPDDR4", metadata_storage_width: 8, metadata_datawidth: 4}
  - !Component
    name: buffer
    class: SRAM
    subclass: banked
    energy_scale: 2.0
    attributes:
      depth: 12
      width: 64
      datawidth: 8
      block_size: 4
      cluster_size: 2
      multiple_buffering: 2
      min_utilization: 0.25
      read_bandwidth: 1.5
      shared_bandwidth: 3
      per_dataspace_bandwidth_consumption_scale: {Weights: 0.5}
      allow_overbooking: true
      reduction_supported: false
      addr_gen_energy: 0.125
      metadata_storage_width: 16
      metadata_storage_depth: 7
      metadata_datawidth: 2
      network_fill_latency: 3
      router_energy: 0.0
      vector_access_energy: 4.5
      decompression_supported: true
  - !Container {name: column, spatial: {meshX: 3}, attributes: {network_type: "1:N"}}
  - !Component
    name: spad
    class: regfile
    spatial: {meshY: 4}
    attributes: {entries: 5, width: 16, datawidth: 8, power_gated_at: "buffer"}
  - !Component {name: mac, class: intmac, spatial: {meshX: 2}, attributes: {datawidth: 8, width: 4}}
sparse_optimizations:
  version: 0.4
  targets:
  - target: buffer
    action_optimization:
    - {type: skipping, options: [{target: Inputs, condition_on: [Weights]}, {target: Weights, condition_on: [Inputs]}]}
    - {type: gating, options: [{target: Outputs, condition_on: [Inputs, Weights]}]}
    representation_format:
      data_spaces:
      - name: Weights
        ranks: [{format: UOP, payload_word_bits: 4}, {format: CP, metadata_word_bits: 2, flattened_rankIDs: [[C, M]]}]
      - {name: Inputs, rank_application_order: inner_to_outer, ranks: [{format: B}]}
  - target: mac
    compute_optimization: [{type: gating}, {type: skipping}, {type: gate_on_masked_output}]
"""


def read(text: str, folder: Path) -> Design:
    path = folder / "arch.yaml"
    path.write_text(text)
    return load_design([path])


def without_attributes(architecture: Architecture) -> Architecture:
    """The estimator's attributes are not part of the comparison."""
    storage = tuple(replace(level, attributes={}) for level in architecture.storage)
    return replace(architecture, storage=storage, compute=replace(architecture.compute, attributes={}), attributes={})


def assert_reads_back(design: Design, folder: Path) -> None:
    again = read(architecture_to_yaml(design.architecture, design.sparse), folder)
    assert without_attributes(again.architecture) == without_attributes(design.architecture)
    assert again.sparse == design.sparse
    assert again.directives == ()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_designs_read_back(path: Path, tmp_path: Path) -> None:
    assert_reads_back(load_design([path]), tmp_path)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference architectures are not part of the repository")
def test_reference_designs_read_back(tmp_path: Path) -> None:
    for path in sorted(REFERENCE.glob("*.yaml")):
        assert_reads_back(load_design([path]), tmp_path)


def test_every_attribute_reads_back(tmp_path: Path) -> None:
    design = read(EVERYTHING, tmp_path)
    assert len(design.architecture.storage) == 6
    assert_reads_back(design, tmp_path)


def test_the_estimator_finds_what_it_needs(tmp_path: Path) -> None:
    design = read(EVERYTHING, tmp_path)
    again = read(architecture_to_yaml(design.architecture), tmp_path)
    memory = again.architecture.storage[-1]
    assert memory.attributes["type"] == "LPDDR4"
    assert memory.attributes["technology"] == "45nm"
    assert again.cycle_seconds == 1e-9


def storage(name: str, **changed: object) -> Storage:
    return replace(Storage(name, "SRAM"), **changed)  # type: ignore[arg-type]


def test_a_storage_without_a_size_gets_rows_only_where_that_limits_nothing(tmp_path: Path) -> None:
    design = read(EVERYTHING, tmp_path)
    limited = read(architecture_to_yaml(design.architecture, design.sparse, limit_unlimited=True), tmp_path)
    memory = limited.architecture.storage[-1]
    assert memory.size_words == UNLIMITED_ROWS * memory.block_size
    assert memory.metadata_depth * memory.metadata_width_bits < 2**32
    assert design.architecture.storage[-1].size_words is None


def test_compressed_tensors_without_metadata_storage_stay_unlimited(tmp_path: Path) -> None:
    text = EVERYTHING.replace(", metadata_storage_width: 8, metadata_datawidth: 4", "").replace(
        "  - target: mac",
        "  - target: 'main memory'\n    representation_format:\n      data_spaces: [{name: Inputs, ranks: "
        "[{format: B}]}]\n  - target: mac",
    )
    design = read(text, tmp_path)
    limited = read(architecture_to_yaml(design.architecture, design.sparse, limit_unlimited=True), tmp_path)
    assert limited.architecture.storage[-1].size_words is None
