"""Problems: both projection forms, coefficients, densities, bounds that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec_text import PROBLEM, problem, write

from codesign.accelerator.spec.density import DENSE, Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.loader import load_problem
from codesign.accelerator.spec.problem import Term
from codesign.errors import InputError


def test_projections_and_coefficients(tmp_path: Path) -> None:
    loaded = problem(tmp_path)
    assert (loaded.name, loaded.dimensions, loaded.bounds) == ("conv1d", ("C", "M", "P", "R"), (4, 8, 6, 3))
    weights, inputs, outputs = loaded.dataspaces
    assert weights.ranks == ((Term(0),), (Term(1),), (Term(3),))
    assert inputs.ranks == ((Term(0),), (Term(2, 2), Term(3, 1)))
    assert [space.read_write for space in loaded.dataspaces] == [False, False, True]
    assert outputs.dimensions == {1, 2}
    assert loaded.densities == (DENSE,) * 3
    assert loaded.tensor_size(inputs) == 4 * (2 * 5 + 2 + 1)


def test_the_short_form_of_a_projection(tmp_path: Path) -> None:
    text = (
        "problem: {shape: {dimensions: [A, B], data_spaces: [{name: X, projection: [A, B]}]}, instance: {A: 2, B: 3}}"
    )
    loaded = problem(tmp_path, text)
    assert loaded.dataspaces[0].ranks == ((Term(0),), (Term(1),))
    assert loaded.name == "problem"


def test_bounds_may_be_expressions_and_other_keys_are_read_past(tmp_path: Path) -> None:
    text = PROBLEM.replace("C: 4", "C: width / 2, H: 224, name: x, Wpad: 1") + "variables: {width: 8}\n"
    assert problem(tmp_path, text).bounds[0] == 4


def test_densities(tmp_path: Path) -> None:
    table = (
        "densities: {Weights: 0.25, Inputs: {distribution: hypergeometric, density: 0.5},"
        " Outputs: {distribution: banded, density: 1.0, band_width: 2}}"
    )
    square = PROBLEM.replace("M: 8, P: 6", "M: 6, P: 6")
    loaded = problem(tmp_path, square.replace("stride: 2", f"stride: 2, {table}"))
    assert loaded.densities == (FixedStructured(0.25), Hypergeometric(0.5), Banded(2))
    common = problem(tmp_path, PROBLEM.replace("stride: 2", "stride: 2, commonDensity: 0.5"))
    assert common.densities == (FixedStructured(0.5),) * 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("C: 4", "C: 0", "the bound of C must be from 1"),
        ("C: 4", "C: -3", "the bound of C must be from 1"),
        ("C: 4", "C: 1000000000000", "the bound of C must be from 1 to 2147483647"),
        ("C: 4", "C: 2.5", "must be an integer"),
        ("C: 4", 'C: "4"', "must be an integer"),
        ("C: 4, ", "", "the instance needs `C`"),
        ("stride: 2", "stride: 0", "nonzero integer"),
        ("stride: 2", "stride: 1e12", "nonzero integer"),
        ("dimensions: [C, M, P, R]", "dimensions: [C, M, P, RR]", "one letter"),
        ("dimensions: [C, M, P, R]", "dimensions: [C, M, P, C]", "must differ"),
        ("dimensions: [C, M, P, R]", "dimensions: []", "at least one dimension"),
        ("[[M]], [[R]]]", "[[M]], [[X]]]", "must name a dimension"),
        ("[P, stride]", "[P, strid]", "did you mean stride"),
        ("[P, stride]", "[P, stride, 2]", "[dimension] or [dimension, coefficient]"),
        ("[R, dilation]]", "R]", "[dimension] or [dimension, coefficient]"),
        ("name: Inputs", "name: Weights", "must differ"),
        ("read_write: true", "read_write: yes", "true or false"),
        ("read_write: true", "readwrite: true", "did you mean read_write"),
        ("{name: dilation, default: 1}", "{name: dilation}", "needs `default`"),
        ("shape:", "shap:", "did you mean shape"),
        ("stride: 2", "stride: 2, densities: {Weight: 0.5}", "did you mean Weights"),
        ("stride: 2", "stride: 2, densities: {Weights: 1.5}", "from 0 to 1"),
        ("stride: 2", "stride: 2, densities: {Weights: {density: 0.5}}", "needs `distribution`"),
        ("stride: 2", "stride: 2, densities: {Weights: {density: 0.5, distribution: normal}}", "no such distribution"),
        ("stride: 2", "stride: 2, densities: {Weights: {density: .nan, distribution: fixed}}", "finite"),
        ("stride: 2", "stride: 2, densities: {Weights: {distribution: banded, band_width: -1}}", "not be negative"),
        ("version: 0.4", "version: 0.3", "version 0.4"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in PROBLEM
    with pytest.raises(InputError) as caught:
        problem(tmp_path, PROBLEM.replace(old, new, 1))
    assert words in str(caught.value)
    assert caught.value.line is not None


def test_a_negative_stride_is_legal(tmp_path: Path) -> None:
    loaded = problem(tmp_path, PROBLEM.replace("stride: 2", "stride: -2"))
    assert loaded.dataspaces[1].ranks[1] == (Term(2, -2), Term(3, 1))


def test_a_problem_may_be_given_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="may be given once"):
        load_problem([write(tmp_path, PROBLEM, "a.yaml"), write(tmp_path, PROBLEM, "b.yaml")])
    with pytest.raises(InputError, match="`problem` is missing"):
        load_problem([write(tmp_path, "mapping: []", "c.yaml")])


def test_predefined_shapes_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="written out"):
        problem(tmp_path, "problem: {shape: cnn_layer, instance: {C: 1}}")
