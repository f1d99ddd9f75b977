"""Actual data, output masks and their structures in YAML: what is read, what is written, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.accelerator.spec.actual_data import ActualData, load_mask
from codesign.accelerator.spec.density import DENSE, StructuredNM, Vectors
from codesign.accelerator.spec.loader import load_problem
from codesign.accelerator.spec.writer import problem_to_yaml
from codesign.errors import InputError
from codesign.masks.writing import MaskWriter

TEXT = """
problem:
  version: 0.4
  shape:
    name: conv
    dimensions: [C, M, P, R]
    coefficients: [{{name: stride, default: 2}}]
    data_spaces:
    - {{name: Weights, projection: [[[C]], [[M]], [[R]]]}}
    - {{name: Inputs, projection: [[[C]], [[R], [P, stride]]]}}
    - {{name: Outputs, projection: [[[M]], [[P]]], read_write: true}}
  instance: {{C: 3, M: 4, P: 5, R: 3, densities: {densities}}}
"""
INPUTS = (3, 11)  # (P - 1) * 2 + R


def read(folder: Path, densities: str):
    path = folder / "problem.yaml"
    path.write_text(TEXT.format(densities=densities), encoding="utf-8")
    return load_problem([path])


def random_mask(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape) < 0.5


def test_masks_from_arrays_and_what_is_written_reads_back(tmp_path):
    weights, inputs, outputs = random_mask(4, 3, 3), random_mask(2, 3, 9), random_mask(2, 4, 5)
    np.savez(tmp_path / "masks.npz", w=weights, i=inputs.astype(np.float32) * 0.3)
    np.save(tmp_path / "outputs.npy", outputs)
    problem = read(
        tmp_path,
        "{Weights: {distribution: actual_data, file: masks.npz, tensor: w, axes: [M, C, R]},"
        " Inputs: {distribution: actual_data, file: masks.npz, tensor: i, sample_axis: true, padding: {P: [1, 1]}},"
        " Outputs: {distribution: actual_data, file: outputs.npy, sample_axis: true}}",
    )
    w, i, o = problem.densities
    assert w == ActualData.of(weights, varies=False, ranks=(1, 0, 2))
    assert i == ActualData.of(inputs, varies=True, padding=((0, 0), (1, 1)))
    assert o == ActualData.of(outputs, varies=True)
    assert (i.samples, i.ones) == (2, inputs.sum())
    np.testing.assert_array_equal(o.unpacked(), outputs)
    again = tmp_path / "again.yaml"
    again.write_text(problem_to_yaml(problem), encoding="utf-8")
    assert load_problem([again]) == problem


def test_masks_from_a_mask_folder(tmp_path):
    outputs = random_mask(3, 4, 5)
    with MaskWriter(tmp_path / "masks") as writer:
        stream = writer.stream("conv", "outputs", "clean", outputs.shape[1:])
        stream.append(outputs)
    problem = read(tmp_path, "{Outputs: {distribution: actual_data, file: masks, tensor: 'conv:outputs:clean'}}")
    assert problem.densities[2] == ActualData.of(outputs, varies=True)
    again = tmp_path / "again.yaml"
    again.write_text(problem_to_yaml(problem), encoding="utf-8")
    assert load_problem([again]) == problem


def test_structures_read_and_write(tmp_path):
    problem = read(
        tmp_path,
        "{Outputs: {distribution: n_m_structured, n: 2, m: 4, rank: M},"
        " Inputs: {distribution: vector, density: 0.5, length: 3, rank: C}}",
    )
    assert problem.densities == (DENSE, Vectors(0.5, 3, 0), StructuredNM(2, 4, 0))
    again = tmp_path / "again.yaml"
    again.write_text(problem_to_yaml(problem), encoding="utf-8")
    assert load_problem([again]) == problem


def test_a_mask_in_memory_cannot_be_written(tmp_path):
    problem = read(tmp_path, "{}")
    import dataclasses

    mask = ActualData.of(random_mask(4, 5), varies=False)
    with pytest.raises(ValueError, match="not from a file"):
        problem_to_yaml(dataclasses.replace(problem, densities=(DENSE, DENSE, mask)))


@pytest.mark.parametrize(
    ("densities", "message"),
    [
        ("{Inputs: {distribution: actual_data, file: small.npy}}", r"\[3, 11\].*\[3, 9\]"),
        (
            "{Inputs: {distribution: actual_data, file: small.npy, padding: {P: [1, 2]}}}",
            r"\[3, 11\].*padded \[3, 12\]",
        ),
        ("{Inputs: {distribution: actual_data, file: small.npy, padding: {P: [1]}}}", "before, after"),
        ("{Inputs: {distribution: actual_data, file: small.npy, axes: [C]}}", "one axis a rank"),
        ("{Inputs: {distribution: actual_data, file: small.npy, axes: [C, M]}}", "moves along it alone"),
        ("{Inputs: {distribution: actual_data, file: none.npy}}", "no such mask file"),
        ("{Inputs: {distribution: actual_data, file: zero_bytes.npy}}", "an empty mask file"),
        ("{Inputs: {distribution: actual_data, file: empty.npy}}", "an empty mask"),
        ("{Inputs: {distribution: actual_data, file: nan.npy}}", "NaN"),
        ("{Inputs: {distribution: actual_data, file: text.npy}}", "numbers or truth values"),
        ("{Inputs: {distribution: actual_data, file: damaged.npz}}", "mask folder, .npz or .npy"),
        ("{Inputs: {distribution: actual_data, file: two.npz}}", "name the tensor"),
        ("{Inputs: {distribution: actual_data, file: two.npz, tensor: aa}}", "did you mean a"),
        ("{Inputs: {distribution: actual_data}}", "needs `file`"),
        ("{Outputs: {distribution: n_m_structured, n: 5, m: 4, rank: M}}", "0 <= n <= m"),
        ("{Outputs: {distribution: n_m_structured, n: 2, m: 4, rank: C}}", "moves along it alone"),
        ("{Outputs: {distribution: vector, density: 1.5, length: 2, rank: M}}", "from 0 to 1"),
        ("{Outputs: {distribution: vector, density: 0.5, length: 0, rank: M}}", "at least 1"),
    ],
)
def test_what_is_refused(tmp_path, densities, message):
    np.save(tmp_path / "small.npy", random_mask(3, 9))
    np.save(tmp_path / "empty.npy", np.zeros((0, 9)))
    np.save(tmp_path / "nan.npy", np.full(INPUTS, np.nan))
    np.save(tmp_path / "text.npy", np.full(INPUTS, "x"))
    np.savez(tmp_path / "two.npz", a=random_mask(*INPUTS), b=random_mask(*INPUTS))
    (tmp_path / "zero_bytes.npy").touch()
    (tmp_path / "damaged.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, densities)
    assert error.value.line


def test_a_mask_folder_needs_the_name_of_the_tensor(tmp_path):
    with pytest.raises(InputError, match="mask folder must hold"):
        (tmp_path / "none").mkdir()
        load_mask(tmp_path / "none", "a")
