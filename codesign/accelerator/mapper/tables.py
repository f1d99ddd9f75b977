"""One task as plain arrays, for the compiled evaluator: what is the same for every mapping."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.architecture import Architecture, Storage
from codesign.accelerator.spec.constraints import LoopConstraints

__all__ = ["Tables", "tables_of"]


class Tables(NamedTuple):
    """Slots, levels, dataspaces and ranks are numbered as in ``Nest``, ``Architecture`` and ``Problem``.

    Dimensions are positions in ``Nest.dimensions``. Shapes: S slots, D dimensions, L levels, V dataspaces, R ranks of
    all dataspaces, T temporal slots.
    """

    bounds: IntArray
    """(D,)"""
    slot_level: IntArray
    slot_axis: IntArray
    """(S,) 0, 1: mesh X, Y; 2: time."""
    slot_rank: IntArray
    """(S,) number of a temporal slot, -1 for a spatial one."""
    level_start: IntArray
    level_spatial_end: IntArray
    level_end: IntArray
    """(L,) slots of a level: first, end of the spatial ones, end."""
    coefficient: IntArray
    """(R, D)"""
    rank_start: IntArray
    """(V + 1,)"""
    code: IntArray
    """(V, D) one step of a dimension as one integer, unique within the tensor (see ``model.encoding``)."""
    moves: BoolArray
    """(V, D)"""
    regular: BoolArray
    """(V,) every dimension occurs in one rank, and a rank adds two dimensions at most."""
    pair: IntArray
    """(R, 2) the two dimensions of a rank that adds two, else -1."""
    read_write: BoolArray
    no_reuse: BoolArray
    no_multicast: BoolArray
    no_link: BoolArray
    rmw: BoolArray
    """(V,), and (L, V) each."""
    fanout: IntArray
    """(L, 2)"""
    lower: IntArray
    upper: IntArray
    """(L, 2, D) limits of the factors of a level, spatial and temporal."""
    loop_place: IntArray
    """(L, D) place of a spatial loop in a constrained order: 0.. from inside, -2, -3.. the outer part; -1 free."""
    loop_order: IntArray
    """(L, D) dimensions of a level's spatial loops, innermost first."""
    split: IntArray
    """(L, 5) order constrained or not, split (-1: free), loops fixed innermost, free, all; of all dimensions."""
    fixed_inner: IntArray
    fixed_outer: IntArray
    """(T, D) dimensions with a fixed innermost or outermost place in a temporal block, from the inside; -1 fills up."""
    may_keep: IntArray
    """(L, V) 1: keeps, 0: bypasses, -1: free."""
    capacity: FloatArray
    least: FloatArray
    """(L,) words"""
    least_instances: float
    block: IntArray
    clusters: IntArray
    """(L,) groups of instances that share an access."""
    read_pJ: FloatArray
    fill_pJ: FloatArray
    update_pJ: FloatArray
    address_pJ: FloatArray
    leak_pJ: FloatArray
    gate: IntArray
    gate_share: FloatArray
    """(L,) the level whose instances in use leak, and how many of this level's go with one of them."""
    read_bandwidth: FloatArray
    write_bandwidth: FloatArray
    shared_bandwidth: FloatArray
    scale: FloatArray
    """(L, V)"""
    dummy: BoolArray
    compute_pJ: float
    latency: int
    primes: IntArray
    """(K, 2) dimension and prime factor of its bound, as often as it divides."""
    most_elements: int


def tables_of(task: Task, space: MapSpace, cost: CostModel) -> Tables:
    """The arrays of a task."""
    architecture, problem, nest = task.architecture, task.problem, space.nest
    levels = architecture.storage
    count, active = len(levels), list(nest.dimensions)
    position = {dimension: index for index, dimension in enumerate(active)}
    coefficient, starts = _ranks(task, position)
    blocks = np.array([(block.lower, block.upper) for block in space.blocks])[:, :, active]
    limits = blocks.reshape(count, 2, 2, len(active))
    place, order, split = _spatial_orders(task, position)
    inner, outer = _temporal_orders(task, space, position)
    flags = {
        name: _flags([getattr(own, name) for own in task.constraints.levels], len(problem.dataspaces))
        for name in ("no_temporal_reuse", "no_multicast", "no_link_transfer", "rmw_first_update")
    }
    gates = [_gate(index, architecture) for index in range(count)]
    starts_of = [sum(slot.level < level for slot in nest.slots) for level in range(count)]
    ends = [sum(slot.level <= level for slot in nest.slots) for level in range(count)]
    spatial = [sum(s.level < i or (s.level == i and s.axis != "T") for s in nest.slots) for i in range(count)]
    rank = {slot: number for number, slot in enumerate(nest.temporal)}
    return Tables(
        bounds=np.array(space.bounds),
        slot_level=np.array([slot.level for slot in nest.slots]),
        slot_axis=np.array(["XYT".index(slot.axis) for slot in nest.slots]),
        slot_rank=np.array([rank.get(index, -1) for index in range(len(nest.slots))]),
        level_start=np.array(starts_of),
        level_spatial_end=np.array(spatial),
        level_end=np.array(ends),
        coefficient=coefficient,
        rank_start=starts,
        code=_codes(space.bounds, coefficient, starts),
        moves=np.array([(coefficient[a:b] != 0).any(axis=0) for a, b in pairwise(starts)]),
        regular=np.array([_regular(coefficient[a:b]) for a, b in pairwise(starts)]),
        pair=np.array([_pair(row) for row in coefficient]),
        read_write=np.array([dataspace.read_write for dataspace in problem.dataspaces]),
        no_reuse=flags["no_temporal_reuse"],
        no_multicast=flags["no_multicast"],
        no_link=flags["no_link_transfer"],
        rmw=flags["rmw_first_update"],
        fanout=np.array([architecture.fanout(index) for index in range(count)]),
        lower=np.ascontiguousarray(limits[:, :, 0]),
        upper=np.ascontiguousarray(limits[:, :, 1]),
        loop_place=place,
        loop_order=order,
        split=split,
        fixed_inner=inner,
        fixed_outer=outer,
        may_keep=np.array([[-1 if keep is None else int(keep) for keep in row] for row in space.keep]),
        capacity=np.array([_capacity(level) for level in levels]),
        least=cost.least_words,
        least_instances=float(cost.least_instances),
        block=np.array([level.block_size for level in levels]),
        clusters=np.array([level.instances // level.cluster_size for level in levels]),
        read_pJ=cost.read_pJ,
        fill_pJ=cost.fill_pJ,
        update_pJ=cost.update_pJ,
        address_pJ=cost.address_pJ,
        leak_pJ=cost.leak_pJ,
        gate=np.array([gate for gate, _ in gates]),
        gate_share=np.array([share for _, share in gates]),
        read_bandwidth=cost.read_bandwidth,
        write_bandwidth=cost.write_bandwidth,
        shared_bandwidth=cost.shared_bandwidth,
        scale=cost.scale,
        dummy=np.array([level.spatial_dummy for level in levels]),
        compute_pJ=float(cost.compute_pJ * problem.macs),
        latency=sum(level.network.fill_latency_cycles + level.network.drain_latency_cycles for level in levels),
        primes=_primes(space.bounds),
        most_elements=max(int(np.prod(architecture.fanout(index))) for index in range(count)),
    )


def _capacity(level: Storage) -> float:
    """Words; also of a level that may be overbooked, since the engine does not model a tile that is too large."""
    words = level.effective_size_words
    return np.inf if words is None or level.spatial_dummy else float(words)


def _ranks(task: Task, position: dict[int, int]) -> tuple[IntArray, IntArray]:
    ranks = [rank for dataspace in task.problem.dataspaces for rank in dataspace.ranks]
    coefficient = np.zeros((len(ranks), len(position)), np.int64)
    for row, rank in enumerate(ranks):
        for term in rank:
            if term.dimension in position:
                coefficient[row, position[term.dimension]] += term.coefficient
    return coefficient, np.cumsum([0, *(len(dataspace.ranks) for dataspace in task.problem.dataspaces)])


def _codes(bounds: IntArray, coefficient: IntArray, starts: IntArray) -> IntArray:
    codes = np.zeros((len(starts) - 1, coefficient.shape[1]), np.int64)
    for space, (first, end) in enumerate(pairwise(starts)):
        weight = 1
        for row in coefficient[first:end]:
            codes[space] += weight * row
            weight *= 8 * int(1 + (np.abs(row) * (bounds - 1)).sum()) + 8
    return codes


def _regular(rows: IntArray) -> bool:
    used = rows != 0
    return bool((used.sum(axis=0) <= 1).all() and (used.sum(axis=1) <= 2).all())


def _pair(row: IntArray) -> tuple[int, int]:
    used = np.flatnonzero(row)
    return (int(used[0]), int(used[1])) if len(used) == 2 else (-1, -1)


def _flags(rows: list[frozenset[int]], spaces: int) -> BoolArray:
    return np.array([[space in row for space in range(spaces)] for row in rows], bool)


def _spatial_orders(task: Task, position: dict[int, int]) -> tuple[IntArray, IntArray, IntArray]:
    """See ``Tables.loop_place``, ``loop_order`` and ``split``."""
    levels, total = task.constraints.levels, len(task.problem.bounds)
    place = np.full((len(levels), len(position)), -1, np.int64)
    order = np.zeros((len(levels), len(position)), np.int64)
    split = np.zeros((len(levels), 5), np.int64)
    for index, level in enumerate(levels):
        own: LoopConstraints = level.spatial
        for rank, dimension in enumerate(own.inner):
            if dimension in position:
                place[index, position[dimension]] = rank
        for rank, dimension in enumerate(own.outer):
            if dimension in position:
                place[index, position[dimension]] = -2 - rank
        fixed = {*own.inner, *own.outer}
        full = (*own.inner, *(d for d in range(total) if d not in fixed), *own.outer)
        order[index] = [position[d] for d in full if d in position]
        ordered = bool(fixed) or own.split is not None
        split[index] = (ordered, -1 if own.split is None else own.split, len(own.inner), total - len(fixed), total)
    return place, order, split


def _temporal_orders(task: Task, space: MapSpace, position: dict[int, int]) -> tuple[IntArray, IntArray]:
    shape = (len(space.nest.temporal), len(position))
    inner, outer = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    for number, slot in enumerate(space.nest.temporal):
        own = task.constraints.levels[space.nest.slots[slot].level].temporal
        for table, fixed in ((inner, own.inner), (outer, own.outer)):
            row = [position[dimension] for dimension in fixed if dimension in position]
            table[number, : len(row)] = row
    return inner, outer


def _gate(index: int, architecture: Architecture) -> tuple[int, float]:
    """The level whose instances are switched off as a whole, and how many of this level's go with one of them."""
    level = architecture.storage[index]
    for known in (level.power_gated_at, f"inter_{level.power_gated_at}_spatial"):
        for gate, other in enumerate(architecture.storage):
            if other.name == known:
                share = level.instances / other.instances
                return (gate, share) if share > 1 else (index, 1.0)
    return index, 1.0


def _primes(bounds: IntArray) -> IntArray:
    pairs = []
    for index, bound in enumerate(bounds.tolist()):
        prime = 2
        while bound > 1:
            if bound % prime:
                prime += 1
            else:
                pairs.append((index, prime))
                bound //= prime
    return np.array(pairs, np.int64).reshape(-1, 2)
