"""Runs the sparse model over a whole nest: layouts, expectations, savings, computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import floor

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.activity import Activity, ComputeActivity, Fates, dense_activity
from codesign.accelerator.model.compute_sparsity import Operand, compute_fates
from codesign.accelerator.model.density_models import DensityModel, density_models
from codesign.accelerator.model.energy import Prices
from codesign.accelerator.model.formats import Layout, RanksExceededError, layout_of, uncompressed
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.occupancy import TileSparsity, tile_sparsity
from codesign.accelerator.model.saf import CompleteLoop, Setting, complete_loops, find_savings
from codesign.accelerator.model.sparse import Column, combine, metadata_words
from codesign.accelerator.model.sparse_check import check_sparse
from codesign.accelerator.model.unused_ranks import unused_ranks
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations, TensorFormat

__all__ = ["SparseOutcome", "find_layouts", "run_sparse"]

_Rows = Sequence[Sequence[Accesses]]
_Loops = tuple[tuple[CompleteLoop, ...], ...]


@dataclass(frozen=True, slots=True)
class SparseOutcome:
    """What the dense activities become: by level, one a dataspace."""

    activities: tuple[tuple[Activity, ...], ...]
    computes: ComputeActivity
    warnings: tuple[str, ...]
    masked: bool = False
    """Whether what is skipped shortens the cycles of a nest with imperfect loops too."""


def run_sparse(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    nest: Nest,
    accesses: _Rows,
    dense: ComputeActivity,
    sparse: SparseOptimizations,
    prices: Prices,
    *,
    compat: bool,
) -> SparseOutcome | Infeasible:
    """Apply all sparse optimisations of an architecture.

    Raises:
        InputError: names that do not exist, contradictory formats, or something that is not modelled.
    """
    check_sparse(sparse, architecture, problem)
    loops = complete_loops(mapping)
    models = density_models(problem, compat=compat)
    tiles: list[dict[int, TileSparsity]] = []
    for index in range(len(problem.dataspaces)):
        found = _tiles(index, architecture, problem, nest, loops, accesses, models[index], sparse, compat)
        if isinstance(found, Infeasible):
            return found
        tiles.append(found)

    def worth(level: int, target: int) -> float:
        storage, tile = architecture.storage[level], tiles[target][level]
        words = tile.density * accesses[level][target].size + metadata_words(tile.units)
        return prices.storage(storage.name, "read", "random") / storage.block_size * words

    saved = find_savings(sparse, Setting(architecture, problem, loops, accesses, models, worth))
    columns = []
    for index, dataspace in enumerate(problem.dataspaces):
        own = {level: entry for (level, target), entry in saved.items() if target == index}
        column = [row[index] for row in accesses]
        columns.append(combine(dataspace, column, tiles[index], own, architecture.storage, compat))
    activities = tuple(
        tuple(
            column.activities[level] if level in column.activities else dense_activity(row[index])
            for index, column in enumerate(columns)
        )
        for level, row in enumerate(accesses)
    )
    computes = _computes(problem, dense, sparse, models, tiles, columns, architecture)
    if not compat:  # in the real program the cycles of computes whose operand is gated vanish
        computes = replace(computes, idle=computes.kept_away_by_gating)
    warnings = [*chain.from_iterable(column.warnings for column in columns)]
    if not compat:
        layouts = [{level: tile.layout for level, tile in found.items()} for found in tiles]
        warnings += [
            str(r) for i, own in enumerate(layouts) for r in unused_ranks(i, architecture, problem, sparse, own)
        ]
    if computes.idle:
        warnings.append(
            "computes whose operand a storage level gates take their cycle; the real program drops these cycles "
            "(compat semantics)"
        )
    return SparseOutcome(activities, computes, tuple(warnings))


def _tiles(
    index: int,
    architecture: Architecture,
    problem: Problem,
    nest: Nest,
    loops: _Loops,
    accesses: _Rows,
    model: DensityModel,
    sparse: SparseOptimizations,
    compat: bool,
) -> dict[int, TileSparsity] | Infeasible:
    layouts = find_layouts(index, architecture, problem, nest, loops, accesses, sparse)
    if isinstance(layouts, Infeasible):
        return layouts
    found = {}
    for level, layout in layouts.items():
        tile = accesses[level][index]
        parent = layouts[tile.parent] if tile.parent is not None else None
        block = architecture.storage[level].block_size
        found[level] = tile_sparsity(
            tile, nest.extents(level), problem.dataspaces[index], model, layout, parent, block, compat
        )
    return found


def find_layouts(
    index: int,
    architecture: Architecture,
    problem: Problem,
    nest: Nest,
    loops: _Loops,
    accesses: _Rows,
    sparse: SparseOptimizations,
) -> dict[int, Layout] | Infeasible:
    """How every level that holds a dataspace lays it out; infeasible if the mapping needs more ranks than given."""
    dataspace = problem.dataspaces[index]
    held = [level for level, row in enumerate(accesses) if row[index].size]
    layouts: dict[int, Layout] = {}
    for level in held:
        form = _format(architecture.storage[level].name, dataspace.name, sparse)
        child = accesses[level][index].child
        if form is None:
            layouts[level] = uncompressed(dataspace, nest.levels[level].boundary.full)
            continue
        first = 0 if child is None else child + 1
        try:
            layouts[level] = layout_of(
                form,
                architecture.storage[level],
                problem,
                dataspace,
                [loop for row in loops[:first] for loop in row],
                [loop for row in loops[first : level + 1] for loop in row],
                layouts[child] if child is not None and accesses[child][index].size > 1 else None,
            )
        except RanksExceededError:
            return _ranks_exceeded(architecture.storage[level].name, dataspace.name, form)
    return layouts


def _format(level: str, dataspace: str, sparse: SparseOptimizations) -> TensorFormat | None:
    for entry in sparse.levels:
        if entry.level == level:
            for form in entry.formats:
                if form.dataspace == dataspace:
                    return form
    return None


def _ranks_exceeded(level: str, dataspace: str, form: TensorFormat) -> Infeasible:
    return Infeasible(
        level=level,
        demand=len(form.ranks) + 1,
        capacity=len(form.ranks),
        unit="compression ranks",
        message=f"{level}: the mapping of {dataspace} needs more compression ranks than the {len(form.ranks)} given",
        dataspace=dataspace,
        levers=(
            f"more ranks in the format of {dataspace} at {level}",
            f"fewer loops over {dataspace} at {level} and inside",
        ),
    )


def _computes(
    problem: Problem,
    dense: ComputeActivity,
    sparse: SparseOptimizations,
    models: Sequence[DensityModel],
    tiles: Sequence[dict[int, TileSparsity]],
    columns: Sequence[Column],
    architecture: Architecture,
) -> ComputeActivity:
    operands = [index for index, dataspace in enumerate(problem.dataspaces) if not dataspace.read_write]
    total = dense.fates.random
    kept_away = {"gating": 0, "skipping": 0}
    for index in operands:
        empty = columns[index].leader_empty
        if empty is not None:
            removed = floor(total * empty)
            total -= removed
            kept_away[columns[index].leader_kind] += removed
    states = [
        Operand(
            density=models[index].density,
            has_metadata=tiles[index][min(tiles[index])].layout.has_metadata,
            leader_empty=None if columns[index].leader_empty is None else round(columns[index].leader_empty or 0.0, 6),
        )
        for index in operands
    ]
    kinds = {entry.kind for entry in sparse.compute if entry.level == architecture.compute.name}
    fates = Fates(total)
    if kinds:
        fates = compute_fates(total, states, gating="gating" in kinds, skipping="skipping" in kinds)
    return ComputeActivity(
        dense.algorithmic, fates, dense.average_replication, kept_away["gating"], kept_away["skipping"]
    )
