"""Real masks and output masks: the engine's counts against a simulator that runs every operation."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from math import prod

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mask_simulator import simulate_masks
from nest_cases import energy_table, mapped

from codesign.accelerator.model import evaluate
from codesign.accelerator.model.masked_computes import part
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE
from codesign.accelerator.spec.mapping import LevelMapping, Mapping
from codesign.accelerator.spec.sparse import (
    ActionOptimization,
    ComputeOptimization,
    LevelSparsity,
    Option,
    SparseOptimizations,
)
from codesign.errors import InputError

OUTPUTS = 2


def extents(problem, dataspace):
    return tuple(high - low for low, high in dataspace.tile([0] * len(problem.bounds), [b - 1 for b in problem.bounds]))


@st.composite
def masked_cases(draw, *, perfect=True):
    architecture, problem, mapping = draw(mapped(perfect=perfect, largest=5, options=False))
    assume(prod(problem.bounds) <= 300)
    rows = []
    for level, row in enumerate(mapping.levels):
        keep = (True,) * 3 if level == len(mapping.levels) - 1 else tuple(draw(st.booleans()) for _ in range(3))
        rows.append(
            LevelMapping(row.temporal, row.spatial_x, row.spatial_y, keep, no_link_transfer=frozenset({0, 1, 2}))
        )
    mapping = Mapping(tuple(rows))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    samples = draw(st.integers(1, 3))
    masks, densities = {}, []
    for p, dataspace in enumerate(problem.dataspaces):
        varies = p != 0
        share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]))
        shape = (samples if varies else 1, *extents(problem, dataspace))
        if p == OUTPUTS or draw(st.booleans()):
            masks[p] = generator.random(shape) < share
            densities.append(ActualData.of(masks[p] if varies else masks[p][0], varies=varies))
        else:
            densities.append(DENSE)
    problem = dataclasses.replace(problem, densities=tuple(densities))
    savings = {}
    for p in range(3):
        for level, row in enumerate(mapping.levels):
            if row.keep[p] and draw(st.booleans()):
                others = [OUTPUTS] if p == OUTPUTS else [q for q in masks if q != p]
                savings[level, p] = tuple(draw(st.lists(st.sampled_from(others), min_size=1, unique=True)))
    return architecture, problem, mapping, masks, savings


def sparse_of(problem, savings, compute=()) -> SparseOptimizations:
    names = [dataspace.name for dataspace in problem.dataspaces]
    levels = []
    for level in sorted({level for level, _ in savings}):
        actions = tuple(
            ActionOptimization("skipping", (Option(names[p], tuple(names[c] for c in conditions)),))
            for (lv, p), conditions in savings.items()
            if lv == level
        )
        levels.append(LevelSparsity(f"level{level}", actions))
    return SparseOptimizations(tuple(levels), compute)


COMPUTE = (
    ComputeOptimization("mac", "skipping"),
    ComputeOptimization("mac", "gating"),
    ComputeOptimization("mac", "skipping", on="outputs"),
)


@settings(max_examples=250, deadline=None)
@given(masked_cases())
def test_accesses_and_computes_are_those_of_the_loops(case):
    architecture, problem, mapping, masks, savings = case
    sparse = sparse_of(problem, savings, COMPUTE)
    result = evaluate(architecture, problem, mapping, energy_table(architecture), sparse)
    assert isinstance(result, Result)
    want = simulate_masks(problem, mapping, masks, savings)
    for p, dataspace in enumerate(problem.dataspaces):
        windows = any(len(rank) > 1 for rank in dataspace.ranks)
        for level, row in enumerate(mapping.levels):
            if not row.keep[p]:
                continue
            stats = result.levels[f"level{level}"].dataspaces[dataspace.name]
            if windows:  # the words of a window's step are shared with its neighbours: the mean over all deliveries
                share = Fraction(want.made[p, level], want.deliveries[p, level])
                assert stats.actual_reads == part(stats.algorithmic_reads, share)
                continue
            for kind in ("reads", "updates") if dataspace.read_write else ("reads", "fills"):
                mean = getattr(want, kind).get((p, level), Fraction(0))
                assert getattr(stats, f"actual_{kind}") == part(1, mean), (dataspace.name, level, kind)
    assert result.computes.actual == part(1, want.effectual)
    kept = result.computes.kept_away_by_skipping + result.computes.kept_away_by_gating
    assert problem.macs - kept == part(1, want.arriving)


@settings(max_examples=250, deadline=None)
@given(masked_cases(perfect=False))
def test_imperfect_loops(case):
    """The share of the dense accesses is that of the loops; what is not modelled is said."""
    architecture, problem, mapping, masks, savings = case
    table = energy_table(architecture)
    try:
        result = evaluate(architecture, problem, mapping, table, sparse_of(problem, savings, COMPUTE))
    except InputError as error:
        assert error.rule.startswith("not modelled: masks ")  # noqa: PT017 - which cases these are is tested below
        return
    assert isinstance(result, Result)
    want, everything = (simulate_masks(problem, mapping, masks, waiting) for waiting in (savings, {}))
    for p, dataspace in enumerate(problem.dataspaces):
        windows = any(len(rank) > 1 for rank in dataspace.ranks)
        for level, row in enumerate(mapping.levels):
            if not row.keep[p]:
                continue
            stats = result.levels[f"level{level}"].dataspaces[dataspace.name]
            if windows:
                share = Fraction(want.made[p, level], want.deliveries[p, level])
                assert stats.actual_reads == part(stats.algorithmic_reads, share)
                continue
            for kind in ("reads", "updates") if dataspace.read_write else ("reads", "fills"):
                made = getattr(want, kind).get((p, level), Fraction(0))
                whole = getattr(everything, kind).get((p, level), Fraction(0))
                if whole:  # rounding in the dense count can find an access where there is none
                    dense = getattr(stats, f"algorithmic_{kind}")
                    assert getattr(stats, f"actual_{kind}") == part(dense, made / whole), (dataspace.name, level, kind)
    assert everything.arriving == problem.macs
    total = result.computes.algorithmic
    assert result.computes.actual == part(total, want.effectual / problem.macs)
    kept = result.computes.kept_away_by_skipping + result.computes.kept_away_by_gating
    assert total - kept == part(total, want.arriving / problem.macs)
