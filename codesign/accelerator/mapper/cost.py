"""From closed-form counts to what a search minimises: energy, cycles, and how far a mapping is from legal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from codesign.accelerator.mapper.closed_form import Counts
from codesign.accelerator.mapper.nest import BoolArray, FloatArray
from codesign.accelerator.spec.architecture import Architecture, Storage
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError

__all__ = ["Cost", "CostModel", "Objective"]

Objective = Literal["edp", "energy", "latency"]

# Names under which an energy table gives an action, first found first (as in Timeloop).
_READ = ("random_read", "read")
_FILL = ("random_fill", "random_write", "fill", "write")
_UPDATE = ("random_update", "random_write", "update", "write")
_COMPUTE = ("mac_random", "mult_random", "mac", "mult", "compute")

# Energy of an access to DRAM relative to one to a scratchpad beside the MAC (Chen, Emer, Sze: Eyeriss, ISCA 2016).
_DRAM_TO_SCRATCHPAD = 200.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Energy (pJ with an energy table, else relative) and cycles of every mapping, (B,).

    ``shortfall``: by what share of itself a minimum utilisation or parallelism is missed, over all of them.
    """

    energy_pJ: FloatArray
    cycles: FloatArray
    fits: BoolArray
    shortfall: FloatArray

    def objective(self, objective: Objective) -> FloatArray:
        """The number to minimise; infinite where a tile does not fit, huge where the hardware is used too little."""
        value = {"edp": self.energy_pJ * self.cycles, "energy": self.energy_pJ, "latency": self.cycles}[objective]
        return np.where(self.fits, value + 1e30 * self.shortfall, np.inf)


class CostModel:
    """Energies and bandwidths of one architecture as arrays.

    Without an energy table an access costs 1 at the innermost storage and 200 at the outermost (the ratio of DRAM to
    scratchpad in Eyeriss), in between by equal ratios: a ranking of mappings, not an energy.

    Not in it: levels that another level switches off, and what the networks cost.

    Raises:
        InputError: the table lacks a component, or an action that the architecture needs.
    """

    def __init__(
        self,
        architecture: Architecture,
        problem: Problem,
        energy: EnergyTable | None,
        *,
        min_parallelism: float = 0.0,
    ) -> None:
        self._architecture = architecture
        self._macs = problem.macs
        levels = architecture.storage
        self.capacity = np.array([_capacity(level) for level in levels])
        self.least_words = np.array([_least(level) for level in levels])
        self.least_instances = min_parallelism * architecture.compute.instances / levels[-1].instances
        self._block = np.array([level.block_size for level in levels], float)[:, None]
        self._energies(energy)
        self.read_bandwidth = _bandwidths([level.read_bandwidth for level in levels])
        self.write_bandwidth = _bandwidths([level.write_bandwidth for level in levels])
        self.shared_bandwidth = _bandwidths([level.shared_bandwidth for level in levels])
        scale = [[level.bandwidth_scale.get(space.name, 1.0) for space in problem.dataspaces] for level in levels]
        self.scale = np.array(scale)

    def _energies(self, energy: EnergyTable | None) -> None:
        """pJ per access of a block (levels,), per leaking cycle and per compute."""
        levels = self._architecture.storage
        real = [index for index, level in enumerate(levels) if not level.spatial_dummy]
        self.read_pJ, self.fill_pJ, self.update_pJ, self.leak_pJ, self.address_pJ = (
            np.zeros(len(levels)) for _ in range(5)
        )
        if energy is None:
            steps = np.linspace(0.0, 1.0, len(real)) if len(real) > 1 else np.ones(1)
            for actions in (self.read_pJ, self.fill_pJ, self.update_pJ):
                actions[real] = _DRAM_TO_SCRATCHPAD**steps * self._block[real, 0]
            self.compute_pJ = 1.0
            return
        for index in real:
            name = levels[index].name
            own = levels[index].vector_access_energy_pJ
            self.read_pJ[index] = _energy_pJ(energy, name, _READ) if own is None else own
            self.fill_pJ[index] = _energy_pJ(energy, name, _FILL) if own is None else own
            self.update_pJ[index] = _energy_pJ(energy, name, _UPDATE) if own is None else own
            self.leak_pJ[index] = (energy.first(name, ["leak"]) or 0.0) if own is None else 0.0
            self.address_pJ[index] = levels[index].address_generation_energy_pJ or 0.0
        self.compute_pJ = _energy_pJ(energy, self._architecture.compute.name, _COMPUTE)

    def cost(self, counts: Counts, keep: BoolArray) -> Cost:
        """Cost of every mapping of a batch, given its counts."""
        kept = (counts.tile * keep).sum(axis=-1)
        used = self._macs / counts.compute_cycles
        shortfall = (np.maximum(0.0, self.least_words - kept) / np.maximum(1.0, self.least_words)).sum(axis=-1)
        shortfall += np.maximum(0.0, self.least_instances - used) / max(1.0, self.least_instances)
        cycles = self._cycles(counts)
        per_instance = (
            np.ceil(counts.reads / self._block).sum(axis=-1) * self.read_pJ
            + np.ceil(counts.fills / self._block).sum(axis=-1) * self.fill_pJ
            + np.ceil(counts.updates / self._block).sum(axis=-1) * self.update_pJ
        )
        addresses = np.where(counts.updates > 0, counts.updates, counts.reads) + counts.fills
        per_instance = per_instance + addresses.sum(axis=-1) * self.address_pJ + cycles[:, None] * self.leak_pJ
        energy = (per_instance * counts.instances).sum(axis=-1) + self._macs * self.compute_pJ
        return Cost(energy, cycles, (kept <= self.capacity).all(axis=-1), shortfall)

    def _cycles(self, counts: Counts) -> FloatArray:
        """Cycles of the slowest of compute and levels: a level stalls everything by what its bandwidth lacks."""
        reads = (counts.reads * self.scale).sum(axis=-1)
        writes = ((counts.fills + counts.updates) * self.scale).sum(axis=-1)
        needed = np.maximum(reads / self.read_bandwidth, writes / self.write_bandwidth)
        needed = np.maximum(needed, (reads + writes) / self.shared_bandwidth)
        return np.asarray(np.maximum(counts.compute_cycles, np.ceil(needed.max(axis=-1) - 1e-6)), float)


def _capacity(level: Storage) -> float:
    words = level.effective_size_words
    return np.inf if words is None or level.allow_overbooking or level.spatial_dummy else float(words)


def _bandwidths(words_per_cycle: list[float | None]) -> FloatArray:
    return np.array([np.inf if words is None else words for words in words_per_cycle])


def _least(level: Storage) -> float:
    return (level.effective_size_words or 0) * level.min_utilization


def _energy_pJ(energy: EnergyTable, component: str, actions: tuple[str, ...]) -> float:
    try:
        found = energy.first(component, actions)
    except KeyError:
        found = None
    if found is None:
        raise InputError(
            f"the energy table must give the energy of one of {', '.join(actions)}",
            key=component,
            fix="add the entry to the ERT, or estimate the table from the architecture",
        )
    return found
