"""The sparse pass with real masks, and with savings that wait for a mask over the outputs (docs/output_masks.md).

Where ``sparse_pass`` repeats Sparseloop's rules for two operands whose zeros are independent, this pass asks one
question for every access: in what share of the deliveries is nothing that it waits for empty?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.activity import Activity, ComputeActivity, Fates, dense_activity
from codesign.accelerator.model.actual_data import actual_sparsity, known_sparsity
from codesign.accelerator.model.density_models import density_model
from codesign.accelerator.model.energy import Prices
from codesign.accelerator.model.events import Event, event_of, scalar, served
from codesign.accelerator.model.formats import Layout
from codesign.accelerator.model.masked_computes import KeptAway, Unit, masked_computes, part
from codesign.accelerator.model.nest import Nest
from codesign.accelerator.model.occupancy import TileSparsity, tile_sparsity
from codesign.accelerator.model.ragged import Existence, share_of
from codesign.accelerator.model.saf import complete_loops
from codesign.accelerator.model.sparse import metadata_words
from codesign.accelerator.model.sparse_check import check_sparse
from codesign.accelerator.model.sparse_pass import SparseOutcome, find_layouts
from codesign.accelerator.model.structured_tiles import StructuredTiles
from codesign.accelerator.model.survival import Survival
from codesign.accelerator.model.unused_ranks import unused_ranks
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.density import DENSE, ActualData, StructuredNM, Vectors
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import ActionOptimization, Option, SparseOptimizations
from codesign.errors import InputError

__all__ = ["MaskedOutcome", "MaskedPlan", "needs_masks", "plan_masked", "run_masked"]

_KINDS = ("read", "fill", "update")


@dataclass(frozen=True, slots=True)
class _Saving:
    """What one dataspace's accesses at one level wait for."""

    kind: str
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class MaskedOutcome:
    """The outcome and what it was made of: for finer questions about the same run (imbalance, samples)."""

    outcome: SparseOutcome
    survival: Survival
    kept_away: KeptAway
    unit: Unit


@dataclass(frozen=True, slots=True)
class MaskedPlan:
    """What waits for what, before anything is counted."""

    setting: _Setting
    layouts: list[dict[int, Layout]]
    saved: dict[tuple[int, int], _Saving]
    kept_away: KeptAway
    unit: Unit


@dataclass(frozen=True)
class _Setting:
    architecture: Architecture
    problem: Problem
    mapping: Mapping
    accesses: Sequence[Sequence[Accesses]]
    existence: Existence
    survival: Survival
    prices: Prices
    tiles: list[dict[int, TileSparsity]] = field(default_factory=list)


def needs_masks(problem: Problem, sparse: SparseOptimizations) -> bool:
    """Whether a run goes beyond what Sparseloop can say."""
    written = {dataspace.name for dataspace in problem.dataspaces if dataspace.read_write}
    options = (option for level in sparse.levels for action in level.actions for option in action.options)
    return (
        any(isinstance(density, ActualData | StructuredNM | Vectors) for density in problem.densities)
        or any(not written.isdisjoint(option.condition_on) for option in options)
        or any(entry.on == "outputs" for entry in sparse.compute)
    )


def run_masked(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    nest: Nest,
    accesses: Sequence[Sequence[Accesses]],
    dense: ComputeActivity,
    sparse: SparseOptimizations,
    prices: Prices,
    *,
    survival: Survival | None = None,
) -> MaskedOutcome | Infeasible:
    """Apply all sparse optimisations of an architecture.

    Args:
        survival: of this problem in this nest, where it is known already.

    Raises:
        InputError: names that do not exist, masks that do not fit their tensors, or something that is not modelled.
    """
    plan = plan_masked(architecture, problem, mapping, nest, accesses, sparse, prices, survival=survival)
    if isinstance(plan, Infeasible):
        return plan
    setting = plan.setting
    columns = [
        _column(index, {level: entry for (level, target), entry in plan.saved.items() if target == index}, setting)
        for index in range(len(problem.dataspaces))
    ]
    activities = tuple(
        tuple(column.get(level, dense_activity(row[index])) for index, column in enumerate(columns))
        for level, row in enumerate(accesses)
    )
    computes = masked_computes(dense, plan.unit, plan.kept_away, setting.survival, setting.existence.operations)
    unused = [
        str(ranks)
        for index, layouts in enumerate(plan.layouts)
        for ranks in unused_ranks(index, architecture, problem, sparse, layouts)
    ]
    outcome = SparseOutcome(activities, computes, (*unused, *_unpriced(plan, problem)), masked=True)
    return MaskedOutcome(outcome, setting.survival, plan.kept_away, plan.unit)


def plan_masked(
    architecture: Architecture,
    problem: Problem,
    mapping: Mapping,
    nest: Nest,
    accesses: Sequence[Sequence[Accesses]],
    sparse: SparseOptimizations,
    prices: Prices,
    *,
    survival: Survival | None = None,
) -> MaskedPlan | Infeasible:
    """Layouts and savings of all levels; arguments and errors as of ``run_masked``."""
    check_sparse(sparse, architecture, problem, output_masks=True)
    existence = Existence(problem, nest)
    if survival is None:
        survival = existence.survival
    setting = _Setting(architecture, problem, mapping, accesses, existence, survival, prices)
    layouts: list[dict[int, Layout]] = []
    for index in range(len(problem.dataspaces)):
        found = find_layouts(index, architecture, problem, nest, complete_loops(mapping), accesses, sparse)
        if isinstance(found, Infeasible):
            return found
        if not nest.perfect and any(layout.has_metadata for layout in found.values()):
            raise InputError(
                f"not modelled: masks with {problem.dataspaces[index].name} compressed in a nest with imperfect loops",
                key="mapping",
                fix="choose factors that divide the bounds",
            )
        layouts.append(found)
        setting.tiles.append(_tiles(index, found, setting, nest))
    saved = _find_savings(sparse, setting)
    return MaskedPlan(setting, layouts, saved, _kept_away(saved, problem), _unit(sparse, problem, layouts))


def _unpriced(plan: MaskedPlan, problem: Problem) -> tuple[str, ...]:
    """What a mask over the outputs costs and the numbers do not have."""
    outputs = plan.unit.outputs
    waits = plan.unit.on_outputs or any(e.dataspace == outputs for s in plan.saved.values() for e in s.events)
    if not waits or problem.densities[outputs] == DENSE:  # all outputs are computed: there is no mask
        return ()
    dataspace = problem.dataspaces[outputs]
    return (
        f"not modelled: storing and reading the mask over {dataspace.name} ({problem.tensor_size(dataspace):,} bits a "
        "sample), and the predictor that makes it",
    )


def _tiles(index: int, layouts: dict[int, Layout], setting: _Setting, nest: Nest) -> dict[int, TileSparsity]:
    problem = setting.problem
    dataspace, density = problem.dataspaces[index], problem.densities[index]
    found = {}
    for level, layout in layouts.items():
        tile = setting.accesses[level][index]
        parent = layouts[tile.parent] if tile.parent is not None else None
        block, box = setting.architecture.storage[level].block_size, nest.extents(level)
        if isinstance(density, ActualData):
            found[level] = actual_sparsity(density, problem, dataspace, tile, box, layout, parent, block)
            continue
        if isinstance(density, StructuredNM | Vectors):
            known = StructuredTiles.of(density, problem, dataspace)
            found[level] = known_sparsity(known, dataspace, tile, box, layout, parent, block)
            continue
        model = density_model(problem, index, compat=False)
        found[level] = tile_sparsity(tile, box, dataspace, model, layout, parent, block, compat=False)
    return found


def _find_savings(sparse: SparseOptimizations, setting: _Setting) -> dict[tuple[int, int], _Saving]:
    """(level, dataspace) -> what is saved there, in the order of ``saf.find_savings``."""
    found: dict[tuple[int, int], _Saving] = {}
    order = {storage.name: level for level, storage in enumerate(setting.architecture.storage)}
    for kind in ("gating", "skipping"):
        for entry in sorted(sparse.levels, key=lambda entry: order[entry.level]):
            for action in entry.actions:
                best = _best(action, order[entry.level], setting) if action.kind == kind else None
                if best is None:
                    continue
                place, saving = best
                known = found.get(place)
                survives = setting.survival.none_empty
                if known is None or survives(saving.events) < survives(known.events):
                    found[place] = saving
    return found


def _best(action: ActionOptimization, level: int, setting: _Setting) -> tuple[tuple[int, int], _Saving] | None:
    """The option that saves most energy, the last one of equals."""
    options = (_option(option, action.kind, level, setting) for option in action.options)
    found = [option for option in options if option is not None]
    if len(found) < 2:  # nothing has to be counted
        return found[0] if found else None
    return max(reversed(found), key=lambda option: _worth(option[0], option[1], setting))


def _worth(place: tuple[int, int], saving: _Saving, setting: _Setting) -> float:
    """Energy of the saved accesses, as Sparseloop estimates it."""
    level, target = place
    storage, tile = setting.architecture.storage[level], setting.tiles[target][level]
    price = setting.prices.storage(storage.name, "read", "random") / storage.block_size
    words = tile.density * setting.accesses[level][target].size + metadata_words(tile.units)
    return price * words * (1 - float(setting.survival.none_empty(saving.events)))


def _option(option: Option, kind: str, level: int, setting: _Setting) -> tuple[tuple[int, int], _Saving] | None:
    spaces = setting.problem.dataspaces
    names = [dataspace.name for dataspace in spaces]
    target = names.index(option.target)
    at = next((i for i in range(level, len(setting.accesses)) if setting.accesses[i][target].size), None)
    if at is None:
        return None
    storage = setting.architecture.storage[at]
    child, digits = setting.accesses[at][target].child, setting.survival.digits
    merged = served(digits, setting.mapping.levels, spaces[target], target, at, child, storage.block_size)
    conditions = [names.index(name) for name in option.condition_on]
    events = tuple(event_of(spaces[index], index, digits, merged) for index in conditions)
    return (at, target), _Saving(kind, events)


def _column(index: int, saved: dict[int, _Saving], setting: _Setting) -> dict[int, Activity]:
    """One dataspace at all levels, from the outermost inwards."""
    found: dict[int, Activity] = {}
    outer: tuple[Event, ...] = ()
    for level in sorted(setting.tiles[index], reverse=True):
        own = saved.get(level)
        found[level] = _activity(index, level, outer, own, setting, found)
        if own is not None:
            outer += own.events
    return found


def _activity(
    index: int,
    level: int,
    outer: tuple[Event, ...],
    own: _Saving | None,
    setting: _Setting,
    done: dict[int, Activity],
) -> Activity:
    """Accesses of one dataspace at one level, given what levels further out already keep away."""
    tile, accesses = setting.tiles[index][level], setting.accesses[level][index]
    held = _held(index, level, setting)
    word = (scalar(index),) if tile.layout.has_metadata else held
    share = tile.average_replication / accesses.replication if accesses.replication else 0.0
    events = () if own is None else own.events

    def alive(wanted: Sequence[Event], kind: str = "") -> Fraction | float:
        existing = _existing(index, level, kind, setting) if wanted else ()
        survives = share_of(setting.survival, wanted, existing)
        if share == 1.0 or not survives:
            return survives
        return min(1.0, float(survives) / share)

    data = {}
    for kind in _KINDS:
        count = getattr(accesses, f"{kind}s")
        reached = part(count, alive((*outer, *word), kind))
        made = reached if kind == "fill" else part(count, alive((*outer, *events, *word), kind))
        data[kind] = _fates(made, reached - made, own)
    arriving, served_share = alive((*outer, *held)), alive((*outer, *events, *held))
    bits = {kind: _metadata_bits(kind, index, level, arriving, served_share, own, setting) for kind in _KINDS}
    reductions = accesses.temporal_reductions
    if accesses.updates:
        reductions = ceil(Fraction(reductions * data["update"].random, accesses.updates))
    parent = accesses.parent
    unpacks = parent is not None and setting.tiles[index][parent].layout.compressed and not tile.layout.compressed
    packs = unpacks and setting.problem.dataspaces[index].read_write
    return Activity(
        reads=data["read"],
        fills=data["fill"],
        updates=data["update"],
        temporal_reductions=reductions,
        capacity_words=tile.capacity_words,
        average_replication=tile.average_replication,
        metadata_read_bits=bits["read"],
        metadata_fill_bits=bits["fill"],
        metadata_update_bits=bits["update"],
        metadata_bits=tile.metadata_bits,
        vector_ratio=tile.vector_ratio,
        decompressions=data["fill"].random if unpacks else 0,
        compressions=done[parent].updates.random if packs and parent is not None else 0,
    )


def _existing(index: int, level: int, kind: str, setting: _Setting) -> tuple[Event, ...]:
    """What must not happen for a word of these accesses to exist: those of fills come from the parent."""
    accesses = setting.accesses[level][index]
    parent = accesses.parent
    place = (parent, level) if kind == "fill" and parent is not None else (level, accesses.child)
    block, dataspace = setting.architecture.storage[place[0]].block_size, setting.problem.dataspaces[index]
    return setting.existence.deliveries(setting.mapping.levels, dataspace, index, *place, block, apart=kind == "fill")


def _held(index: int, level: int, setting: _Setting) -> tuple[Event, ...]:
    """That the level's whole tile is empty, where the parent knows of it and does not send it."""
    parent = setting.accesses[level][index].parent
    if parent is None or not setting.tiles[index][parent].layout.has_metadata:
        return ()
    digits = setting.survival.digits
    merged = {i: digit.bound for i, digit in enumerate(digits) if digit.level <= level}
    return (event_of(setting.problem.dataspaces[index], index, digits, merged),)


def _fates(made: int, saved: int, own: _Saving | None) -> Fates:
    if own is not None and own.kind == "gating":
        return Fates(made, gated=saved)
    return Fates(made, skipped=saved)


def _metadata_bits(
    kind: str,
    index: int,
    level: int,
    arriving: Fraction | float,
    served_share: Fraction | float,
    own: _Saving | None,
    setting: _Setting,
) -> Fates:
    """Bits of metadata; those that describe what the child holds are saved with its words."""
    tile, accesses = setting.tiles[index][level], setting.accesses[level][index]
    count = getattr(accesses, f"{kind}s")
    ranks = len(tile.layout.ranks)
    if accesses.child is not None:
        ranks = min(ranks, len(setting.tiles[index][accesses.child].layout.ranks))
    total = Fates()
    for number, (units, rank) in enumerate(zip(tile.units, tile.layout.ranks, strict=False)):
        for words, bits in ((units.metadata, rank.metadata_bits), (units.payload, rank.payload_bits)):
            moved = ceil(words * count / accesses.size)
            reached = part(moved, arriving)
            saves = own is not None and kind != "fill" and number < ranks
            made = part(moved, served_share) if saves else reached
            found = _fates(made, reached - made, own)
            total.random += found.random * bits
            total.gated += found.gated * bits
            total.skipped += found.skipped * bits
    return total


def _kept_away(saved: dict[tuple[int, int], _Saving], problem: Problem) -> KeptAway:
    """Savings of read-only tensors keep the computes away that wait for them."""
    found: dict[str, list[Event]] = {"skipping": [], "gating": []}
    for (_, target), saving in saved.items():
        if not problem.dataspaces[target].read_write:
            found[saving.kind] += saving.events
    return KeptAway(tuple(found["skipping"]), tuple(found["gating"]))


def _unit(sparse: SparseOptimizations, problem: Problem, layouts: Sequence[dict[int, Layout]]) -> Unit:
    first, second = (index for index, dataspace in enumerate(problem.dataspaces) if not dataspace.read_write)
    kinds = {on: frozenset(e.kind for e in sparse.compute if e.on == on) for on in ("operands", "outputs")}
    return Unit(
        operands=(first, second),
        known=(layouts[first][min(layouts[first])].has_metadata, layouts[second][min(layouts[second])].has_metadata),
        outputs=next(index for index, dataspace in enumerate(problem.dataspaces) if dataspace.read_write),
        on_operands=kinds["operands"],
        on_outputs=kinds["outputs"],
    )
