"""Small v0.4 texts that the tests of the front end share, and helpers to load text as files."""

from __future__ import annotations

from pathlib import Path

from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.loader import Design, load_case, load_design, load_problem
from codesign.accelerator.spec.problem import Problem

ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Container
    name: chip
    attributes: {technology: "45nm", global_cycle_seconds: 1e-9}
  - !Component
    name: dram
    class: DRAM
    attributes: {width: 64, datawidth: 16}
  - !Component
    name: buffer
    class: SRAM
    attributes: {depth: 256, width: 64, datawidth: 16, read_bandwidth: 8}
  - !Container
    name: pe
    spatial: {meshX: 4, meshY: 2}
  - !Component
    name: spad
    class: regfile
    attributes: {depth: 16, width: 16, datawidth: 16}
  - !Component
    name: mac
    class: intmac
    attributes: {width: 16}
"""
"""Three storage levels and one fan-out of 4 x 2 above the innermost one."""

PROBLEM = """
problem:
  version: 0.4
  shape:
    name: conv1d
    dimensions: [C, M, P, R]
    coefficients:
    - {name: stride, default: 1}
    - {name: dilation, default: 1}
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]]]}
    - {name: Inputs, projection: [[[C]], [[P, stride], [R, dilation]]]}
    - {name: Outputs, projection: [[[M]], [[P]]], read_write: true}
  instance: {C: 4, M: 8, P: 6, R: 3, stride: 2}
"""

MAPPING = """
mapping:
- {target: dram, type: temporal, factors: [M=2, P=3], permutation: [P, M, C, R]}
- {target: buffer, type: temporal, factors: [R=3], permutation: [R, C, M, P]}
- {target: pe, type: spatial, factors: [C=2, M=4], permutation: [M, C, P, R], split: 1}
- {target: spad, type: temporal, factors: [C=2, P=2], permutation: [C, P, M, R]}
"""


def write(folder: Path, text: str, name: str = "file.yaml") -> Path:
    """The text as a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def case(folder: Path, *texts: str) -> Case:
    """The texts as the files of one case."""
    return load_case([write(folder, text, f"part{index}.yaml") for index, text in enumerate(texts)])


def design(folder: Path, *texts: str) -> Design:
    """The texts as the files of one design."""
    return load_design([write(folder, text, f"part{index}.yaml") for index, text in enumerate(texts)])


def problem(folder: Path, text: str = PROBLEM) -> Problem:
    """The text as a problem."""
    return load_problem([write(folder, text, "problem.yaml")])


def nodes(*lines: str) -> str:
    """An architecture section from node lines (flow mappings)."""
    return "architecture:\n  version: 0.4\n  nodes:\n" + "".join(f"  - {line}\n" for line in lines)
