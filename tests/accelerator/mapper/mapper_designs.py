"""Architectures, constraints and layers written by hand, so that the mapper is tested without the YAML front end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.constraints import Constraints, LevelConstraints
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.problem import Problem
from codesign.models.layers import Layer, LayerKind, Operand
from codesign.workloads.lowering import problem

SPACES = ("Weights", "Inputs", "Outputs")
NO_LIMIT: dict[str, Sequence[str]] = {}


def dummy(name: str, mesh_x: int = 1, mesh_y: int = 1) -> Storage:
    """The level that carries the spatial loops of a fan-out."""
    return Storage(name, "dummy_storage", mesh_x, mesh_y, word_bits=1, size_words=1, spatial_dummy=True)


def constraints(architecture: Architecture, keep: Mapping[str, Sequence[str]] = NO_LIMIT) -> Constraints:
    """``keep[level]`` names the dataspaces that the level keeps; it bypasses the others. Other levels are free."""
    free: tuple[bool | None, ...] = (None, None, None)
    return Constraints(
        tuple(
            LevelConstraints(tuple(space in keep[level.name] for space in SPACES) if level.name in keep else free)
            for level in architecture.storage
        )
    )


def row_stationary() -> tuple[Architecture, Constraints]:
    """14 x 12 PEs with three scratchpads each, after Eyeriss (JSSC 2017); weights bypass the global buffer."""
    grid = {"mesh_x": 14, "mesh_y": 12, "read_bandwidth": 2.0, "write_bandwidth": 2.0}
    storage = (
        Storage("psum_spad", "regfile", size_words=24, **grid),
        Storage("weights_spad", "regfile", size_words=224, **grid),
        Storage("ifmap_spad", "regfile", size_words=12, **grid),
        dummy("inter_pe_spatial", 14),
        dummy("inter_pe_column_spatial"),
        Storage("shared_glb", "SRAM", block_size=4, size_words=65536, read_bandwidth=16.0, write_bandwidth=16.0),
        Storage("dram", "DRAM", block_size=4),
    )
    architecture = Architecture("row_stationary", storage, Compute("mac", "intmac", 14, 12))
    return architecture, constraints(
        architecture,
        {
            "psum_spad": ["Outputs"],
            "weights_spad": ["Weights"],
            "ifmap_spad": ["Inputs"],
            "shared_glb": ["Inputs", "Outputs"],
        },
    )


def weight_stationary() -> tuple[Architecture, Constraints]:
    """16 x 16 PEs with a register of four words a tensor; what the global buffer keeps is free."""
    storage = (
        *(Storage(name, "regfile", 16, 16, 8, size_words=4) for name in ("psum_reg", "input_reg", "weight_reg")),
        dummy("inter_pe_spatial"),
        Storage("global_buffer", "SRAM", 1, 1, 8, 16, size_words=262144, read_bandwidth=32.0, write_bandwidth=32.0),
        Storage("dram", "DRAM", 1, 1, 8, 8, read_bandwidth=8.0, write_bandwidth=8.0),
    )
    architecture = Architecture("weight_stationary", storage, Compute("mac", "intmac", 16, 16, 8))
    return architecture, constraints(
        architecture, {"psum_reg": ["Outputs"], "input_reg": ["Inputs"], "weight_reg": ["Weights"]}
    )


def vector_pe() -> tuple[Architecture, Constraints]:
    """4 x 4 PEs, each with three buffers and 8 lanes that hold one weight each."""
    storage = (
        Storage("weight_reg", "regfile", 32, 4, 8, size_words=1),
        dummy("inter_lane_spatial", 4, 4),
        Storage("pe_accu_buffer", "SRAM", 4, 4, 24, size_words=128, multiple_buffering=2.0),
        Storage("pe_weight_buffer", "SRAM", 4, 4, 8, 8, size_words=32768),
        Storage("pe_input_buffer", "SRAM", 4, 4, 8, 8, size_words=65536),
        dummy("inter_pe_spatial"),
        Storage("global_buffer", "SRAM", 1, 1, 8, 32, size_words=65536, read_bandwidth=32.0, write_bandwidth=32.0),
        Storage("dram", "DRAM", 1, 1, 8, 8),
    )
    architecture = Architecture("vector_pe", storage, Compute("mac", "intmac", 32, 4, 8))
    return architecture, constraints(
        architecture,
        {
            "weight_reg": ["Weights"],
            "pe_accu_buffer": ["Outputs"],
            "pe_weight_buffer": ["Weights"],
            "pe_input_buffer": ["Inputs"],
            "global_buffer": ["Inputs", "Outputs"],
        },
    )


def two_level(words: int = 8192) -> tuple[Architecture, Constraints]:
    """One MAC behind one buffer; bypass is free."""
    storage = (
        Storage("buffer", "SRAM", 1, 1, 8, 4, size_words=words, shared_bandwidth=2.0),
        Storage("dram", "DRAM", 1, 1, 8, 8, shared_bandwidth=4.0),
    )
    architecture = Architecture("two_level", storage, Compute("mac", "intmac", word_bits=8))
    return architecture, constraints(architecture)


DESIGNS = {
    "row_stationary_14x12": row_stationary,
    "weight_stationary_16x16": weight_stationary,
    "pe_vector_4x4x8": vector_pe,
    "two_level_scalar": two_level,
}


def energy_table(architecture: Architecture) -> EnergyTable:
    """Made-up energies that grow outwards; only their order matters to the tests."""
    entries = []
    energy = 0.5
    for level in architecture.storage:
        if level.spatial_dummy:
            continue
        energy *= 3
        for action, factor in (("read", 1.0), ("write", 1.1), ("update", 1.2), ("leak", 1e-3)):
            entries.append(EnergyEntry(level.name, action, energy * factor, Provenance("made up for a test")))
    entries.append(EnergyEntry(architecture.compute.name, "compute", 0.4, Provenance("made up for a test")))
    return EnergyTable(tuple(entries))


def nest(
    *,
    kind: LayerKind = "conv",
    stride: int = 1,
    dilation: int = 1,
    name: str = "layer",
    **bounds: int,
) -> Problem:
    """A problem from the bounds that are not 1."""
    sizes = tuple(bounds.pop(d, 1) for d in "NGMCPQRS")
    assert not bounds, bounds
    n, g, m, c, p, q, r, s = sizes
    operand = Operand((g * c, p, q))
    layer = Layer(
        name, kind, (n, g, m, c, p, q, r, s), operand, Operand((g * m, c, r, s), "weight"), (g * m, p, q),
        (stride, stride), (dilation, dilation),
    )  # fmt: skip
    return problem(layer)
