"""What tiles of sparse tensors hold, worked out by the exact engine's code once for every kind of tile.

The compiled evaluator (``kernel_memo``) notes down what it does not know. One ``Memo`` serves all threads of a search;
each has tables of its own, which take over what others have found. Values are functions of their keys alone, so that
it does not matter who found what when.
"""

from __future__ import annotations

import numpy as np

from codesign.accelerator.mapper import sparse_layout as of
from codesign.accelerator.mapper.kernel_memo import EMPTY, Zeros, insert
from codesign.accelerator.mapper.nest import FloatArray, IntArray
from codesign.accelerator.mapper.space import MapSpace
from codesign.accelerator.mapper.sparse_tables import formats_of, sparse_tables
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.model.accesses import Accesses
from codesign.accelerator.model.density_models import density_models
from codesign.accelerator.model.formats import Layout, MappedRank, layout_of, uncompressed
from codesign.accelerator.model.occupancy import tile_sparsity
from codesign.accelerator.model.sparse import metadata_words
from codesign.accelerator.model.sparse_check import check_sparse
from codesign.accelerator.spec.density import Banded
from codesign.accelerator.spec.problem import Dataspace, Term
from codesign.errors import InputError

__all__ = ["Memo"]

_NOTES = 64
_FIRST_PLACES = 1024
_LINE = Dataspace("line", ((Term(0),),))
"""A tensor of one rank: densities without shape depend on the number of words alone."""


class Memo:
    """Tile by tile what a task's densities and formats mean.

    Raises:
        InputError: the sparse optimisations do not fit the architecture and the problem.
    """

    def __init__(self, task: Task, space: MapSpace) -> None:
        check_sparse(task.sparse, task.architecture, task.problem)
        self._models = density_models(task.problem, compat=False)
        self._banded = [isinstance(density, Banded) for density in task.problem.densities]
        self._spaces, levels = len(task.problem.dataspaces), task.architecture.storage
        self._empties = len(levels) * self._spaces
        self._blocks = [level.block_size for level in levels]
        self._bare = {
            (level, v): layout_of(form, levels[level], task.problem, task.problem.dataspaces[v], [], [], None)
            for (level, v), form in formats_of(task).items()
        }
        tables = sparse_tables(task, space, self._models)
        self._integers, self._numbers, self._work_integers, self._work_numbers = tables
        self._known: dict[tuple[int, ...], None] = {}
        self._found: list[tuple[IntArray, FloatArray]] = []

    def stored_words(self, level: int, dataspace: int, words: int) -> int:
        """What the largest tile of so many words takes of a level."""
        bare = self._bare.get((level, dataspace))
        return self._models[dataspace].most((words,)) if bare is not None and bare.compressed else words

    def zeros(self) -> Zeros:
        """Tables and working memory for one thread."""
        words, width = int(self._integers[of.KEY_WORDS]), int(self._integers[of.VALUE_WORDS])
        return Zeros(
            self._integers,
            self._numbers,
            np.full((_FIRST_PLACES, words), EMPTY, np.int64),
            np.zeros((_FIRST_PLACES, width)),
            np.zeros((_NOTES, words), np.int64),
            np.zeros(2, np.int64),
            np.zeros(self._work_integers, np.int64),
            np.zeros(self._work_numbers),
        )

    def learn(self, zeros: Zeros) -> Zeros:
        """The same tables with what they miss, and with all that is known by now."""
        for row in range(int(zeros.noted[0])):
            key = tuple(zeros.missing[row].tolist())
            if key not in self._known:
                value = self._value(key)
                self._known[key] = None
                self._found.append((zeros.missing[row].copy(), value))
        taken = int(zeros.noted[1])
        fresh = self._found[taken:]
        new_keys = np.array([key for key, _ in fresh], np.int64).reshape(-1, zeros.keys.shape[1])
        new_values = np.array([value for _, value in fresh]).reshape(-1, zeros.values.shape[1])
        zeros.noted[:] = 0, taken + len(fresh)
        size = len(zeros.keys)
        while 2 * (taken + len(fresh)) > size:
            size *= 2
        if size > len(zeros.keys):
            old = zeros.keys[:, 0] != EMPTY
            grown = np.full((size, zeros.keys.shape[1]), EMPTY, np.int64), np.zeros((size, zeros.values.shape[1]))
            insert(*grown, zeros.keys[old], zeros.values[old])
            zeros = zeros._replace(keys=grown[0], values=grown[1])
        insert(zeros.keys, zeros.values, new_keys, new_values)
        return zeros

    def _value(self, key: tuple[int, ...]) -> FloatArray:
        """NaN where the engine does not model the tile: it then refuses the mapping."""
        value = np.zeros(int(self._integers[of.VALUE_WORDS]))
        try:
            if key[0] >= self._empties:
                value[0] = self._empty(key[0] - self._empties, key[1])
            else:
                self._describe(key, value)
        except InputError:
            value[:] = np.nan
        return value

    def _empty(self, v: int, words: int) -> float:
        tile = (words >> 31, words & ((1 << 31) - 1)) if self._banded[v] else (words,)
        return self._models[v].empty(tile)

    def _describe(self, key: tuple[int, ...], value: FloatArray) -> None:
        level, v = divmod(key[0], self._spaces)
        bare = self._bare[level, v]
        numbers = range(len(bare.ranks))
        fibers, inner = ([key[place + 2 * number] for number in numbers] for place in (3, 4))
        ranks = tuple(
            MappedRank(rank.format, rank.metadata_bits, rank.payload_bits, (fiber,), (upper,), fiber)
            for rank, fiber, upper in zip(bare.ranks, fibers, [*inner[1:], key[1]], strict=True)
        )
        layout = Layout(ranks, (inner[0],), bare.outer_to_inner, True)
        tile = Accesses(size=key[1], partition=0, replication=1, fanout=1)
        parent = layout if key[2] else uncompressed(_LINE, (key[1],))
        block = self._blocks[level]
        found = tile_sparsity(tile, (key[1],), _LINE, self._models[v], layout, parent, block, compat=False)
        value[: of.HEAD] = (
            found.density,
            found.average_replication,
            found.vector_ratio,
            metadata_words(found.units),
            found.metadata_bits,
        )
        for number, units in enumerate(found.units):
            value[of.HEAD + 2 * number : of.HEAD + 2 * number + 2] = units.metadata, units.payload
