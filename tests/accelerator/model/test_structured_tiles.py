"""Compressed tensors of N:M or vector structure: the mean over all masks of the structure, each run as actual data."""

from __future__ import annotations

import dataclasses
from math import comb

import numpy as np
import pytest
from nest_cases import energy_table, matmul
from test_masked_limits import KINDS, every_mask, nest_of

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.structured_tiles import StructuredTiles
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE, StructuredNM, Vectors
from codesign.accelerator.spec.energy_table import EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    LevelSparsity,
    Option,
    Rank,
    SparseOptimizations,
    TensorFormat,
)
from codesign.errors import InputError

M, K, N = range(3)
SHAPE = (4, 2)  # of A[M, K]; the structure lies along M
STRUCTURES = [
    StructuredNM(1, 2, 0),
    StructuredNM(2, 4, 0),
    StructuredNM(3, 4, 0),
    StructuredNM(0, 4, 0),
    Vectors(0.5, 2, 0),
    Vectors(0.5, 4, 0),
    Vectors(0.75, 1, 0),
]
TILES = [{M: 2, K: 2}, {M: 4, K: 1}, {M: 2, K: 1}, {M: 1, K: 2}]


def all_masks(kind) -> ActualData:
    return ActualData.of(np.stack(list(every_mask(kind, SHAPE))), varies=True)


@pytest.mark.parametrize("kind", STRUCTURES, ids=repr)
@pytest.mark.parametrize("inner", TILES, ids=repr)
def test_tiles_are_those_of_all_masks(kind, inner):
    problem = dataclasses.replace(matmul((*SHAPE, 3)), densities=(kind, DENSE, DENSE))
    dataspace = problem.dataspaces[0]
    box = tuple(inner.get(d, 1) for d in range(3))
    tiles = StructuredTiles.of(kind, problem, dataspace)
    masks = np.stack(list(every_mask(kind, SHAPE)))
    rows, columns = inner[M], inner[K]
    split = masks.reshape(len(masks), 4 // rows, rows, 2 // columns, columns)
    ones = split.sum(axis=(2, 4)).ravel()
    assert tiles.share == pytest.approx(masks.mean())
    assert tiles.empty(box) == pytest.approx((ones == 0).mean())
    assert tiles.most(box) == ones.max()
    found = tiles.occupancies(box)
    assert dict(zip(*found, strict=True)) == pytest.approx(
        {int(k): (ones == k).mean() for k in np.unique(ones)}, abs=1e-12
    )


def priced(architecture) -> EnergyTable:
    source = Provenance("made up for tests")
    actions = [f"metadata_{kind}" for kind in ("read", "write", "update")]
    entries = [EnergyEntry(s.name, action, 0.25, source) for s in architecture.storage for action in actions]
    return EnergyTable((*energy_table(architecture).energies, *entries))


@pytest.mark.parametrize("formats", [("UOP", "CP"), ("UOP", "B"), ("UOP", "RLE"), ("UOP", "UOP")])
@pytest.mark.parametrize("kind", [StructuredNM(1, 2, 0), StructuredNM(2, 4, 0), Vectors(0.5, 2, 0)], ids=repr)
def test_a_compressed_tensor_costs_what_all_masks_cost_on_average(kind, formats):
    """Counts, metadata, capacity and energy; every tile of the nest and every mask of the structure."""
    problem = matmul((*SHAPE, 3))
    architecture, mapping, _ = nest_of(problem, {M: 2, K: 2})
    storage = tuple(
        dataclasses.replace(s, metadata_width_bits=8, metadata_word_bits=4, metadata_depth=10**6)
        for s in architecture.storage
    )
    architecture = dataclasses.replace(architecture, storage=storage)
    ranks = tuple(Rank(name, flattened_rank_ids=(("M", "K"),)) for name in formats)
    skip = (ActionOptimization("skipping", (Option("B", ("A",)),)),)
    sparse = SparseOptimizations(
        tuple(
            LevelSparsity(s.name, skip, (TensorFormat("A", ranks[-1:] if s is storage[0] else ranks),)) for s in storage
        )
    )

    def simulated(density) -> Result:
        whole = dataclasses.replace(problem, densities=(density, DENSE, DENSE))
        found = evaluate(architecture, whole, mapping, priced(architecture), sparse)
        assert isinstance(found, Result), found
        return found

    expected, real = simulated(kind), simulated(all_masks(kind))
    for name, level in real.levels.items():
        for dataspace, stats in level.dataspaces.items():
            other = expected.levels[name].dataspaces[dataspace]
            for what in KINDS:
                assert getattr(other, f"actual_{what}") == getattr(stats, f"actual_{what}"), (name, dataspace, what)
            assert other.utilized_capacity == stats.utilized_capacity
            assert other.energy_pJ == pytest.approx(stats.energy_pJ)
    assert expected.computes == real.computes
    assert expected.cycles == real.cycles


def test_two_of_four_in_one_tile_of_four():
    """Known by hand: two of four words, always; a tile of one channel is empty half of the time."""
    problem = dataclasses.replace(matmul((4, 1, 1)), densities=(StructuredNM(2, 4, 0), DENSE, DENSE))
    tiles = StructuredTiles.of(StructuredNM(2, 4, 0), problem, problem.dataspaces[0])
    assert tiles.occupancies((4, 1, 1)) == ((2,), (1.0,))
    assert tiles.empty((4, 1, 1)) == 0.0
    assert tiles.empty((1, 1, 1)) == 0.5
    assert tiles.empty((2, 1, 1)) == pytest.approx(1 / comb(4, 2))


def test_vectors_cut_into_different_pieces_are_refused():
    problem = dataclasses.replace(matmul((12, 1, 1)), densities=(Vectors(0.5, 4, 0), DENSE, DENSE))
    tiles = StructuredTiles.of(Vectors(0.5, 4, 0), problem, problem.dataspaces[0])
    with pytest.raises(InputError, match="not modelled: vectors of A that a tile cuts"):
        tiles.occupancies((6, 1, 1))
