"""The sparse side of a task as plain arrays, for the compiled evaluator: formats, savings, densities, prices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.nest import FloatArray, IntArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.model.activity import ComputeActivity, Fates
from codesign.accelerator.model.density_models import DensityModel
from codesign.accelerator.model.energy import Prices, compute_energy_pJ
from codesign.accelerator.model.formats import layout_of
from codesign.accelerator.spec.architecture import Storage
from codesign.accelerator.spec.density import Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.sparse import TensorFormat
from codesign.errors import InputError

__all__ = ["formats_of", "sparse_tables"]

_FORMATS = {"UOP": of.UOP, "UB": of.UB, "CP": of.CP, "B": of.B, "RLE": of.RLE}
_PACKED = ("CP", "B", "RLE")
_KINDS, _FATES = ("read", "fill", "update"), ("random", "gated", "skipped")


def formats_of(task: Task) -> dict[tuple[int, int], TensorFormat]:
    """(level, dataspace) -> compressed layout, where there is one."""
    names = [dataspace.name for dataspace in task.problem.dataspaces]
    found: dict[tuple[int, int], TensorFormat] = {}
    for index, storage in enumerate(task.architecture.storage):
        for entry in (entry for entry in task.sparse.levels if entry.level == storage.name):
            for form in entry.formats:
                found.setdefault((index, names.index(form.dataspace)), form)
    return found


def sparse_tables(task: Task, space: MapSpace, models: Sequence[DensityModel]) -> tuple[IntArray, FloatArray, int, int]:
    """Integers, numbers (see ``sparse_layout``), and the sizes of the working memory for both.

    Raises:
        InputError: a word of metadata does not fit its storage, or the energy table lacks a component.
    """
    problem, levels = task.problem, task.architecture.storage
    spaces, dims = len(problem.dataspaces), len(problem.bounds)
    forms = formats_of(task)
    most = max((len(form.ranks) for form in forms.values()), default=1)
    options = _options(task)
    fanned = [task.architecture.fanout(index) != (1, 1) for index in range(len(levels))]
    scalars = {
        "DIMS": dims,
        "LOOPS": sum(dims * (1 + fan) for fan in fanned),
        "MOST_RANKS": most,
        "OPTIONS": len(options),
        "KEY_WORDS": 3 + 2 * most,
        "VALUE_WORDS": of.HEAD + 2 * most,
        "GATES_COMPUTES": any(entry.kind == "gating" for entry in task.sparse.compute),
        "SKIPS_COMPUTES": any(entry.kind == "skipping" for entry in task.sparse.compute),
    }
    integers: dict[str, object] = {
        **_nest(task, space),
        "FANNED": fanned,
        **_formats(task, forms, most),
        "KIND": [of.DRAWN if isinstance(own, Hypergeometric) else of.FIXED for own in problem.densities],
        "NONZEROS": [
            round(model.density * problem.tensor_size(space))
            for model, space in zip(models, problem.dataspaces, strict=True)
        ],
        "SHAPED": [isinstance(own, Banded) for own in problem.densities],
        "ACTION": [option[0] for option in options],
        "SKIPS": [option[1] for option in options],
        "OPTION_LEVEL": [option[2] for option in options],
        "TARGET": [option[3] for option in options],
        "CONDITIONS": [_padded(option[4], spaces) for option in options],
        "OPERANDS": [index for index, own in enumerate(problem.dataspaces) if not own.read_write],
        "WORD_BITS": [level.word_bits for level in levels],
        "META_WIDTH": [level.metadata_width_bits for level in levels],
    }
    numbers: dict[str, object] = {
        "DENSITY": [model.density for model in models],
        "FIXED_DENSITY": [own.density if isinstance(own, FixedStructured) else 1.0 for own in problem.densities],
        **_prices(task),
        "ROOM": [_room(level) for level in levels],
    }
    return _packed(scalars, integers, numbers, len(levels), spaces)


def _packed(
    scalars: dict[str, int], integers: dict[str, object], numbers: dict[str, object], levels: int, spaces: int
) -> tuple[IntArray, FloatArray, int, int]:
    header = np.zeros(of.HEADER, np.int64)
    for name, value in scalars.items():
        header[getattr(of, name)] = value
    whole: list[IntArray] = [header]
    at = of.HEADER
    for name, content in integers.items():
        header[getattr(of, name)] = at
        whole.append(np.asarray(content).astype(np.int64).ravel())
        at += len(whole[-1])
    parts: list[FloatArray] = []
    at = 0
    for name, content in numbers.items():
        header[getattr(of, name)] = at
        parts.append(np.asarray(content, np.float64).ravel())
        at += len(parts[-1])
    dims, loops, most, places = scalars["DIMS"], scalars["LOOPS"], scalars["MOST_RANKS"], levels * spaces
    sizes = {
        **dict.fromkeys(("DIMENSION", "BOUND", "SPATIAL", "RELEVANT"), loops),
        **dict.fromkeys(("QUEUE_DIMENSION", "QUEUE_BOUND", "QUEUE_WORDS"), loops),
        "FIRST": levels + 1,
        **dict.fromkeys(("CHILD", "PARENT", "BASE"), places),
        **dict.fromkeys(("FIBER", "UPPER"), places * most),
        "TAKEN": 2 * most,
        **dict.fromkeys(("EXTENT", "INSIDE", "MOLD", "SHARED"), dims),
        "KEY": scalars["KEY_WORDS"],
    }
    work_integers = _places(header, sizes)
    sizes = {
        **dict.fromkeys(("DENSE", "AVERAGE", "RATIO", "META_WORDS", "META_ROOM", "SAVED", "SAVED_SKIPS"), places),
        "UNITS": 2 * places * most,
        "DATA": 9 * places,
        "META": 18 * places * most,
        **dict.fromkeys(("LEADER", "LEADER_SKIPS"), spaces),
    }
    work_numbers = _places(header, sizes)
    return np.concatenate(whole), np.concatenate(parts), work_integers, work_numbers


def _places(header: IntArray, sizes: dict[str, int]) -> int:
    at = 0
    for name, size in sizes.items():
        header[getattr(of, name)] = at
        at += size
    return at


def _padded(values: Sequence[int], length: int) -> list[int]:
    return [*values, *[-1] * (length - len(values))]


def _nest(task: Task, space: MapSpace) -> dict[str, object]:
    """Where dimensions and loops are, over all dimensions of the problem."""
    problem, active = task.problem, space.nest.dimensions
    dims = len(problem.bounds)
    ranks = [rank for dataspace in problem.dataspaces for rank in dataspace.ranks]
    slot_of = {(slot.level, slot.axis): index for index, slot in enumerate(space.nest.slots)}
    rows: dict[str, list[object]] = {name: [] for name in _LOOPS}
    for level, own in enumerate(task.constraints.levels):
        for kind, loops in (("SPATIAL", own.spatial), ("TIME", own.temporal)):
            order = space.spatial_order if kind == "SPATIAL" else range(dims)
            free = [d for d in order if d not in {*loops.inner, *loops.outer}]
            middle = free if kind == "SPATIAL" else [d for d in free if d not in active]
            if kind == "TIME" and (level, "T") not in slot_of:
                middle = free
            rows[f"{kind}_INNER"].append(_padded(loops.inner, dims))
            rows["SPATIAL_FREE" if kind == "SPATIAL" else "TIME_IDLE"].append(_padded(middle, dims))
            rows[f"{kind}_OUTER"].append(_padded(loops.outer, dims))
        rows["TIME_FIXED"].append([d in {*own.temporal.inner, *own.temporal.outer} for d in range(dims)])
        rows["SLOTS"].append(
            [slot_of.get((level, "X"), -1), slot_of.get((level, "Y"), -1), slot_of.get((level, "T"), -1)]
        )
    return {
        "ACTIVE": active,
        "POSITION": [active.index(d) if d in active else -1 for d in range(dims)],
        "IN": [[d in dataspace.dimensions for d in range(dims)] for dataspace in problem.dataspaces],
        "TERM_START": np.cumsum([0, *(len(rank) for rank in ranks)]),
        "TERM_DIMENSION": [term.dimension for rank in ranks for term in rank],
        "TERM_STEP": [abs(term.coefficient) for rank in ranks for term in rank],
        **rows,
    }


_LOOPS = (
    "SPATIAL_INNER", "SPATIAL_FREE", "SPATIAL_OUTER", "TIME_INNER", "TIME_IDLE", "TIME_OUTER", "TIME_FIXED", "SLOTS",
)  # fmt: skip


def _formats(task: Task, forms: dict[tuple[int, int], TensorFormat], most: int) -> dict[str, object]:
    problem, levels = task.problem, task.architecture.storage
    spaces, dims = len(problem.dataspaces), len(problem.bounds)
    count, squeezed, outer_first = (np.zeros((len(levels), spaces), np.int64) for _ in range(3))
    kind, meta, payload, grouped = (np.zeros((len(levels), spaces, most), np.int64) for _ in range(4))
    group = np.zeros((len(levels), spaces, most, dims), np.int64)
    for (level, v), form in forms.items():
        count[level, v], outer_first[level, v] = len(form.ranks), form.outer_to_inner
        squeezed[level, v] = any(rank.format in _PACKED for rank in form.ranks)
        bare = layout_of(form, levels[level], problem, problem.dataspaces[v], [], [], None)
        for number, (rank, mapped) in enumerate(zip(reversed(form.ranks), bare.ranks, strict=True)):
            kind[level, v, number] = _FORMATS[rank.format]
            meta[level, v, number], payload[level, v, number] = mapped.metadata_bits, mapped.payload_bits
            grouped[level, v, number] = bool(rank.flattened_rank_ids)
            for d, name in enumerate(problem.dimensions):
                ids = next((ids for ids in rank.flattened_rank_ids if name in ids), ())
                group[level, v, number, d] = sum(
                    1 << problem.dimensions.index(x) for x in set(ids) & set(problem.dimensions)
                )
    return {
        "FORM": count, "SQUEEZED": squeezed, "OUTER_FIRST": outer_first, "FORMAT": kind, "META_BITS": meta,
        "PAYLOAD_BITS": payload, "GROUPED": grouped, "GROUP": group,
    }  # fmt: skip


def _options(task: Task) -> list[tuple[int, int, int, int, list[int]]]:
    """(number of the entry, skipping, level, target, conditions), all gating first, from the inside out."""
    names = [dataspace.name for dataspace in task.problem.dataspaces]
    order = {storage.name: level for level, storage in enumerate(task.architecture.storage)}
    found: list[tuple[int, int, int, int, list[int]]] = []
    entry = 0
    for kind in ("gating", "skipping"):
        for level in sorted(task.sparse.levels, key=lambda own: order[own.level]):
            for action in (action for action in level.actions if action.kind == kind):
                for option in action.options:
                    conditions = [names.index(name) for name in option.condition_on]
                    row = (entry, int(kind == "skipping"), order[level.level], names.index(option.target), conditions)
                    found.append(row)
                entry += 1
    return found


def _prices(task: Task) -> dict[str, object]:
    prices, storage = Prices(task.energy), task.architecture.storage
    data, meta = np.zeros((len(storage), 3, 3)), np.full((len(storage), 3, 3), np.nan)
    unpack, pack, worth = (np.zeros(len(storage)) for _ in range(3))
    for index, level in enumerate(storage):
        if level.spatial_dummy:
            continue
        worth[index] = _price(prices, level.name, "read", "random") / level.block_size
        unpack[index] = prices.find(level.name, ("decompression_count",)) or 0.0
        pack[index] = prices.find(level.name, ("compression_count",)) or 0.0
        for k, kind in enumerate(_KINDS):
            for f, fate in enumerate(_FATES):
                own = level.vector_access_energy_pJ
                if own is not None:  # it stands in for the level's whole table; metadata are then not modelled
                    data[index, k, f] = own if fate == "random" else 0.0
                    continue
                data[index, k, f] = _price(prices, level.name, kind, fate)
                meta[index, k, f] = _price(prices, level.name, f"metadata_{kind}", fate)
    one = (Fates(1), Fates(0, 1), Fates(0, 0, 1))
    compute = [compute_energy_pJ(task.architecture.compute, ComputeActivity(1, own, 1.0), prices) for own in one]
    return {
        "PRICE": data, "META_PRICE": meta, "UNPACK_PJ": unpack, "PACK_PJ": pack, "WORTH": worth,
        "COMPUTE": compute,
    }  # fmt: skip


def _price(prices: Prices, name: str, operation: str, fate: str) -> float:
    """NaN where the table lacks it: it may never be needed, and a mapping that does is refused by the engine."""
    try:
        return prices.storage(name, operation, fate)
    except InputError:
        return np.nan


def _room(level: Storage) -> float:
    if level.effective_size_words is None or level.spatial_dummy:
        return np.inf
    return float(int(level.metadata_depth * level.metadata_width_bits / level.multiple_buffering))
