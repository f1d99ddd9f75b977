"""What no mapping of a task can beat, from the problem and the hardware alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.problem import Problem

__all__ = ["LowerBound", "lower_bound"]


@dataclass(frozen=True, slots=True)
class LowerBound:
    """Admissible: no legal mapping has less energy, fewer cycles or a smaller product. 0 where nothing is known."""

    energy_pJ: float
    cycles: int

    @property
    def edp(self) -> float:
        """pJ x cycles"""
        return self.energy_pJ * self.cycles


def lower_bound(task: Task) -> LowerBound:
    """The bound.

    * Cycles: multiply-accumulates over compute units; words that must enter or leave a level that surely keeps a
      tensor, over the bandwidth of all its instances.
    * Energy: every multiply-accumulate; the accesses that they make at the innermost level that keeps a tensor, over
      the largest number of them that one access can serve (all, where neighbours may pass data on); every word once
      into, through and out of each level further out that surely keeps it; leakage of one instance a level for that
      many cycles.

    Nothing is claimed of sparse designs, where work may be left out.
    """
    if task.leaves_work_out:
        return LowerBound(0.0, 0)
    architecture, problem = task.architecture, task.problem
    cost = CostModel(architecture, problem, task.energy)
    cycles = ceil(problem.macs / architecture.compute.instances)
    energy = cost.compute_pJ * problem.macs
    for index in range(len(problem.dataspaces)):
        energy += _tensor_pJ(task, cost, index)
    for level, storage in enumerate(architecture.storage):
        if not storage.spatial_dummy and not storage.bandwidth_scale:
            cycles = max(cycles, _level_cycles(task, level))
    leak = float(cost.leak_pJ.sum())
    return LowerBound(energy + leak * cycles, cycles)


def _level_cycles(task: Task, level: int) -> int:
    """Cycles that one level needs for the words that must pass it, shared out evenly over its instances."""
    storage = task.architecture.storage[level]
    read = written = 0
    for index in range(len(task.problem.dataspaces)):
        reads, fills, updates = _passing(task, index, level)
        read, written = read + reads, written + fills + updates
    cycles = 0
    for words, bandwidth in (
        (read, storage.read_bandwidth),
        (written, storage.write_bandwidth),
        (read + written, storage.shared_bandwidth),
    ):
        if bandwidth is not None:
            cycles = max(cycles, ceil(words / bandwidth / storage.instances - 1e-6))
    return cycles


def _kept(task: Task, index: int, level: int) -> bool:
    """Whether every mapping keeps a tensor at a level; the outermost one keeps what nothing is said of."""
    said = task.constraints.levels[level].keep[index]
    last = level == len(task.architecture.storage) - 1
    return not task.architecture.storage[level].spatial_dummy and (said is True or (last and said is None))


def _passing(task: Task, index: int, level: int) -> tuple[int, int, int]:
    """Least reads, fills and updates of a tensor at a level that surely keeps it, over all instances.

    Only what passes between levels: where the level may be the innermost that keeps the tensor, its reads and updates
    are no fewer, but serve computes.
    """
    if not _kept(task, index, level):
        return 0, 0, 0
    last = len(task.architecture.storage) - 1
    words = _distinct(task.problem, index)
    # What neighbours pass on is counted neither at its first delivery nor at the level that it comes from.
    inner = max((below for below in range(level) if _kept(task, index, below)), default=-1)
    leaves = 0 if _may_link(task, index, inner + 1, level) else words
    enters = 0 if level == last or _may_link(task, index, level + 1, last) else words
    return (0, 0, leaves) if task.problem.dataspaces[index].read_write else (leaves, enters, 0)


def _distinct(problem: Problem, index: int) -> int:
    """Words of a tensor that must pass at least once, as the model counts them.

    Without gaps (all coefficients 1) these are the words of its box. Where a stride leaves gaps, small tiles touch
    fewer; at least the largest single dimension of every rank. The model's shortcut for sliding windows (a window that
    returns to where it was needs nothing) never counts less: what it takes for granted is no more than what the loops
    inside have covered, since a loop steps by no more than that.
    """
    dataspace = problem.dataspaces[index]
    terms = [term for rank in dataspace.ranks for term in rank]
    once = len({term.dimension for term in terms}) == len(terms)
    if once and all(term.coefficient == 1 for term in terms):
        return problem.tensor_size(dataspace)
    return prod(max(problem.bounds[term.dimension] for term in rank) for rank in dataspace.ranks)


def _may_link(task: Task, index: int, first: int, last: int) -> bool:
    """Whether an element of a spatial group of these levels may get data from a neighbour.

    Without sliding windows a tile that is reused moves farther than any two elements are apart.
    """
    levels = task.constraints.levels
    slides = any(len(rank) > 1 for rank in task.problem.dataspaces[index].ranks)
    return any(
        prod(task.architecture.fanout(level)) > 1
        and index not in levels[level].no_link_transfer
        and (slides or level == 0 or index in levels[level - 1].no_temporal_reuse)
        for level in range(first, last + 1)
    )


def _tensor_pJ(task: Task, cost: CostModel, index: int) -> float:
    """The cheapest choice of the innermost level that keeps a tensor: it serves every compute."""
    levels = task.architecture.storage
    last = len(levels) - 1
    served = cost.update_pJ if task.problem.dataspaces[index].read_write else cost.read_pJ
    prices = []
    for level, storage in enumerate(levels):
        if storage.spatial_dummy or task.constraints.levels[level].keep[index] is False:
            continue
        energy = _accesses(task, index, level) * _word_pJ(task, float(served[level]), level)
        enters = 0 if level == last else _passing(task, index, level)[1]
        energy += enters * _word_pJ(task, float(cost.fill_pJ[level]), level)
        for outer in range(level + 1, last + 1):
            passing = zip(_passing(task, index, outer), (cost.read_pJ, cost.fill_pJ, cost.update_pJ), strict=True)
            energy += sum(words * _word_pJ(task, float(own[outer]), outer) for words, own in passing)
        prices.append(energy)
        if _kept(task, index, level):
            break
    return min(prices, default=0.0)


def _word_pJ(task: Task, access_pJ: float, level: int) -> float:
    """Least energy of one word: an access brings a block, and serves a row of clusters."""
    storage = task.architecture.storage[level]
    return access_pJ / storage.block_size / storage.cluster_size


def _accesses(task: Task, index: int, level: int) -> float:
    """Least accesses at a level that serves all computes."""
    dataspace = task.problem.dataspaces[index]
    fans = [prod(task.architecture.fanout(inner)) for inner in range(level + 1)]
    if _may_link(task, index, 0, level):
        return 0.0
    # One access serves at most all computes under one instance, and once for each value of what does not move it.
    still = prod(bound for d, bound in enumerate(task.problem.bounds) if d not in dataspace.dimensions)
    slides = any(len(rank) > 1 for rank in dataspace.ranks)
    return task.problem.macs / max(1, prod(fans) if slides else min(prod(fans), still))
