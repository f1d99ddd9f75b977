"""A defended layer on a dual-module accelerator: which part bounds its latency, and what every part costs.

Four stages work on tiles of output rows one after the other: projection, approximate product, selection, executor. Each
begins a tile when it is done with the one before and the stage before has made it, so that for T equal tiles

    latency = sum of the stages' times for one tile + (T - 1) * the longest of them,

and no less than the time that DRAM and the port of the shared global buffer need for all that goes through them.
Energy is the sum of all parts; none is left out for being small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil

from codesign.accelerator.energy.component import Component
from codesign.accelerator.energy.registry import BUILTIN, ask
from codesign.accelerator.mapper.heuristic import heuristic_mapping
from codesign.accelerator.model import evaluate, evaluate_samples
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError
from codesign.evaluation.accelerators import Accelerator, load_accelerator
from codesign.evaluation.hardware import InfeasibleLayerError
from codesign.workloads.dual_module import DualWorkload, row_tiles, tile_counts
from codesign.workloads.lowering import shape_key

__all__ = ["DualLayer", "DualModule", "load_dual_module", "pipelined"]

_SHARED = "global_buffer"
_WANTED_TILES = 4
_SUM_BITS = 16


@dataclass(frozen=True, slots=True)
class DualLayer:
    """What one sample of a defended layer costs.

    Args:
        layer: name.
        tiles: T.
        stage_cycles: of each stage for the whole layer, without waiting.
        dram_cycles, buffer_cycles: that the shared memories are busy at least.
        latency_cycles: see the module.
        bound_by: the stage or memory that bounds.
        energy_pJ: of every part; their sum is the layer's.
        executor_energy_pJ: of the part "executor", by the executor's components.
        exact_macs, executed_macs: of the executor, dense and done.
        approximate_macs, additions, comparisons: of the speculator.
        share: essential share of the neurons.
    """

    layer: str
    tiles: int
    stage_cycles: dict[str, int]
    dram_cycles: int
    buffer_cycles: int
    latency_cycles: int
    bound_by: str
    energy_pJ: dict[str, float]
    executor_energy_pJ: dict[str, float]
    exact_macs: int
    executed_macs: int
    approximate_macs: int
    additions: float
    comparisons: int
    share: float

    @property
    def total_energy_pJ(self) -> float:
        """The sum of all parts."""
        return sum(self.energy_pJ.values())


def pipelined(stage_cycles: tuple[int, ...], tiles: int) -> int:
    """Cycles until the last stage is done with the last of equal tiles."""
    return ceil((sum(stage_cycles) + (tiles - 1) * max(stage_cycles)) / tiles)


@dataclass(frozen=True)
class DualModule:
    """Executor and both halves of the speculator; mappings that were found are kept."""

    executor: Accelerator
    projection: Accelerator
    approximation: Accelerator
    _found: dict[tuple[str, str], Mapping | Infeasible] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.executor.design.architecture.storage[-1].component_class != "DRAM":
            raise InputError("the executor's outermost level must be DRAM", key=self.executor.name)
        shared = _level(self.executor, _SHARED)
        for half in (self.projection, self.approximation):
            outermost = half.design.architecture.storage[-1]
            size, ours = (_bits(level) for level in (outermost, shared))
            if outermost.name != _SHARED or size != ours:
                raise InputError(
                    f"the speculator's outermost level must be the executor's {_SHARED} of {ours} bits",
                    got=f"{outermost.name} of {size} bits",
                    key=half.name,
                )
            if half.design.cycle_seconds != self.executor.design.cycle_seconds:
                raise InputError("executor and speculator must have one clock", key=half.name)

    @property
    def area_mm2(self) -> dict[str, float]:
        """By part; the shared buffer counts once. The selection's comparators depend on the layer."""
        parts = {"executor": sum(self.executor.area_by_component_mm2.values())}
        for name, half in (("projection", self.projection), ("approximate product", self.approximation)):
            own = half.area_by_component_mm2
            parts[name] = sum(area for component, area in own.items() if component != _SHARED)
        return parts

    def simulate(self, workload: DualWorkload) -> DualLayer:
        """One sample of a defended layer.

        Raises:
            InfeasibleLayerError: a part has no legal mapping, however many tiles it is cut into.
            InputError: something is not modelled.
        """
        exact = self._run(self.executor, workload.exact, workload.layer.name)
        return self._joined(workload, self._speculate(workload), exact)

    def simulate_images(self, workload: DualWorkload) -> Iterator[DualLayer]:
        """``simulate`` for each image of recorded masks alone: what is done for it, not for the mean of all.

        Raises:
            InfeasibleLayerError, InputError: as ``simulate``.
        """
        speculated = self._speculate(workload)
        design, name = self.executor.design, workload.layer.name
        mapping = self._mapping(self.executor, workload.exact)
        if isinstance(mapping, Infeasible):
            raise InfeasibleLayerError(name, self.executor.name, mapping)
        answers = evaluate_samples(design.architecture, workload.exact, mapping, self.executor.energy, design.sparse)
        for image, answer in zip(workload.images(), answers, strict=True):
            if isinstance(answer, Infeasible):
                raise InfeasibleLayerError(name, self.executor.name, answer)
            yield self._joined(image, speculated, answer)

    def _joined(self, workload: DualWorkload, speculated: tuple[int, Result, Result], exact: Result) -> DualLayer:
        """Latency and energy of a layer from its parts: tiles, both halves of the speculator on one, the executor."""
        tiles, first, second = speculated
        stages = {
            "projection": tiles * first.cycles,
            "approximate product": tiles * second.cycles,
            # A pipelined network takes the values of one position a cycle.
            "selection": workload.positions,
            "executor": self._executor_cycles(exact),
        }
        dram_cycles = ceil(self._dram_words(exact, workload) / self._dram_bandwidth)
        buffer_cycles = self._buffer_cycles(exact, (first, second), tiles, workload)
        longest = max(stages, key=lambda stage: stages[stage])
        bounds = {
            longest: pipelined(tuple(stages.values()), tiles),
            f"{self._dram.name} bandwidth": dram_cycles,
            f"{_SHARED} bandwidth": buffer_cycles,
        }
        bound = max(bounds, key=lambda name: bounds[name])
        return DualLayer(
            layer=workload.layer.name,
            tiles=tiles,
            stage_cycles=stages,
            dram_cycles=dram_cycles,
            buffer_cycles=buffer_cycles,
            latency_cycles=bounds[bound],
            bound_by=bound,
            energy_pJ=self._energies(workload, tiles, first, second, exact),
            executor_energy_pJ=self._executor_energies(exact),
            exact_macs=exact.computes.algorithmic,
            executed_macs=exact.computes.actual,
            approximate_macs=workload.approximate.macs,
            additions=workload.additions,
            comparisons=workload.comparisons,
            share=workload.share,
        )

    def _speculate(self, workload: DualWorkload) -> tuple[int, Result, Result]:
        """The fewest tiles (some, for the pipeline) whose values fit the shared buffer, and both halves' results."""
        counts = list(tile_counts(workload.projection))
        wanted = [count for count in counts if count >= _WANTED_TILES] or counts[-1:]
        for count in wanted:
            parts = (row_tiles(workload.projection, count), row_tiles(workload.approximate, count))
            runs = ((self.projection, parts[0]), (self.approximation, parts[1]))
            if all(isinstance(self._mapping(half, part), Mapping) for half, part in runs):
                name = workload.layer.name
                return count, self._run(*runs[0], name), self._run(*runs[1], name)
        for half, part in runs:
            answer = self._mapping(half, part)
            if isinstance(answer, Infeasible):
                raise InfeasibleLayerError(workload.layer.name, half.name, answer)
        raise AssertionError("unreachable: one of the two has no mapping")

    def executor_mapping(self, workload: DualWorkload) -> Mapping | Infeasible:
        """What the exact product of a defended layer runs with."""
        return self._mapping(self.executor, workload.exact)

    def _mapping(self, accelerator: Accelerator, workload: Problem) -> Mapping | Infeasible:
        dense = Problem(workload.name, workload.dimensions, workload.bounds, workload.dataspaces)
        key = (accelerator.name, shape_key(dense))
        if key not in self._found:
            design = accelerator.design

            def ranked(mapping: Mapping) -> Result | Infeasible:
                return evaluate(design.architecture, dense, mapping, accelerator.energy, design.sparse)

            self._found[key] = heuristic_mapping(
                design.architecture,
                dense,
                design.constraints(dense),
                accelerator.energy,
                evaluate=ranked,
            )
        return self._found[key]

    def _run(self, accelerator: Accelerator, workload: Problem, layer: str) -> Result:
        mapping = self._mapping(accelerator, workload)
        answer: Result | Infeasible = (
            mapping
            if isinstance(mapping, Infeasible)
            else evaluate(
                accelerator.design.architecture, workload, mapping, accelerator.energy, accelerator.design.sparse
            )
        )
        if isinstance(answer, Infeasible):
            raise InfeasibleLayerError(layer, accelerator.name, answer)
        return answer

    def _executor_cycles(self, exact: Result) -> int:
        """Without the memories that it shares with the speculator, whose time is counted over all that use them."""
        own = (level.cycles for name, level in exact.levels.items() if name not in (_SHARED, self._dram.name))
        return max(exact.compute_cycles, *own)

    @property
    def _dram(self) -> Storage:
        return self.executor.design.architecture.storage[-1]

    @property
    def _dram_bandwidth(self) -> float:
        """Words a cycle; without a shared bandwidth, DRAM is never in the way."""
        return self._dram.shared_bandwidth or float("inf")

    def _parameter_words(self, workload: DualWorkload) -> float:
        return workload.parameter_bits / self._dram.word_bits

    def _dram_words(self, exact: Result, workload: DualWorkload) -> float:
        moved = exact.levels[self._dram.name].dataspaces.values()
        return sum(stats.actual_reads + stats.actual_updates for stats in moved) + self._parameter_words(workload)

    def _buffer_cycles(self, exact: Result, halves: Iterable[Result], tiles: int, workload: DualWorkload) -> int:
        """Cycles of a port that reads and writes one row each a cycle."""
        mask_rows = workload.neurons / _bits_of_row(_level(self.executor, _SHARED))
        reads = writes = mask_rows
        reads += self._merged_rows(workload)
        for result, part, times in (
            (exact, self.executor, 1),
            *((half, part, tiles) for half, part in zip(halves, (self.projection, self.approximation), strict=True)),
        ):
            level = _level(part, _SHARED)
            moved = result.levels[_SHARED].dataspaces.values()
            reads += times * sum(stats.actual_reads for stats in moved) / level.block_size
            writes += times * sum(stats.actual_fills + stats.actual_updates for stats in moved) / level.block_size
        return ceil(max(reads, writes))

    def _merged_rows(self, workload: DualWorkload) -> float:
        """Rows of approximate outputs that are read to be put beside the exact ones."""
        return (1 - workload.share) * workload.neurons / _level(self.executor, _SHARED).block_size

    def _energies(
        self, workload: DualWorkload, tiles: int, first: Result, second: Result, exact: Result
    ) -> dict[str, float]:
        shared = self.executor.energy.actions(_SHARED)
        dram = self.executor.energy.actions(self._dram.name)
        rows = ceil(workload.neurons / _bits_of_row(_level(self.executor, _SHARED)))
        return {
            "executor": exact.energy_pJ,
            "projection": tiles * first.energy_pJ,
            "approximate product": tiles * second.energy_pJ,
            "selection": workload.comparisons * self._comparator().dynamic_pJ,
            "mask": rows * (shared["write"] + shared["read"]),
            "merging": self._merged_rows(workload) * shared["read"],
            "parameters": self._parameter_words(workload) / self._dram.block_size * dram["read"],
        }

    def _executor_energies(self, exact: Result) -> dict[str, float]:
        levels = {name: level.energy_pJ + level.network_pJ for name, level in exact.levels.items()}
        return levels | {self.executor.design.architecture.compute.name: exact.computes.energy_pJ}

    def _comparator(self) -> _Comparator:
        """A comparator of the approximate sums in the executor's technology."""
        attributes = self.executor.design.architecture.compute.attributes
        answer = ask(Component("selection", "comparator", {**attributes, "width": _SUM_BITS}), BUILTIN)
        return _Comparator(answer.action("compute").value, answer.area_um2.value)

    def selection_area_mm2(self, workload: DualWorkload) -> float:
        """Area of the comparators that select the neurons of one position a cycle."""
        return workload.comparators * self._comparator().area_um2 / 1e6


@dataclass(frozen=True, slots=True)
class _Comparator:
    dynamic_pJ: float
    area_um2: float


def load_dual_module(
    executor: str = "dual_module",
    projection: str = "dual_module_projection",
    approximation: str = "dual_module_speculator",
) -> DualModule:
    """The shipped design, or one of architecture names and paths of its three parts.

    Raises:
        InputError: see ``load_accelerator``; parts that do not share the global buffer or the clock.
    """
    return DualModule(load_accelerator(executor), load_accelerator(projection), load_accelerator(approximation))


def _level(accelerator: Accelerator, name: str) -> Storage:
    for level in accelerator.design.architecture.storage:
        if level.name == name:
            return level
    raise InputError("a part of a dual-module design needs this level", got=f"no {name}", key=accelerator.name)


def _bits(level: Storage) -> int | None:
    return None if level.size_words is None else level.size_words * level.word_bits


def _bits_of_row(level: Storage) -> int:
    return level.block_size * level.word_bits
