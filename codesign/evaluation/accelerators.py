"""An architecture ready to be simulated: its parsed design, its energy and area table, and its entry in the record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from codesign.accelerator.energy import estimate
from codesign.accelerator.spec.architecture import Compute, Storage
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.loader import Design, load_design
from codesign.errors import InputError, did_you_mean
from codesign.evaluation.record import ArchitectureRecord
from codesign.resources import arch_specs_dir

__all__ = ["Accelerator", "load_accelerator"]


@dataclass(frozen=True)
class Accelerator:
    """A design with energies: ``energy`` is the file's own ERT where it has one, else the estimator's table."""

    name: str
    path: Path
    design: Design
    energy: EnergyTable

    @property
    def area_mm2(self) -> float | None:
        """Area of the chip (DRAM is off it and has area 0 in the tables); None where no area table was given."""
        return sum(self.area_by_component_mm2.values()) if self.energy.areas else None

    @cached_property
    def area_by_component_mm2(self) -> dict[str, float]:
        """Area of all instances of each component that the area table knows."""
        architecture = self.design.architecture
        known = {entry.component: entry.area_um2 for entry in self.energy.areas}
        components: tuple[Storage | Compute, ...] = (*reversed(architecture.storage), architecture.compute)
        return {
            component.name: known[component.name] * component.instances / 1e6
            for component in components
            if component.name in known
        }

    def record(self) -> ArchitectureRecord:
        """The accelerator's entry in the joined record: every energy per action with its source."""
        sparse = self.design.sparse
        savings = [
            f"{level.level}: {action.kind} {option.target} on zero {' and '.join(option.condition_on)}"
            for level in sparse.levels
            for action in level.actions
            for option in action.options
        ]
        savings += [f"{compute.level}: {compute.kind} on a zero operand" for compute in sparse.compute]
        return ArchitectureRecord(
            name=self.name,
            title=_title(self.path),
            files=({"path": self.path.name, "sha256": sha256(self.path.read_bytes()).hexdigest()},),
            cycle_seconds=self.design.cycle_seconds,
            area_mm2=self.area_mm2,
            area_by_component_mm2=self.area_by_component_mm2,
            energy_table=tuple(
                {
                    "component": entry.component,
                    "action": entry.action,
                    "energy_pJ": entry.energy_pJ,
                    "source": entry.provenance.source,
                    "scaling": entry.provenance.scaling,
                    "confidence": entry.provenance.confidence,
                }
                for entry in self.energy.energies
            ),
            area_table=tuple(
                {
                    "component": entry.component,
                    "area_um2": entry.area_um2,
                    "source": entry.provenance.source,
                    "scaling": entry.provenance.scaling,
                    "confidence": entry.provenance.confidence,
                }
                for entry in self.energy.areas
            ),
            sparse=tuple(savings),
        )


def load_accelerator(name: str) -> Accelerator:
    """A shipped architecture by name, or a Timeloop v0.4 YAML file by path.

    Raises:
        InputError: there is no such architecture, it is not valid, or a component has no known energy.
    """
    path = Path(name)
    if not name.endswith((".yaml", ".yml")):
        path = arch_specs_dir() / f"{name}.yaml"
        if not path.is_file():
            known = [spec.stem for spec in arch_specs_dir().glob("*.yaml")]
            raise InputError("no such architecture", got=name, key="architectures", fix=did_you_mean(name, known))
    design = load_design([path])
    try:
        energy = design.energy
        if energy is None:
            energy = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
        _ = design.cycle_seconds  # latency in time needs the clock
    except InputError as error:
        raise error.within(path) from error
    return Accelerator(path.stem, path, design, energy)


def _title(path: Path) -> str:
    """The first comment line of the file: what the design is, in its author's words."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").strip() if first.startswith("#") else path.stem
