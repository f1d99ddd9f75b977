"""A ``Result`` from the two files that timeloop-model writes: counts from the text, precision from the archive."""

from __future__ import annotations

import math

from codesign.accelerator.engines.timeloop.stats_text import StatsError, TextDataspace, TextLevel, TextStats
from codesign.accelerator.engines.timeloop.stats_xml import XmlDataspace, XmlLevel, XmlStats
from codesign.accelerator.model.area import total_area_um2
from codesign.accelerator.result import ComputeStats, DataspaceStats, LevelStats, Result
from codesign.accelerator.spec.case import Case

__all__ = ["join_stats"]

_PRINTED_pJ = 0.0051
_WRAPPED = 2**62


def join_stats(case: Case, text: TextStats, archive: XmlStats) -> Result:
    """The result of a run.

    Counts, cycles, leakage and network energies are those of ``stats.txt`` (the last two to 0.01 pJ: the archive lacks
    them); the other energies are those of the archive. Computes that storage levels keep away are not told apart by
    the real program, so they count as neither gated nor skipped.

    Raises:
        StatsError: the two files disagree, or lack a level of the architecture.
    """
    _agree("energy of the computes", text.compute_pJ, archive.compute_pJ)
    levels: dict[str, LevelStats] = {}
    warnings: list[str] = []
    networks = _networks(case, text)
    for storage in reversed(case.architecture.storage):
        if storage.spatial_dummy:
            continue
        name = storage.name
        if name not in text.levels or name not in archive.levels:
            raise StatsError(f"there is no level {name} in stats.txt or in map+stats.xml")
        levels[name] = _level(case, name, text.levels[name], archive.levels[name], networks.get(name, 0.0))
        warnings += _wrapped(name, text.levels[name])
    done = text.actual_computes + text.gated_computes
    table = case.energy
    return Result(
        cycles=text.cycles,
        energy_pJ=archive.compute_pJ + sum(level.energy_pJ + level.network_pJ for level in levels.values()),
        utilization=done / text.compute_instances / text.cycles if text.cycles else 0.0,
        computes=ComputeStats(
            algorithmic=text.algorithmic_computes,
            actual=text.actual_computes,
            gated=text.gated_computes,
            skipped=text.skipped_computes,
            energy_pJ=archive.compute_pJ,
        ),
        levels=levels,
        compute_cycles=text.compute_cycles,
        area_um2=None if table is None else total_area_um2(case.architecture, table),
        warnings=tuple(warnings),
    )


def _level(case: Case, name: str, text: TextLevel, archive: XmlLevel, network_pJ: float) -> LevelStats:
    if text.cycles != archive.cycles:
        raise StatsError(f"{name}: {text.cycles} cycles in stats.txt, {archive.cycles} in map+stats.xml")
    names = [dataspace.name for dataspace in case.problem.dataspaces]
    kept = {ds: row for ds, row in zip(names, archive.dataspaces, strict=True) if row is not None}
    if set(kept) != set(text.dataspaces):
        raise StatsError(f"{name}: stats.txt keeps {sorted(text.dataspaces)}, map+stats.xml {sorted(kept)}")
    dataspaces = {ds: _dataspace(f"{name}: {ds}", text.dataspaces[ds], row) for ds, row in kept.items()}
    return LevelStats(
        cycles=text.cycles,
        leakage_pJ=text.leakage_pJ,
        dataspaces=dataspaces,
        energy_pJ=text.leakage_pJ + sum(entry.energy_pJ for entry in dataspaces.values()),
        network_pJ=network_pJ,
        instances=text.instances,
        utilized_instances=max((row.utilized_instances for row in kept.values()), default=0.0),
        bandwidth_slowdown=archive.slowdown,
    )


def _dataspace(place: str, text: TextDataspace, archive: XmlDataspace) -> DataspaceStats:
    """Accesses of one dataspace, with the energy of its accesses, temporal reductions and address generation."""
    for kind in ("reads", "fills", "updates"):
        want, got = text.counts[f"algorithmic_{kind}"], getattr(archive, kind)
        if want != got:
            raise StatsError(f"{place}: {want} {kind} in stats.txt, {got} in map+stats.xml")
    access_pJ = archive.energy_pJ * archive.utilized_instances
    _agree(f"{place}: energy", text.energy_pJ, access_pJ)
    rest_pJ = archive.reduction_pJ * archive.utilized_instances + archive.address_pJ * archive.utilized_clusters
    return DataspaceStats(
        **text.counts,
        temporal_reductions=text.temporal_reductions,
        utilized_capacity=text.utilized_capacity,
        energy_pJ=access_pJ + rest_pJ,
    )


def _networks(case: Case, text: TextStats) -> dict[str, float]:
    """Energy of the networks below each real level; that of a fan-out's level goes to the level outside."""
    found: dict[str, float] = {}
    owner = ""
    for storage in reversed(case.architecture.storage):
        if not storage.spatial_dummy or not owner:
            owner = storage.name
        for name, energy_pJ in text.networks_pJ.items():
            if name.split(" <==> ")[0] == storage.name:
                found[owner] = found.get(owner, 0.0) + energy_pJ
    return found


def _agree(what: str, printed: float, precise: float) -> None:
    if not math.isclose(printed, precise, rel_tol=1e-12, abs_tol=_PRINTED_pJ):
        raise StatsError(f"{what} is {printed} pJ in stats.txt and {precise} pJ in map+stats.xml")


def _wrapped(name: str, level: TextLevel) -> list[str]:
    """Counters that went below zero: unsigned, they are close to 2^64 (quirk of savings that shrink inwards)."""
    return [
        f"{name}: {ds}: {kind} has wrapped around below zero in the real program; use --engine embedded for this case"
        for ds, entry in level.dataspaces.items()
        for kind, count in entry.counts.items()
        if count >= _WRAPPED
    ]
