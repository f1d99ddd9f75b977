"""Every sample of recorded masks alone: equal to a run of that sample only, and together to the run of all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest_cases import energy_table, matmul
from test_masked_against_loops import COMPUTE, OUTPUTS, masked_cases, sparse_of
from test_masked_limits import with_metadata

from codesign.accelerator.model import evaluate, evaluate_samples
from codesign.accelerator.model.samples import each_sample, sample_count
from codesign.accelerator.result import Infeasible, Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE
from codesign.accelerator.spec.sparse import LevelSparsity, Rank, SparseOptimizations, TensorFormat
from codesign.errors import InputError


def alone(problem, number):
    """The problem with the unpacked bits of one sample."""
    densities = [
        dataclasses.replace(
            ActualData.of(density.unpacked()[number : number + 1], varies=True, padding=density.padding),
            ranks=density.ranks,
        )
        if isinstance(density, ActualData) and density.varies
        else density
        for density in problem.densities
    ]
    return dataclasses.replace(problem, densities=tuple(densities))


def with_format(sparse, level, problem):
    """The second tensor stored with bit masks at a level."""
    entries = {entry.level: entry for entry in sparse.levels}
    form = TensorFormat(problem.dataspaces[1].name, tuple(Rank("B") for _ in problem.bounds))
    entries[level] = dataclasses.replace(entries.get(level, LevelSparsity(level)), formats=(form,))
    return dataclasses.replace(sparse, levels=tuple(entries.values()))


@settings(max_examples=120, deadline=None)
@given(masked_cases(), st.booleans())
def test_a_sample_is_evaluated_as_if_it_were_the_only_one(case, compressed):
    architecture, problem, mapping, masks, savings = case
    sparse = sparse_of(problem, savings, COMPUTE)
    if compressed and 1 in masks:
        sparse = with_format(sparse, f"level{len(mapping.levels) - 1}", problem)
        storage = tuple(
            dataclasses.replace(level, metadata_width_bits=8, metadata_word_bits=4, metadata_depth=10**9)
            for level in architecture.storage
        )
        architecture = dataclasses.replace(architecture, storage=storage)
    energy = with_metadata(architecture) if compressed else energy_table(architecture)
    found = list(evaluate_samples(architecture, problem, mapping, energy, sparse))
    assert len(found) == len(masks[OUTPUTS])
    for number, answer in enumerate(found):
        want = evaluate(architecture, alone(problem, number), mapping, energy, sparse)
        assert answer == want
    if not all(isinstance(answer, Result) for answer in found):
        return
    together = evaluate(architecture, problem, mapping, energy, sparse)
    assert isinstance(together, Result)
    mean = np.mean([answer.computes.actual for answer in found if isinstance(answer, Result)])
    assert together.computes.actual == pytest.approx(mean, abs=1)


@settings(max_examples=20, deadline=None)
@given(masked_cases())
def test_without_masks_there_is_one_sample(case):
    architecture, problem, mapping, _, _ = case
    dense = dataclasses.replace(problem, densities=(DENSE,) * 3)
    (found,) = evaluate_samples(architecture, dense, mapping, energy_table(architecture), SparseOptimizations())
    assert found == evaluate(architecture, dense, mapping, energy_table(architecture))
    assert sample_count(dense) == 1
    assert list(each_sample(dense)) == [dense]


@settings(max_examples=20, deadline=None)
@given(masked_cases())
def test_a_mapping_that_does_not_fit_is_infeasible_for_every_sample(case):
    architecture, problem, mapping, masks, savings = case
    inner = dataclasses.replace(architecture.storage[0], size_words=0, block_size=1)
    small = dataclasses.replace(architecture, storage=(inner, *architecture.storage[1:]))
    if not any(mapping.levels[0].keep):
        return
    sparse = sparse_of(problem, savings, COMPUTE)
    found = list(evaluate_samples(small, problem, mapping, energy_table(small), sparse))
    assert len(found) == len(masks[OUTPUTS])
    assert all(isinstance(answer, Infeasible) for answer in found)


def test_tensors_of_different_numbers_of_samples_are_refused():
    problem = matmul((2, 2, 2))
    masks = [ActualData.of(np.ones((n, 2, 2), dtype=bool), varies=True) for n in (2, 3)]
    with pytest.raises(InputError, match="same samples"):
        sample_count(dataclasses.replace(problem, densities=(DENSE, *masks)))
