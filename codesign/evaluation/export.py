"""The complete Timeloop v0.4 input of every layer, so that anyone can run Timeloop, or `codesign simulate`, by hand.

Layout, relative to the run's ``timeloop`` folder::

    ARCHITECTURE/arch.yaml, ert.yaml              the design and its energies, shared by all layers
    ARCHITECTURE/MODEL/LAYER/mapping.yaml         shared by both kinds of input
    ARCHITECTURE/MODEL/LAYER/problem.clean.yaml, problem.adversarial.yaml

Four files make a case: arch, ert, mapping and one of the problems. The design is written as it was understood, without
its constraints: the mapping says all of them, and the real front end takes nothing said twice. A storage without a size
gets a depth that no layer fills, because the real front end demands one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from codesign.accelerator.spec.architecture_writer import architecture_to_yaml
from codesign.accelerator.spec.writer import energy_table_to_yaml, mapping_to_yaml, problem_to_yaml
from codesign.evaluation.accelerators import Accelerator
from codesign.evaluation.hardware import LayerDensities, MappedLayer
from codesign.workloads.lowering import problem

__all__ = ["TimeloopExport"]


class TimeloopExport:
    """Writes one model on one architecture.

    Args:
        folder: the run's ``timeloop`` folder.
        accelerator: the design.
        model: folder name of the model.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, model: str) -> None:
        self._root = folder.parent
        self._shared = folder / accelerator.name
        self._layers = self._shared / model
        self._accelerator = accelerator

    def mapping_file(self, layer: str) -> str:
        """Where the mapping of a layer is written, relative to the run."""
        return (self._layer(layer) / "mapping.yaml").relative_to(self._root).as_posix()

    def write(self, mapped: Sequence[MappedLayer], densities: Mapping[str, LayerDensities], input_kind: str) -> None:
        """Write the files of every layer for one kind of input."""
        self._shared.mkdir(parents=True, exist_ok=True)
        design = self._accelerator.design
        source = (
            f"# {self._accelerator.path.name} (sha256 of the design's files: {design.sha256}), constraints left out.\n"
        )
        arch = architecture_to_yaml(design.architecture, design.sparse, limit_unlimited=True)
        (self._shared / "arch.yaml").write_text(source + arch, encoding="utf-8")
        tables = energy_table_to_yaml(self._accelerator.energy, design.architecture)
        (self._shared / "ert.yaml").write_text(tables, encoding="utf-8")
        for item in mapped:
            folder = self._layer(item.layer.name)
            folder.mkdir(parents=True, exist_ok=True)
            mapping = mapping_to_yaml(item.mapping, design.architecture, item.dense)
            (folder / "mapping.yaml").write_text(mapping, encoding="utf-8")
            density = densities[item.layer.name]
            workload = problem(item.layer, input_density=density.inputs, weight_density=density.weights)
            (folder / f"problem.{input_kind}.yaml").write_text(problem_to_yaml(workload), encoding="utf-8")

    def _layer(self, name: str) -> Path:
        # "#" stays: the second use of a layer, conv#2, is not the layer conv_2.
        return self._layers / re.sub(r"[^A-Za-z0-9._#-]+", "_", name)
