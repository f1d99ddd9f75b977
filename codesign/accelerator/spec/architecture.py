"""An accelerator as the engine sees it: a linear hierarchy of storage levels above one compute level.

The v0.4 tree (containers, parallel branches, spatial fan-out) is linearised by the front end. A spatial fan-out
becomes a *spatial dummy*: a level that stores nothing and carries the spatial loops, as in the real program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Architecture", "Compute", "Network", "Storage"]

_EMPTY: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Network:
    """The inferred (legacy) network between a level and the next inner one; attributes of the outer level.

    Energies in pJ; ``tile_width_um`` in micrometres. None means that the user did not give it.
    """

    word_bits: int | None = None
    energy_per_hop_pJ: float | None = None
    router_energy_pJ: float | None = None
    ingress_energy_pJ: float | None = None
    wire_energy_pJ_per_bit_mm: float | None = None
    tile_width_um: float | None = None
    fill_latency_cycles: int = 0
    drain_latency_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage level. Sizes in words per instance; bandwidths in words per cycle per instance; None = unlimited.

    Args:
        name: node name without the instance suffix.
        component_class: class as written ("SRAM", "regfile", "DRAM", ...); what the estimator is asked for.
        mesh_x, mesh_y: instances along both mesh axes over the whole chip (running product of the fan-outs).
        word_bits, block_size, cluster_size: bits of a word, words of a block (one vector access), blocks of a row.
        size_words: capacity; None where no size is given (DRAM).
        spatial_dummy: True for the level that only carries the spatial loops of a fan-out.
        bandwidth_scale: per-dataspace consumption scale, missing = 1.
        metadata_width_bits, metadata_depth, metadata_word_bits: storage of compression metadata; 0 where none.
        subclass: compound class that refines ``component_class``.
        attributes: every resolved attribute (own and inherited), for the energy estimator and for export.
        decompression_supported, compression_supported: fills are expanded, updates are packed at this level.
        vector_access_energy_pJ: the user's own energy of every vector access; overrides the energy table.
        energy_scale, area_scale: the node's factors on its estimated energies and area.
    """

    name: str
    component_class: str
    mesh_x: int = 1
    mesh_y: int = 1
    word_bits: int = 16
    block_size: int = 1
    cluster_size: int = 1
    size_words: int | None = None
    multiple_buffering: float = 1.0
    min_utilization: float = 0.0
    read_bandwidth: float | None = None
    write_bandwidth: float | None = None
    shared_bandwidth: float | None = None
    bandwidth_scale: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    spatial_dummy: bool = False
    allow_overbooking: bool = False
    reduction_supported: bool = True
    address_generation_energy_pJ: float | None = None
    power_gated_at: str | None = None
    metadata_width_bits: int = 0
    metadata_depth: int = 0
    metadata_word_bits: int | None = None
    network: Network = field(default_factory=Network)
    subclass: str | None = None
    attributes: Mapping[str, object] = field(default_factory=lambda: _EMPTY)
    decompression_supported: bool = False
    compression_supported: bool = False
    vector_access_energy_pJ: float | None = None
    energy_scale: float = 1.0
    area_scale: float = 1.0

    @property
    def instances(self) -> int:
        """Physical copies on the chip."""
        return self.mesh_x * self.mesh_y

    @property
    def effective_size_words(self) -> int | None:
        """Capacity that one tile may take: the size over the number of buffers, rounded down."""
        return None if self.size_words is None else int(self.size_words / self.multiple_buffering)


@dataclass(frozen=True, slots=True)
class Compute:
    """The arithmetic level."""

    name: str
    component_class: str
    mesh_x: int = 1
    mesh_y: int = 1
    word_bits: int = 16
    subclass: str | None = None
    attributes: Mapping[str, object] = field(default_factory=lambda: _EMPTY)
    energy_scale: float = 1.0
    area_scale: float = 1.0

    @property
    def instances(self) -> int:
        """Physical copies on the chip."""
        return self.mesh_x * self.mesh_y


@dataclass(frozen=True, slots=True)
class Architecture:
    """Storage levels from the innermost (index 0) to the outermost (backing store), and the compute level."""

    name: str
    storage: tuple[Storage, ...]
    compute: Compute
    global_cycle_seconds: float = 1e-9
    attributes: Mapping[str, object] = field(default_factory=lambda: _EMPTY)

    def __post_init__(self) -> None:
        if not self.storage:
            raise ValueError(f"Architecture {self.name}: at least one storage level is needed")
        names = [level.name for level in self.storage] + [self.compute.name]
        if len(set(names)) != len(names):
            raise ValueError(f"Architecture {self.name}: component names must differ (got {names!r})")

    def fanout(self, level: int) -> tuple[int, int]:
        """Instances along X and Y of the next inner level under one instance of storage ``level``."""
        inner: Storage | Compute = self.compute if level == 0 else self.storage[level - 1]
        outer = self.storage[level]
        return inner.mesh_x // outer.mesh_x, inner.mesh_y // outer.mesh_y

    def level_index(self, name: str) -> int:
        """Index of the storage level of that name; KeyError if there is none."""
        for index, level in enumerate(self.storage):
            if level.name == name:
                return index
        raise KeyError(name)
