"""What no mapping of a task can beat, from the problem and the hardware alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.task import Task

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

    * Cycles: multiply-accumulates over compute units; words that must enter or leave the outermost level over its
      bandwidth.
    * Energy: every multiply-accumulate; the accesses that they make at the innermost level that keeps a tensor, over
      the largest number of them that one access can serve (all, where neighbours may pass data on); every word once
      at the outermost level; leakage of one instance a level for that many cycles.

    Nothing is claimed of sparse designs, where work may be left out.
    """
    if task.leaves_work_out:
        return LowerBound(0.0, 0)
    architecture, problem = task.architecture, task.problem
    cost = CostModel(architecture, problem, task.energy)
    last = len(architecture.storage) - 1
    cycles = ceil(problem.macs / architecture.compute.instances)
    energy = cost.compute_pJ * problem.macs
    outside = [0, 0]  # words that the outermost level must give and take
    for index, dataspace in enumerate(problem.dataspaces):
        keeps = [own.keep[index] for own in task.constraints.levels]
        touched = _touched(task, index)
        energy += _tensor_pJ(task, cost, index, touched)
        if keeps[last] is not False and any(keep is not False for keep in keeps[:last]):
            outside[dataspace.read_write] += touched
    outer = architecture.storage[last]
    scale = max(1, outer.instances)
    for words, bandwidth in (
        (outside[0], outer.read_bandwidth),
        (outside[1], outer.write_bandwidth),
        (outside[0] + outside[1], outer.shared_bandwidth),
    ):
        if bandwidth is not None and not outer.bandwidth_scale:
            cycles = max(cycles, ceil(words / bandwidth / scale - 1e-6))
    leak = float(cost.leak_pJ.sum())
    return LowerBound(energy + leak * cycles, cycles)


def _touched(task: Task, index: int) -> int:
    """Words that must cross into or out of the outermost level: at least the largest single dimension of every rank.

    0 where neighbours may pass data on between that level and the next one that surely keeps the tensor: the model
    then counts neither the first delivery nor the hand-over at the outermost level.
    """
    last = len(task.architecture.storage) - 1
    sure = [level for level in range(last) if task.constraints.levels[level].keep[index] is True]
    if _may_link(task, index, sure[-1] + 1 if sure else 0, last):
        return 0
    words = 1
    for rank in task.problem.dataspaces[index].ranks:
        words *= max(task.problem.bounds[term.dimension] for term in rank)
    return words


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


def _tensor_pJ(task: Task, cost: CostModel, index: int, words: int) -> float:
    """The cheapest choice of the innermost level that keeps a tensor: it serves every compute."""
    dataspace, levels = task.problem.dataspaces[index], task.architecture.storage
    last = len(levels) - 1
    price = cost.update_pJ if dataspace.read_write else cost.read_pJ
    keeps = [own.keep[index] for own in task.constraints.levels]
    per_word = [float(own) / level.block_size / level.cluster_size for own, level in zip(price, levels, strict=True)]
    prices = []
    for level, storage in enumerate(levels):
        if storage.spatial_dummy or keeps[level] is False:
            continue
        outside = words * per_word[last] if level < last and keeps[last] is not False else 0.0
        prices.append(_accesses(task, index, level) * per_word[level] + outside)
        if keeps[level] is True:
            break
    return min(prices, default=0.0)


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
