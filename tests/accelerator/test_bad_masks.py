"""Bad masks, densities and formats: one clear error each, by the Python interface and by ``codesign simulate``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from test_simulate_masks import ARCHITECTURE, CASE

from codesign.accelerator.engines import embedded
from codesign.accelerator.model import evaluate
from codesign.accelerator.model.rank_check import check_ranks
from codesign.accelerator.result import Result
from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.density import DENSE, Banded, FixedStructured, Hypergeometric, StructuredNM, Vectors
from codesign.accelerator.spec.loader import case_files, load_case
from codesign.accelerator.spec.sparse import LevelSparsity, Rank, SparseOptimizations, TensorFormat
from codesign.cli.app import run
from codesign.errors import InputError

WANTED = (4, 3)  # extents of Z


def case_in(folder: Path, densities: str, formats: str = "") -> Path:
    """The matrix product of ``test_simulate_masks``, Z[M, N] = A[M, K] B[K, N] with M, K, N = 4, 2, 3."""
    (folder / "case").mkdir()
    targets = "  targets:\n"
    architecture = ARCHITECTURE.replace(targets, targets + formats) if formats else ARCHITECTURE
    (folder / "case" / "arch.yaml").write_text(architecture, encoding="utf-8")
    text = CASE.replace("densities: {Z: DENSITY}", densities)
    (folder / "case" / "case.yaml").write_text(text, encoding="utf-8")
    mask = np.ones(WANTED)
    np.save(folder / "case" / "good.npy", mask)
    np.save(folder / "case" / "small.npy", mask[:3])
    np.save(folder / "case" / "one_row.npy", mask[:1])
    np.save(folder / "case" / "empty.npy", np.zeros((0, 3)))
    mask[2, 1] = np.nan
    np.save(folder / "case" / "nan.npy", mask)
    (folder / "case" / "no_bytes.npy").touch()
    return folder / "case"


@pytest.mark.parametrize(
    ("densities", "said"),
    [
        ("densities: {Z: {distribution: actual_data, file: small.npy}}", "[4, 3] (got a sample of shape [3, 3]"),
        # A mask of one row, or one that is larger, is neither repeated nor cut.
        ("densities: {Z: {distribution: actual_data, file: one_row.npy}}", "[4, 3] (got a sample of shape [1, 3]"),
        ("densities: {A: {distribution: actual_data, file: good.npy}}", "[4, 2] (got a sample of shape [4, 3]"),
        (
            "densities: {Z: {distribution: actual_data, file: small.npy, padding: {M: [-4, 5]}}}",
            "padding [[-4, 5], [0, 0]] leaves out more",
        ),
        ("commonDensity: {distribution: actual_data, file: good.npy}", "[4, 2] (got a sample of shape [4, 3]"),
        ("densities: {Z: {distribution: actual_data, file: no_bytes.npy}}", "an empty mask file"),
        ("densities: {Z: {distribution: actual_data, file: empty.npy}}", "an empty mask"),
        ("densities: {Z: {distribution: actual_data, file: nan.npy}}", "a mask cannot have NaN"),
        ("densities: {A: 1.5}", "a density is from 0 to 1 (got 1.5)"),
        ("densities: {A: -0.5}", "a density is from 0 to 1 (got -0.5)"),
        ("densities: {A: .nan}", "A: "),
        ("densities: {A: {distribution: hypergeometric, density: 2}}", "a density is from 0 to 1 (got 2.0)"),
        ("densities: {A: {distribution: fixed_structured, density: -1}}", "a density is from 0 to 1 (got -1.0)"),
        ("commonDensity: 7", "a density is from 0 to 1 (got 7.0)"),
        ("densities: {A: {distribution: banded, band_width: 1}}", "square matrix, which A is not (got extents [4, 2])"),
        ("densities: {A: {distribution: banded, band_width: -1}}", "must not be negative (got -1)"),
        ("densities: {Z: {distribution: n_m_structured, n: 1, m: 3, rank: M}}", "groups of 3 among 4"),
        ("densities: {Z: {distribution: vector, density: 0.5, length: 2, rank: N}}", "groups of 2 among 3"),
    ],
)
def test_by_the_command_line(tmp_path, capsys, densities, said):
    out = tmp_path / "out.json"
    assert run(["simulate", str(case_in(tmp_path, densities)), "--json", str(out), "--quiet"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert said in message
    assert "case.yaml:11" in message
    assert not out.exists()


def whole(tmp_path: Path, *densities):
    """The case, with densities in memory."""
    case = load_case(case_files(case_in(tmp_path, "densities: {}")), name="case")
    return dataclasses.replace(case, problem=dataclasses.replace(case.problem, densities=densities))


@pytest.mark.parametrize("sparse", [True, False])
def test_a_mask_that_does_not_fit_is_refused_even_where_nothing_looks_at_it(tmp_path, sparse):
    mask = ActualData.of(np.ones((4, 1), bool), varies=False)  # would broadcast
    case = whole(tmp_path, DENSE, DENSE, mask)
    given = (case.architecture, case.problem, case.mapping, case.energy)
    with pytest.raises(InputError, match=r"extents \[4, 3\] \(got a sample of shape \[4, 1\]"):
        evaluate(*given, case.sparse) if sparse else evaluate(*given)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Hypergeometric(1.01),
        lambda: FixedStructured(-0.01),
        lambda: Vectors(float("nan"), 2, 0),
        lambda: Banded(-1),
        lambda: StructuredNM(3, 2, 0),
    ],
)
def test_densities_that_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]|negative|needed"):
        wrong()


def test_a_band_on_a_tensor_that_is_not_square(tmp_path):
    case = whole(tmp_path, Banded(1), DENSE, DENSE)
    skips = SparseOptimizations(levels=(LevelSparsity("spad", formats=()),), compute=case.sparse.compute)
    with pytest.raises(InputError, match=r"square matrix \(got extents \[4, 2\]\)"):
        evaluate(case.architecture, case.problem, case.mapping, case.energy, skips)


def test_masks_of_different_samples(tmp_path):
    a, z = (ActualData.of(np.ones((n, 4, k), bool), varies=True) for n, k in ((2, 2), (3, 3)))
    with pytest.raises(InputError, match="the same samples"):
        embedded.simulate(whole(tmp_path, a, DENSE, z))


@pytest.mark.parametrize("mask", [np.zeros((0, 4, 3), bool), np.zeros((4, 0), bool)])
def test_an_empty_mask(mask):
    with pytest.raises(InputError, match="an empty mask"):
        ActualData.of(mask, varies=mask.ndim == 3)


def test_a_mask_with_nan():
    with pytest.raises(InputError, match="NaN"):
        ActualData.of(np.array([[0.5, np.nan]]), varies=False)


# A is kept at spad with one loop that moves it: K.
FORMAT = "  - {target: spad, representation_format: {data_spaces: [{name: A, ranks: [RANKS]}]}}\n"


@pytest.mark.parametrize(
    ("ranks", "options", "code"),
    [
        ("{format: CP}", (), 0),
        ("{format: UOP}, {format: CP}", (), 2),
        ("{format: CP}, {format: CP}", (), 2),
        ("{format: CP}, {format: CP}, {format: B}", (), 2),
        # One that flattens takes what there is.
        ("{format: UOP}, {format: CP, flattened_rankIDs: [[M, K]]}", (), 0),
        ("{format: CP}, {format: CP}", ("--semantics", "compat"), 0),
    ],
)
def test_more_compressed_ranks_than_loops(tmp_path, capsys, ranks, options, code):
    """An error to the author of both in clean semantics; the real program leaves such ranks out, and so does compat."""
    folder = case_in(tmp_path, "densities: {A: 0.5}", FORMAT.replace("RANKS", ranks))
    path = folder / "arch.yaml"
    savings = "  - target: dram\n", "  - target: mac\n"  # those on Z are not for the real program
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index(savings[0])], encoding="utf-8")
    assert run(["simulate", str(folder), "--quiet", *options]) == code
    message = capsys.readouterr().err
    if code:
        assert "spad: A has more compressed ranks than the mapping has loops for" in message
        assert "fewer ranks" in message


def test_unused_ranks_are_a_warning_where_a_search_made_the_mapping(tmp_path):
    case = whole(tmp_path, Hypergeometric(0.5), DENSE, DENSE)
    sparse = SparseOptimizations((LevelSparsity("spad", formats=(TensorFormat("A", (Rank("CP"), Rank("CP"))),)),))
    result = evaluate(case.architecture, case.problem, case.mapping, case.energy, sparse)
    assert isinstance(result, Result)
    assert "spad: 1 of the 2 compressed ranks of A have no loop in this mapping and are left out" in result.warnings
    with pytest.raises(InputError, match=r"got 2 compressed ranks, loops for 1"):
        check_ranks(case.architecture, case.problem, case.mapping, sparse)
    exact = evaluate(case.architecture, case.problem, case.mapping, case.energy, sparse, semantics="compat")
    assert isinstance(exact, Result)
    assert not exact.warnings
