"""Sparse optimisations: at nodes, at the top, formats, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import ARCHITECTURE, MAPPING, PROBLEM, case, design

from codesign.accelerator.spec.sparse import ComputeOptimization, Option, Rank, SparseOptimizations
from codesign.errors import InputError

METADATA = ", metadata_storage_depth: 8, metadata_storage_width: 12, metadata_datawidth: 4}"
SPARSE = ARCHITECTURE.replace("read_bandwidth: 8}", "read_bandwidth: 8" + METADATA)


def at_buffer(text: str) -> str:
    return SPARSE.replace("    name: buffer\n", f"    name: buffer\n    sparse_optimizations: {text}\n")


def loaded(folder: Path, text: str, *more: str) -> SparseOptimizations:
    return design(folder, at_buffer(text), *more).sparse


def test_actions_formats_and_compute(tmp_path: Path) -> None:
    top = (
        "sparse_optimizations: {version: 0.4, targets: [{target: mac, compute_optimization: [{type: gating},"
        " {type: [skip_on_not_aligned_operands]}]}, {target: buffer, action_optimization: [{type: skipping,"
        " options: [{target: Outputs, condition_on: [Inputs, Weights]}]}]}]}\n"
    )
    found = loaded(
        tmp_path,
        "{action_optimization: [{type: gating, options: [{target: Weights, condition_on: [Inputs]},"
        " {target: Weights, condition_on: Outputs}]}], representation_format: {data_spaces: [{name: Inputs,"
        " rank_application_order: inner_to_outer, ranks: [{format: UOP, payload_word_bits: 5},"
        " {format: CP, metadata_word_bits: 6, flattened_rankIDs: [[C, R], [P]]}]}]}}",
        top,
    )
    (level,) = found.levels
    assert level.level == "buffer"
    gating, skipping = level.actions
    assert (gating.kind, skipping.kind) == ("gating", "skipping")
    assert gating.options == (Option("Weights", ("Inputs",)), Option("Weights", ("Outputs",)))
    assert skipping.options == (Option("Outputs", ("Inputs", "Weights")),)
    (layout,) = level.formats
    assert (layout.dataspace, layout.outer_to_inner) == ("Inputs", False)
    assert layout.ranks == (Rank("UOP", None, 5), Rank("CP", 6, None, (("C", "R"), ("P",))))
    assert found.compute == (ComputeOptimization("mac", "gating"), ComputeOptimization("mac", "skipping"))


def test_nothing_sparse_is_falsy(tmp_path: Path) -> None:
    assert not design(tmp_path, ARCHITECTURE, "sparse_optimizations: {version: 0.4, targets: []}").sparse
    assert not loaded(tmp_path, "{action_optimization: [], representation_format: {}}")


def formats(ranks: str) -> str:
    return f"{{representation_format: {{data_spaces: [{{name: Inputs, ranks: {ranks}}}]}}}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{action_optimisation: []}", "did you mean action_optimization"),
        ("{action_optimization: [{type: skiping, options: []}]}", "gating or skipping"),
        ("{action_optimization: [{type: spatial_skipping, options: []}]}", "cannot be reached in v0.4"),
        ("{action_optimization: [{type: gating, options: []}]}", "at least one option"),
        ("{action_optimization: [{type: gating, options: [{target: A}]}]}", "needs `condition_on`"),
        ("{action_optimization: [{type: gating, options: [{target: A, condition_on: []}]}]}", "at least one dataspace"),
        ("{compute_optimization: [{type: gating}]}", "belongs to the compute"),
        (formats("[{format: CSR}]"), "UOP"),
        (formats("[]"), "at least one rank"),
        (formats("[{format: CP}, {format: UOP}]"), "above an uncompressed one"),
        (formats("[{format: CP, metadata_word_bits: 13}]"), "must fit metadata_storage_width"),
        (formats("[{format: CP, metadata_word_bits: 7}]").replace("7", "-1"), "not be negative"),
        (formats("[{format: CP}], rank_application_order: up"), "inner_to_outer"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        loaded(tmp_path, text)
    assert caught.value.line is not None


def test_word_bits_are_rounded_up_to_a_divisor_before_they_are_judged(tmp_path: Path) -> None:
    """7 bits in a row of 12 become 12, which fits; the value stays as written."""
    assert loaded(tmp_path, formats("[{format: CP, metadata_word_bits: 7}]")).levels[0].formats[0].ranks[0] == Rank(
        "CP", 7
    )


def test_a_dataspace_has_one_format_at_a_level(tmp_path: Path) -> None:
    again = "sparse_optimizations: {targets: [{target: buffer, " + formats("[{format: B}]")[1:] + "]}\n"
    with pytest.raises(InputError, match="one format at a level"):
        loaded(tmp_path, formats("[{format: CP}]"), again)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{action_optimization: [{type: gating, options: [{target: Weight, condition_on: [Inputs]}]}]}", "Weights"),
        ("{action_optimization: [{type: gating, options: [{target: Inputs, condition_on: [Mask]}]}]}", "Mask"),
        ("{action_optimization: [{type: gating, options: [{target: Inputs, condition_on: [Inputs]}]}]}", "another"),
        (formats("[{format: CP}]").replace("Inputs", "Input"), "Inputs"),
        (formats("[{format: CP, flattened_rankIDs: [[X]]}]"), "dimension of the problem"),
    ],
)
def test_names_are_checked_against_the_problem(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        case(tmp_path, at_buffer(text), PROBLEM, MAPPING)


def test_only_storage_and_compute_have_optimisations(tmp_path: Path) -> None:
    top = "sparse_optimizations: {targets: [{target: pe, action_optimization: [{type: gating, options: [{}]}]}]}\n"
    with pytest.raises(InputError, match="only a storage"):
        design(tmp_path, ARCHITECTURE, top)
