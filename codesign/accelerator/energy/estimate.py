"""From an architecture to its energy and area table: asks the estimator of every component's class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from codesign.accelerator.energy.component import Component, ComponentEstimate, Estimator, Figure
from codesign.accelerator.energy.compound import with_compounds
from codesign.accelerator.energy.registry import BUILTIN, ask
from codesign.accelerator.spec.architecture import Architecture, Compute, Storage
from codesign.accelerator.spec.compound import CompoundClass
from codesign.accelerator.spec.energy_table import AreaEntry, EnergyEntry, EnergyTable, Provenance
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError

__all__ = ["estimate"]

_DENSE = SparseOptimizations()
_ACCESSES = ("read", "write", "update")
_COMPUTES = ("mac_random", "mult_random", "mac", "mult", "compute")
"""Actions that the engine looks for at the compute, in its order."""

# What an action that sparsity saves still costs. Leakage goes on in either case and is counted by ``leak``.
_SKIPPED = Provenance("by definition: a skipped action does not take place", "none", "published")
_GATED_ACCESS = Provenance(
    "Chen et al. (Eyeriss), IEEE JSSC 52(1), 2017, doi:10.1109/JSSC.2016.2616357: gating disables the access",
    "dynamic energy 0; not modelled: the zero test and the clock gate",
    "published",
)


def estimate(
    architecture: Architecture,
    sparse: SparseOptimizations = _DENSE,
    *,
    compound_classes: Sequence[CompoundClass] = (),
    estimators: Mapping[str, Estimator] = BUILTIN,
) -> EnergyTable:
    """Energies (pJ per access of a whole row, pJ per compute, pJ per cycle for ``leak``) and areas (um2 an instance).

    Storage levels get read, write, update and leak, and the same for their metadata where they store any; the compute
    gets compute and leak; a component of a compound class gets the actions that the class defines. A level with sparse
    optimisations, and the compute of any design that has some, also get the gated_ or skipped_ actions
    (``compute_gated``, ``compute_skipped``) of the kinds that are used there.

    Args:
        architecture: levels whose attributes describe them to the estimators.
        sparse: decides which gated and skipped actions are listed.
        compound_classes: as the architecture's files define them.
        estimators: component class -> estimator; add your own as ``{**BUILTIN, "my_sram": my_sram}``.

    Raises:
        InputError: no estimator knows a class, or an attribute that it needs is missing or bad.
    """
    known = with_compounds(compound_classes, estimators)
    energies: list[EnergyEntry] = []
    areas: list[AreaEntry] = []
    for level in reversed(architecture.storage):
        if level.spatial_dummy:
            continue
        figures, area = _storage(level, known)
        for kind in sorted(_kinds_at(level.name, sparse)):
            figures |= _saved_accesses(kind, figures)
        energies += _entries(level, figures)
        areas.append(_area_entry(level, area))
    compute = architecture.compute
    answer = ask(_component(compute), known)
    figures = _actions(compute, answer, ("compute",), _COMPUTES)
    for kind in sorted(_kinds(sparse)):
        figures[f"compute_{kind}"] = _saved_compute(kind, figures["leak"])
    energies += _entries(compute, figures)
    areas.append(_area_entry(compute, answer.area_um2))
    return EnergyTable(tuple(energies), tuple(areas))


def _component(part: Storage | Compute, **changed: object) -> Component:
    return Component(part.name, part.subclass or part.component_class, {**part.attributes, **changed})


def _actions(
    part: Storage | Compute, answer: ComponentEstimate, asked: Sequence[str], enough: Sequence[str]
) -> dict[str, Figure]:
    """The actions to list: those that the estimator names, else those asked for. One of ``enough`` must be there."""
    figures = {} if answer.dynamic is None else {action: answer.action(action) for action in asked}
    figures |= answer.energies
    if not any(action in figures for action in enough):
        raise InputError(
            f"the estimator of this class gives no energy for {' or '.join(enough)}",
            got=part.subclass or part.component_class,
            key=f"{part.name}.class",
        )
    if "leak" not in figures:
        name = part.subclass or part.component_class
        figures["leak"] = Figure(0.0, Provenance(f"class {name}", f"not modelled: {name} defines no leak", "user"))
    return figures


def _storage(level: Storage, estimators: Mapping[str, Estimator]) -> tuple[dict[str, Figure], Figure]:
    """Actions and area of a storage level, its metadata array included."""
    answer = ask(_component(level), estimators)
    figures = _actions(level, answer, _ACCESSES, ("read",))
    if "write" not in figures and not {"fill", "update"} <= figures.keys():
        raise InputError(
            "the estimator of this class gives no energy for write",
            got=level.subclass or level.component_class,
            key=f"{level.name}.class",
        )
    if not level.metadata_width_bits:
        return figures, answer.area_um2
    changed: dict[str, object] = {"width": level.metadata_width_bits, "depth": level.metadata_depth or None}
    metadata = ask(_component(level, **changed), estimators)
    array = _actions(level, metadata, _ACCESSES, ("read",))
    figures |= {f"metadata_{action}": array[action] for action in _ACCESSES if action in array}
    figures["leak"] = _sum(figures["leak"], array["leak"])
    return figures, _sum(answer.area_um2, metadata.area_um2)


def _sum(data: Figure, metadata: Figure) -> Figure:
    scaling = f"{data.provenance.scaling}; plus the metadata array ({metadata.provenance.scaling})"
    return Figure(data.value + metadata.value, replace(data.provenance, scaling=scaling))


def _kinds_at(level: str, sparse: SparseOptimizations) -> set[str]:
    """ "gated" and "skipped", as far as the level's own optimisations use them."""
    words = {"gating": "gated", "skipping": "skipped"}
    return {words[action.kind] for entry in sparse.levels if entry.level == level for action in entry.actions}


def _kinds(sparse: SparseOptimizations) -> set[str]:
    """The kinds that the design uses anywhere: a saved operand also saves the compute."""
    words = {"gating": "gated", "skipping": "skipped"}
    at_levels = {kind for entry in sparse.levels for kind in _kinds_at(entry.level, sparse)}
    return at_levels | {words[entry.kind] for entry in sparse.compute}


def _saved_accesses(kind: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    saved = Figure(0.0, _GATED_ACCESS if kind == "gated" else _SKIPPED)
    accesses = [action for action in figures if action.removeprefix("metadata_") in _ACCESSES]
    return {f"{kind}_{action}": saved for action in accesses}


def _saved_compute(kind: str, idle: Figure) -> Figure:
    """A gated compute holds its operands for a cycle, so its idle energy remains; a skipped one leaves nothing."""
    if kind == "skipped":
        return Figure(0.0, _SKIPPED)
    held = "operands held for the cycle: idle energy only, as in Accelergy's Aladdin plug-in"
    scaling = idle.provenance.scaling
    return Figure(idle.value, replace(idle.provenance, scaling=held if scaling == "none" else f"{scaling}; {held}"))


def _entries(part: Storage | Compute, figures: Mapping[str, Figure]) -> list[EnergyEntry]:
    return [
        EnergyEntry(part.name, action, figure.value * part.energy_scale, _scaled(figure, part.energy_scale))
        for action, figure in figures.items()
    ]


def _area_entry(part: Storage | Compute, area: Figure) -> AreaEntry:
    return AreaEntry(part.name, area.value * part.area_scale, _scaled(area, part.area_scale))


def _scaled(figure: Figure, factor: float) -> Provenance:
    """The figure's provenance, with the factor that the architecture file puts on the component."""
    if factor == 1:
        return figure.provenance
    return replace(figure.provenance, scaling=f"{figure.provenance.scaling}; x {factor:g} by the architecture file")
