"""A mapping as a loop nest, with the tiles that every level holds and how much of its bandwidth it uses."""

from __future__ import annotations

from codesign.accelerator.mapper.task import Task
from codesign.accelerator.result import LevelStats, Result
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.mapping import LevelMapping, Loop, Mapping

__all__ = ["explain"]


def explain(task: Task, mapping: Mapping, result: Result) -> str:
    """Text, outermost level first; trivial loops are left out.

    Per level: kept tiles in words over its capacity, words per cycle and instance that it reads and writes, and what
    share of its bandwidth that is.
    """
    problem, storage = task.problem, task.architecture.storage
    extents = _extents(mapping, len(problem.bounds))
    lines, depth = [], 0
    for level in range(len(storage) - 1, -1, -1):
        own = mapping.levels[level]
        if not storage[level].spatial_dummy:
            lines += [*_header(task, storage[level], own, extents[level], result), ""]
        for loop, axis in _loops(own):
            if loop.bound > 1:
                ragged = "" if loop.perfect else f" (last time {loop.residual})"
                kind = "for" if axis == "T" else "parallel for"
                space = "" if axis == "T" else f"  # mesh {axis}"
                lines.append(
                    f"{'  ' * depth}{kind} {problem.dimensions[loop.dimension]} in 0..{loop.bound}{ragged}{space}"
                )
                depth += 1
        if lines[-1]:
            lines.append("")
    lines.append(f"{'  ' * depth}{task.architecture.compute.name}: {result.computes.actual:,} computes")
    lines.append("")
    bound = max(result.levels, key=lambda name: result.levels[name].cycles)
    limit = "compute" if result.levels[bound].cycles <= result.compute_cycles else f"the bandwidth of {bound}"
    lines.append(
        f"{result.cycles:,} cycles, bound by {limit}; {result.energy_pJ:,.2f} pJ; utilization {result.utilization:.1%}"
    )
    return "\n".join(lines)


def _extents(mapping: Mapping, dimensions: int) -> list[list[int]]:
    """Iterations of every dimension inside the end of every level."""
    extents, inside = [], [1] * dimensions
    for level in mapping.levels:
        for loop, _ in _loops(level):
            inside[loop.dimension] *= loop.bound
        extents.append(list(inside))
    return extents


def _loops(level: LevelMapping) -> list[tuple[Loop, str]]:
    """Outermost first."""
    found = [(loop, "T") for loop in reversed(level.temporal)]
    return (
        found
        + [(loop, "Y") for loop in reversed(level.spatial_y)]
        + [(loop, "X") for loop in reversed(level.spatial_x)]
    )


def _header(task: Task, storage: Storage, own: LevelMapping, extents: list[int], result: Result) -> list[str]:
    stats = result.levels[storage.name]
    bounds = task.problem.bounds
    inside = [min(extent, bound) for extent, bound in zip(extents, bounds, strict=True)]
    kept = [space for space, keep in zip(task.problem.dataspaces, own.keep, strict=True) if keep]
    words = {space.name: space.tile_size(inside) for space in kept}
    tiles = ", ".join(f"{name} {size:,}" for name, size in words.items()) or "nothing"
    capacity = storage.effective_size_words
    used = "" if capacity is None else f" = {sum(words.values()):,} of {capacity:,} words"
    copies = f" x {storage.instances}" if storage.instances > 1 else ""
    return [f"{storage.name}{copies}: {tiles}{used}", f"  {_traffic(storage, stats, result)}"]


def _traffic(storage: Storage, stats: LevelStats, result: Result) -> str:
    """Words per cycle of one instance, against its bandwidths."""
    spaces = stats.dataspaces.values()
    read = sum(one.actual_reads + one.gated_reads for one in spaces) / result.cycles
    written = (
        sum(one.actual_fills + one.gated_fills + one.actual_updates + one.gated_updates for one in spaces)
        / result.cycles
    )
    parts = [_share("reads", read, storage.read_bandwidth), _share("writes", written, storage.write_bandwidth)]
    if storage.shared_bandwidth is not None:
        parts.append(_share("both", read + written, storage.shared_bandwidth))
    energy = f"{stats.energy_pJ:,.2f} pJ ({stats.energy_pJ / result.energy_pJ:.1%})" if result.energy_pJ else "0 pJ"
    return ", ".join([*parts, energy])


def _share(what: str, words: float, bandwidth: float | None) -> str:
    limit = "" if bandwidth is None else f" of {bandwidth:g} ({words / bandwidth:.0%})"
    return f"{what} {words:.3g}{limit} words/cycle"
