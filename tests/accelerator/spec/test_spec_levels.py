"""Sizes, widths and bandwidths of a storage from its attributes."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import design, nodes

from codesign.accelerator.spec.architecture import Storage
from codesign.errors import InputError

SCALE = "per_dataspace_bandwidth_consumption_scale"
MAC = "!Component {name: mac, class: intmac}"


def storage(folder: Path, attributes: str, kind: str = "SRAM") -> Storage:
    line = f"!Component {{name: s, class: {kind}, attributes: {{{attributes}}}}}"
    return design(folder, nodes(line, MAC)).architecture.storage[0]


@pytest.mark.parametrize(
    ("attributes", "word", "block", "cluster", "size"),
    [
        ("depth: 10, width: 64, datawidth: 8", 8, 8, 1, 80),
        ("depth: 10, width: 64, datawidth: 8, cluster_size: 4", 8, 2, 4, 20),
        ("depth: 10, width: 64, datawidth: 8, block_size: 8", 8, 8, 1, 80),
        ("entries: 33, width: 64, datawidth: 16", 16, 4, 1, 33),
        ("sizeKB: 2, width: 32, datawidth: 16", 16, 2, 1, 1024),
        ("depth: 10, width: 48, word_bits: 12, datawidth: 8", 12, 4, 1, 40),
        ("memory_depth: 3, memory_width: 24, datawidth: 24", 24, 1, 1, 3),
        ("depth: 1e3, width: 2.4e1, datawidth: 24", 24, 1, 1, 1000),
    ],
)
def test_row_and_size(tmp_path: Path, attributes: str, word: int, block: int, cluster: int, size: int) -> None:
    level = storage(tmp_path, attributes)
    assert (level.word_bits, level.block_size, level.cluster_size, level.size_words) == (word, block, cluster, size)


def test_double_buffering_halves_what_a_tile_may_take(tmp_path: Path) -> None:
    level = storage(tmp_path, "depth: 5, width: 8, datawidth: 8, multiple_buffering: 2")
    assert (level.size_words, level.effective_size_words) == (5, 2)


def test_only_a_dram_may_lack_a_size(tmp_path: Path) -> None:
    assert storage(tmp_path, "width: 64, datawidth: 8", "LPDDR_DRAM").size_words is None
    assert storage(tmp_path, "width: 64, datawidth: 8, depth: 2", "DRAM").size_words == 16


def test_bandwidths(tmp_path: Path) -> None:
    base = "depth: 5, width: 8, datawidth: 8"
    old = storage(tmp_path, f"{base}, bandwidth: 6, read_bandwidth: 1")
    assert (old.read_bandwidth, old.write_bandwidth, old.shared_bandwidth) == (1, 3, None)
    scaled = storage(tmp_path, f"{base}, shared_bandwidth: 4, {SCALE}: {{A: 0.5, B: 2 * 3}}")
    assert scaled.shared_bandwidth == 4
    assert dict(scaled.bandwidth_scale) == {"A": 0.5, "B": 6}


def test_network_and_metadata_attributes(tmp_path: Path) -> None:
    level = storage(
        tmp_path,
        "depth: 5, width: 8, datawidth: 8, network_word_bits: 16, router_energy: 0.1, wire_energy: 0.2, tile_width: 30,"
        " energy-per-ingress: 0.3, network_fill_latency: 7, network_drain_latency: 9, addr_gen_energy: 0.4,"
        " metadata_storage_depth: 4, metadata_storage_width: 12, metadata_datawidth: 3, compression_supported: true,"
        " vector_access_energy: 1.5",
    )
    network = level.network
    assert (network.word_bits, network.router_energy_pJ, network.wire_energy_pJ_per_bit_mm) == (16, 0.1, 0.2)
    assert (network.tile_width_um, network.ingress_energy_pJ, network.energy_per_hop_pJ) == (30, 0.3, None)
    assert (network.fill_latency_cycles, network.drain_latency_cycles) == (7, 9)
    assert (level.metadata_depth, level.metadata_width_bits, level.metadata_word_bits) == (4, 12, 3)
    assert (level.address_generation_energy_pJ, level.vector_access_energy_pJ) == (0.4, 1.5)
    assert (level.compression_supported, level.decompression_supported) == (True, False)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("depth: 10, width: 60, datawidth: 8", "width must be a multiple"),
        (
            "depth: 10, width: 64, datawidth: 8, block_size: 2",
            "block_size \\* datawidth \\* cluster_size must be the width",
        ),
        ("depth: 10, width: 8, datawidth: 8, cluster_size: 2", "at least one word a block"),
        ("depth: 10, width: 8, datawidth: 8, min_utilization: 2", "at most 1"),
        ("depth: 10, width: 8, datawidth: 8, reduction_supported: 3", "must be true or false"),
        ("depth: 10, width: 8, datawidth: 8, metadata_storage_width: 8", "needs its metadata_storage_depth"),
        (
            "depth: 10, width: 8, datawidth: 8, metadata_width: 8, metadata_depth: 2, metadata_datawidth: 3",
            "multiple",
        ),
        ("depth: -1, width: 8, datawidth: 8", "depth must be a number of at least 1"),
        ("depth: 1.5, width: 8, datawidth: 8", "depth must be an integer"),
        ("depth: true, width: 8, datawidth: 8", "depth must be a number"),
        ("depth: .inf, width: 8, datawidth: 8", "depth must be finite"),
        (f"depth: 1, width: 8, datawidth: 8, {SCALE}: {{A: -1}}", "at least 0"),
        (f"depth: 1, width: 8, datawidth: 8, {SCALE}: 3", "must be a mapping"),
    ],
)
def test_what_is_refused(tmp_path: Path, attributes: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        storage(tmp_path, attributes)
