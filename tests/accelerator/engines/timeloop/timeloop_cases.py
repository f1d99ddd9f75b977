"""Small cases: a dense one with two fan-outs and a network, a sparse one."""

from __future__ import annotations

from pathlib import Path

from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.loader import load_case

ARCHITECTURE = """
architecture:
  version: 0.4
  nodes:
  - !Container {name: chip, attributes: {technology: "45nm", global_cycle_seconds: 1e-9}}
  - !Component {name: dram, class: DRAM, attributes: {width: 64, datawidth: 16, type: "LPDDR4", energy_per_hop: 0.25}}
  - !Component {name: buffer, class: SRAM, attributes: {depth: 512, width: 32, datawidth: 16, read_bandwidth: 4}}
  - !Container {name: rows, spatial: {meshX: 4}}
  - !Component {name: spad, class: regfile, attributes: {depth: 64, width: 16, datawidth: 16}}
  - !Component {name: mac, class: intmac, attributes: {width: 16}}
"""
PROBLEM = """
problem:
  version: 0.4
  shape:
    name: matmul
    dimensions: [M, K, N]
    data_spaces:
    - {name: A, projection: [[[M]], [[K]]]}
    - {name: B, projection: [[[K]], [[N]]]}
    - {name: Z, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 8, K: 16, N: 4%s}
"""
MAPPING = """
mapping:
- {target: dram, type: temporal, factors: [M=1, K=2, N=2], permutation: [M, K, N]}
- {target: buffer, type: temporal, factors: [M=2, K=1, N=2], permutation: [M, K, N]}
- {target: rows, type: spatial, factors: [M=1, K=4, N=1], permutation: [K, M, N], split: 3}
- {target: spad, type: temporal, factors: [M=4, K=2, N=1], permutation: [K, M, N]}
"""
SPARSE = """
sparse_optimizations:
  version: 0.4
  targets:
  - target: spad
    action_optimization: [{type: skipping, options: [{target: B, condition_on: [A]}]}]
"""
ENERGIES = {"dram": (500.0, 500.0, 0.0), "buffer": (12.5, 13.25, 0.125), "spad": (0.75, 0.5, 0.0625)}


def tables() -> str:
    lines = ["ERT:", "  version: 0.4", "  tables:"]
    for name, (read, write, leak) in ENERGIES.items():
        actions = {"read": read, "write": write, "update": write, "leak": leak}
        listed = ", ".join(f"{{name: {action}, arguments: {{}}, energy: {value}}}" for action, value in actions.items())
        lines.append(f"  - {{name: 'chip.{name}[1..1]', actions: [{listed}]}}")
    lines.append("  - {name: 'chip.mac[1..4]', actions: [{name: compute, arguments: {}, energy: 1.0625}]}")
    lines += ["ART:", "  version: 0.4", "  tables:"]
    lines += [f"  - {{name: 'chip.{name}[1..1]', area: {100.5}}}" for name in (*ENERGIES, "mac")]
    return "\n".join(lines) + "\n"


def write_files(folder: Path, *, sparse: bool = False, mapping: str = MAPPING) -> tuple[Path, ...]:
    densities = ", densities: {A: {distribution: hypergeometric, density: 0.5}}" if sparse else ""
    texts = {
        "arch.yaml": ARCHITECTURE + (SPARSE if sparse else ""),
        "problem.yaml": PROBLEM % densities,
        "mapping.yaml": mapping,
        "ert.yaml": tables(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)


def dense_case(folder: Path, *, mapping: str = MAPPING) -> Case:
    return load_case(write_files(folder / "dense", mapping=mapping))


def sparse_case(folder: Path) -> Case:
    return load_case(write_files(folder / "sparse", sparse=True))
