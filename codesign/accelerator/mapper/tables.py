"""One task as plain arrays, for the compiled evaluator: what is the same for every mapping."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from codesign.accelerator.mapper import layout
from codesign.accelerator.mapper.cost import CostModel
from codesign.accelerator.mapper.nest import BoolArray, FloatArray, IntArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.constraints import LoopConstraints

__all__ = ["Tables", "capacities", "tables_of"]


class Tables(NamedTuple):
    """What is the same for every mapping of a task, in two flat arrays: few arguments compile and call fast.

    ``integers`` starts with the numbers and places that ``layout`` names.
    """

    integers: IntArray
    numbers: FloatArray


def tables_of(task: Task, space: MapSpace, cost: CostModel) -> Tables:
    """The arrays of a task."""
    architecture, problem, nest = task.architecture, task.problem, space.nest
    levels = architecture.storage
    count, active = len(levels), list(nest.dimensions)
    position = {dimension: index for index, dimension in enumerate(active)}
    coefficient, starts = _ranks(task, position)
    blocks = np.array([(block.lower, block.upper) for block in space.blocks])[:, :, active]
    limits = blocks.reshape(count, 2, 2, len(active))
    place, order, split = _spatial_orders(task, space, position)
    inner, outer = _temporal_orders(task, space, position)
    flags = {
        name: _flags([getattr(own, name) for own in task.constraints.levels], len(problem.dataspaces))
        for name in ("no_temporal_reuse", "no_multicast", "no_link_transfer", "rmw_first_update")
    }
    primes = _primes(space.bounds)
    gates = [_gate(index, architecture) for index in range(count)]
    starts_of = [sum(slot.level < level for slot in nest.slots) for level in range(count)]
    ends = [sum(slot.level <= level for slot in nest.slots) for level in range(count)]
    spatial = [sum(s.level < i or (s.level == i and s.axis != "T") for s in nest.slots) for i in range(count)]
    rank = {slot: number for number, slot in enumerate(nest.temporal)}
    integers: dict[str, object] = {
        "BOUNDS": space.bounds,
        "SLOT_AXIS": ["XYT".index(slot.axis) for slot in nest.slots],
        "SLOT_RANK": [rank.get(index, -1) for index in range(len(nest.slots))],
        "START": starts_of,
        "SPATIAL_END": spatial,
        "END": ends,
        "COEFFICIENT": coefficient,
        "RANK_START": starts,
        **_terms(coefficient),
        "SLIDES": [bool(((coefficient[a:b] != 0).sum(axis=1) > 1).any()) for a, b in pairwise(starts)],
        "LIMITED": np.isfinite([cost.read_bandwidth, cost.write_bandwidth, cost.shared_bandwidth]).any(axis=0),
        "CODE": _codes(space.bounds, coefficient, starts),
        "MOVES": [(coefficient[a:b] != 0).any(axis=0) for a, b in pairwise(starts)],
        "REGULAR": [_regular(coefficient[a:b]) for a, b in pairwise(starts)],
        "PAIR": [_pair(row) for row in coefficient],
        "READ_WRITE": [dataspace.read_write for dataspace in problem.dataspaces],
        "NO_REUSE": flags["no_temporal_reuse"],
        "NO_MULTICAST": flags["no_multicast"],
        "NO_LINK": flags["no_link_transfer"],
        "RMW": flags["rmw_first_update"],
        "FANOUT": [architecture.fanout(index) for index in range(count)],
        "LOWER": limits[:, :, 0],
        "UPPER": limits[:, :, 1],
        "LOOP_PLACE": place,
        "LOOP_ORDER": order,
        "SPLIT": split,
        "FIXED_INNER": inner,
        "FIXED_OUTER": outer,
        "MAY_KEEP": [[-1 if keep is None else int(keep) for keep in row] for row in space.keep],
        "BLOCK": [level.block_size for level in levels],
        "CLUSTERS": [level.instances // level.cluster_size for level in levels],
        "GATE": [gate for gate, _ in gates],
        "DUMMY": [level.spatial_dummy for level in levels],
        "PRIMES": primes,
    }
    numbers: dict[str, object] = {
        "CAPACITY": capacities(architecture),
        "LEAST": cost.least_words,
        "READ_PJ": cost.read_pJ,
        "FILL_PJ": cost.fill_pJ,
        "UPDATE_PJ": cost.update_pJ,
        "ADDRESS_PJ": cost.address_pJ,
        "LEAK_PJ": cost.leak_pJ,
        "GATE_SHARE": [share for _, share in gates],
        "READ_BANDWIDTH": cost.read_bandwidth,
        "WRITE_BANDWIDTH": cost.write_bandwidth,
        "SHARED_BANDWIDTH": cost.shared_bandwidth,
        "SCALE": cost.scale,
        "LEAST_INSTANCES": cost.least_instances,
        "COMPUTE_PJ": cost.compute_pJ * problem.macs,
    }
    most_elements = max(int(np.prod(architecture.fanout(index))) for index in range(count))
    scalars = {
        "SLOTS": len(nest.slots),
        "DIMENSIONS": len(active),
        "LEVELS": count,
        "SPACES": len(problem.dataspaces),
        "RANKS": len(coefficient),
        "BLOCKS": len(nest.temporal),
        "PRIME_COUNT": len(primes),
        "LATENCY": sum(x.network.fill_latency_cycles + x.network.drain_latency_cycles for x in levels),
    }
    return _packed(scalars, integers, numbers, most_elements)


def _packed(
    scalars: dict[str, int], integers: dict[str, object], numbers: dict[str, object], most_elements: int
) -> Tables:
    """Scalars and places first, then the arrays; the places of the working memory follow from the same sizes."""
    header = np.zeros(layout.HEADER, np.int64)
    for name, value in scalars.items():
        header[getattr(layout, name)] = value
    parts: list[IntArray] = [header]
    at = layout.HEADER
    for name, content in integers.items():
        header[getattr(layout, name)] = at
        parts.append(np.asarray(content).astype(np.int64).ravel())
        at += len(parts[-1])
    floats: list[FloatArray] = []
    at = 0
    for name, content in numbers.items():
        header[getattr(layout, name)] = at
        floats.append(np.asarray(content, np.float64).ravel())
        at += len(floats[-1])
    levels, spaces, ranks = scalars["LEVELS"], scalars["SPACES"], scalars["RANKS"]
    dimensions = scalars["DIMENSIONS"]
    loops = scalars["BLOCKS"] * dimensions + 1
    sizes = {
        "EXTENT": (scalars["SLOTS"] + 1) * dimensions,
        "SIZE": levels * spaces,
        "WIDTH": levels * ranks,
        **dict.fromkeys(("SPREAD", "FAN", "INSIDE", "LINKS", "PARTITION", "HELD"), levels),
        **dict.fromkeys(("BOUND", "DIMENSION", "STRIDE", "AFTER"), loops),
        **dict.fromkeys(("SHIFT", "GONE"), ranks),
        "SUMS": 3,
        "ELEMENT": most_elements,
        "REST": most_elements,
    }
    header[layout.WORK_INTEGERS] = _places(header, sizes)
    sizes = {
        **dict.fromkeys(("CONTENT", "RECEIVED", "SHARE"), levels),
        **dict.fromkeys(("READS", "FILLS", "UPDATES"), levels * spaces),
    }
    header[layout.WORK_NUMBERS] = _places(header, sizes)
    return Tables(np.concatenate(parts), np.concatenate(floats))


def _places(header: IntArray, sizes: dict[str, int]) -> int:
    at = 0
    for name, size in sizes.items():
        header[getattr(layout, name)] = at
        at += size
    return at


def capacities(architecture: Architecture) -> list[float]:
    """Words of every level; also of one that may be overbooked, since the engine models no tile that is too large."""
    words = [None if level.spatial_dummy else level.effective_size_words for level in architecture.storage]
    return [np.inf if size is None else float(size) for size in words]


def _ranks(task: Task, position: dict[int, int]) -> tuple[IntArray, IntArray]:
    ranks = [rank for dataspace in task.problem.dataspaces for rank in dataspace.ranks]
    coefficient = np.zeros((len(ranks), len(position)), np.int64)
    for row, rank in enumerate(ranks):
        for term in rank:
            if term.dimension in position:
                coefficient[row, position[term.dimension]] += term.coefficient
    return coefficient, np.cumsum([0, *(len(dataspace.ranks) for dataspace in task.problem.dataspaces)])


def _terms(coefficient: IntArray) -> dict[str, object]:
    """The non-zero entries, row by row."""
    row, column = np.nonzero(coefficient)
    starts = np.searchsorted(row, np.arange(len(coefficient) + 1))
    return {"TERM_START": starts, "TERM_DIMENSION": column, "TERM_STEP": np.abs(coefficient[row, column])}


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


def _spatial_orders(task: Task, space: MapSpace, position: dict[int, int]) -> tuple[IntArray, IntArray, IntArray]:
    """See ``LOOP_PLACE``, ``LOOP_ORDER`` and ``SPLIT`` in ``layout``."""
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
        full = (*own.inner, *(d for d in space.spatial_order if d not in fixed), *own.outer)
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
