"""Writes what a run of the real programs needs, in files of its own; checks first what they would accept in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.architecture_writer import UNLIMITED_ROWS, architecture_to_yaml
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.density import Banded, FixedStructured, Hypergeometric
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.writer import energy_table_to_yaml, mapping_to_yaml, problem_to_yaml
from codesign.errors import InputError

__all__ = ["BeyondTimeloopError", "CaseFiles", "check_case", "check_table", "write_case", "write_tables"]

_NEEDED_OF_STORAGE = (
    ("random_read", "read"),
    ("random_fill", "random_write", "fill", "write"),
    ("random_update", "random_write", "update", "write"),
)
_NEEDED_OF_COMPUTE = (("mac_random", "mult_random", "mac", "mult", "compute"),)
_TABLES = "ert.yaml"
_EMBEDDED = "use --engine embedded"
_BLOCKS_WITH_TABLE = (1, 2, 4, 8, 16, 32)


class BeyondTimeloopError(InputError):
    """What a case saves by zeros or masks cannot be said to the real Timeloop; its dense counts can be asked for."""


class CaseFiles:
    """Paths of a case that was written: ``specification`` goes through the front end, ``tables`` past it."""

    def __init__(self, folder: Path) -> None:
        self.specification = tuple(folder / f"{name}.yaml" for name in ("arch", "problem", "mapping"))
        self.tables = folder / _TABLES


def write_case(case: Case, folder: Path) -> CaseFiles:
    """Write architecture, problem, mapping and tables (see ``check_case`` for what cannot be written)."""
    files = CaseFiles(folder)
    arch, problem, mapping = files.specification
    arch.write_text(architecture_to_yaml(case.architecture, case.sparse, limit_unlimited=True), encoding="utf-8")
    problem.write_text(problem_to_yaml(case.problem), encoding="utf-8")
    mapping.write_text(mapping_to_yaml(case.mapping, case.architecture, case.problem), encoding="utf-8")
    if case.energy is not None:
        write_tables(case.energy, case.architecture, folder)
    return files


def write_tables(table: EnergyTable, architecture: Architecture, folder: Path) -> Path:
    """Write ERT and ART; components that the architecture lacks are left out, as Timeloop itself passes over them."""
    path = folder / _TABLES
    text = energy_table_to_yaml(_known_components(table, architecture), architecture)
    path.write_text(text, encoding="utf-8")
    return path


def check_case(case: Case) -> None:
    """Refuse what the real program cannot express, or would take in silence for something else.

    Raises:
        BeyondTimeloopError: a density model that the public program lacks, masks over outputs, three operands in a
            sparse run, layouts that it cannot be told of.
        InputError: no energy table, or one without a component or an action; imperfect factors; too large a problem.
    """
    if case.energy is None:
        raise InputError(
            f"case {case.name} has no energy table",
            key="ERT",
            fix="add a file with ERT (and ART) tables to the case, or estimate one with `codesign energy`",
        )
    check_table(case.energy, case.architecture)
    _check_size(case)
    if any(
        not loop.perfect for level in case.mapping.levels for loop in level.temporal + level.spatial_x + level.spatial_y
    ):
        what = "imperfect factors: its v0.4 front end has no form for them"
        raise InputError(f"the real Timeloop cannot run {what}", key=f"{case.name}.mapping", fix=_EMBEDDED)
    _check_densities(case)
    if case.sparse:
        _check_sparse(case)


def check_table(table: EnergyTable, architecture: Architecture) -> None:
    """Every component with the actions that it needs; InputError for one that is missing."""
    parts = [(level.name, _NEEDED_OF_STORAGE) for level in architecture.storage if not level.spatial_dummy]
    for name, needed in [*parts, (architecture.compute.name, _NEEDED_OF_COMPUTE)]:
        try:
            known = table.actions(name)
        except KeyError:
            raise InputError(
                f"the energy table has no component {name}",
                key=f"ERT.{name}",
                fix="add it; Timeloop would use another energy model for it without a word",
            ) from None
        for actions in needed:
            if not any(action in known for action in actions):
                raise InputError(
                    f"the energy table of {name} needs an action {' or '.join(actions)}",
                    got=", ".join(known),
                    key=f"ERT.{name}",
                    fix="add it; Timeloop would use another energy model for it without a word",
                )


def _check_densities(case: Case) -> None:
    problem = case.problem
    for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True):
        if not isinstance(density, FixedStructured | Hypergeometric | Banded):
            raise _cannot(
                f"the density model {type(density).__name__} of {dataspace.name}: the public program has "
                "fixed_structured, hypergeometric and banded",
                f"{case.name}.problem.densities.{dataspace.name}",
            )


def _check_size(case: Case) -> None:
    problem = case.problem
    words = sum(problem.tensor_size(dataspace) for dataspace in problem.dataspaces)
    for level in case.architecture.storage:
        if level.size_words is None and words * level.multiple_buffering > UNLIMITED_ROWS * level.block_size:
            raise InputError(
                f"the real Timeloop's front end limits the size of {level.name}",
                got=f"{words} words",
                key=f"{case.name}.problem",
                fix=_EMBEDDED,
            )


def _check_sparse(case: Case) -> None:
    problem = case.problem
    operands = [dataspace.name for dataspace in problem.dataspaces if not dataspace.read_write]
    if len(operands) != 2:
        raise _cannot(f"a sparse run with {len(operands)} operands; it asserts two", f"{case.name}.problem")
    if any(entry.on == "outputs" for entry in case.sparse.compute):
        raise _cannot("computes saved by a mask over outputs", f"{case.name}.sparse_optimizations")
    outputs = {dataspace.name for dataspace in problem.dataspaces if dataspace.read_write}
    blocks = {level.name: level.block_size for level in case.architecture.storage}
    for entry in case.sparse.levels:
        key = f"{entry.level}.sparse_optimizations"
        conditions = {name for action in entry.actions for o in action.options for name in o.condition_on}
        if conditions & outputs:
            raise _cannot("savings that depend on the output (it aborts, or miscounts computes)", key)
        for layout in entry.formats:
            if not layout.outer_to_inner or any(rank.format == "UB" for rank in layout.ranks):
                raise _cannot("rank_application_order and UB through its front end", f"{key}.{layout.dataspace}")
        if entry.formats and blocks[entry.level] not in _BLOCKS_WITH_TABLE:
            raise _cannot(f"compressed tensors in blocks of {blocks[entry.level]} words (it aborts)", key)


def _cannot(what: str, key: str) -> BeyondTimeloopError:
    return BeyondTimeloopError(f"the real Timeloop cannot run {what}", key=key, fix=_EMBEDDED)


def _known_components(table: EnergyTable, architecture: Architecture) -> EnergyTable:
    names = {level.name for level in architecture.storage} | {architecture.compute.name, "wire"}
    return replace(
        table,
        energies=tuple(entry for entry in table.energies if entry.component in names),
        areas=tuple(entry for entry in table.areas if entry.component in names),
    )
