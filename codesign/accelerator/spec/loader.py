"""Loads Timeloop v0.4 files: a whole case, a design (architecture without a problem), a problem, a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.architecture_reader import linearise
from codesign.accelerator.spec.case import Case
from codesign.accelerator.spec.compound import CompoundClass
from codesign.accelerator.spec.compound_reader import read_compound_classes
from codesign.accelerator.spec.constraints import Constraints
from codesign.accelerator.spec.constraints_reader import read_constraints
from codesign.accelerator.spec.directives import Directive, mapping_directives, node_directives, target_directives
from codesign.accelerator.spec.document import Document, document_from_text, read_document
from codesign.accelerator.spec.energy_table import EnergyTable
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.mapping_reader import read_mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.problem_reader import read_problem
from codesign.accelerator.spec.sites import Sites
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.accelerator.spec.sparse_reader import check_sparse, read_sparse
from codesign.accelerator.spec.tables_reader import read_tables
from codesign.accelerator.spec.tree import read_tree, read_variables
from codesign.errors import InputError

__all__ = ["Design", "case_files", "load_case", "load_design", "load_mapping", "load_problem", "parse_mapping"]

_IGNORED_SECTIONS = ("mapper", "mapspace")


@dataclass(frozen=True)
class Design:
    """An accelerator as its files describe it, bound to no problem.

    Args:
        architecture: the linear hierarchy.
        sparse: its sparse optimisations.
        energy: the energy and area tables that the files hold; None if they hold no ERT.
        compound_classes: compound component classes, for the energy estimator.
        paths, sha256: the files, and the hash of their names and contents.
        warnings: what was assumed or ignored.
    """

    architecture: Architecture
    sparse: SparseOptimizations
    energy: EnergyTable | None
    compound_classes: tuple[CompoundClass, ...]
    paths: tuple[Path, ...]
    sha256: str
    warnings: tuple[str, ...] = ()
    sites: Sites = field(repr=False, compare=False, default_factory=lambda: Sites(()))
    directives: tuple[Directive, ...] = field(repr=False, compare=False, default=())

    @property
    def cycle_seconds(self) -> float:
        """Duration of a cycle in seconds.

        Raises:
            InputError: the files do not give it, so cycles cannot become time.
        """
        if "global_cycle_seconds" not in self.architecture.compute.attributes:
            raise InputError(
                "the duration of a cycle is needed to turn cycles into time",
                path=self.paths[0] if self.paths else None,
                key="global_cycle_seconds",
                fix="a missing unit: give a container or `variables` global_cycle_seconds, e.g. 1e-9",
            )
        return self.architecture.global_cycle_seconds

    def constraints(self, problem: Problem) -> Constraints:
        """What a mapping of ``problem`` must respect, macros resolved; InputError if it contradicts itself."""
        return read_constraints(self.directives, self.sites, self.architecture, problem)

    def mapping(self, document: Document, problem: Problem) -> Mapping:
        """The mapping that the constraints of this design and the directives of ``document`` make together."""
        sections = document.get("mapping")
        constraints = target_directives(document.get("constraints"), self.sites)
        directives = chain(self.directives, constraints, mapping_directives(sections, self.sites))
        place = sections[0] if sections else None
        return read_mapping(directives, self.sites, self.architecture, problem, place)


def case_files(folder: Path) -> tuple[Path, ...]:
    """The YAML files of a folder that holds one case.

    Raises:
        InputError: there are none.
    """
    found = tuple(sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file()))
    if not found:
        raise InputError(
            "a case folder must hold YAML files", path=folder, fix="e.g. arch.yaml, problem.yaml, mapping.yaml"
        )
    return found


def load_case(paths: Sequence[Path], *, name: str | None = None) -> Case:
    """One simulation case from all its files; ``name`` is by default that of the folder.

    Raises:
        InputError: a file or what it says is not valid, or something is missing.
    """
    document = read_document(paths)
    design = _design(document)
    problem = _problem(document)
    check_sparse(design.sparse, problem)
    _check_bandwidth_scales(design, problem)
    # The design's directives hold the document's constraints already.
    sections = document.get("mapping")
    directives = chain(design.directives, mapping_directives(sections, design.sites))
    mapping = read_mapping(directives, design.sites, design.architecture, problem, sections[0] if sections else None)
    return Case(
        name=document.paths[0].resolve().parent.name if name is None else name,
        architecture=design.architecture,
        problem=problem,
        mapping=mapping,
        sparse=design.sparse,
        energy=design.energy,
        compound_classes=design.compound_classes,
        warnings=design.warnings,
    )


def load_design(paths: Sequence[Path]) -> Design:
    """An accelerator; a problem or mapping in the same files is left alone.

    Raises:
        InputError: a file or what it says is not valid, or there is no architecture.
    """
    return _design(read_document(paths))


def load_problem(paths: Sequence[Path]) -> Problem:
    """A problem.

    Raises:
        InputError: a file or what it says is not valid, or there is no problem.
    """
    return _problem(read_document(paths))


def load_mapping(paths: Sequence[Path], design: Design | Architecture, problem: Problem) -> Mapping:
    """A mapping of ``problem``: with a design, its constraints are part of it; an architecture alone has none.

    Raises:
        InputError: a file or what it says is not valid, there is no mapping, or it does not fit.
    """
    document = read_document(paths)
    document.require("mapping", "give a file with a top-level `mapping`")
    return _with_constraints(design).mapping(document, problem)


def parse_mapping(text: str, design: Design | Architecture, problem: Problem, *, name: str = "mapping") -> Mapping:
    """A mapping from YAML text, as ``load_mapping``; ``name`` stands in messages."""
    return _with_constraints(design).mapping(document_from_text(text, name), problem)


def _with_constraints(design: Design | Architecture) -> Design:
    if isinstance(design, Design):
        return design
    sites = Sites.of_architecture(design)
    return Design(design, SparseOptimizations(), None, (), (), "", sites=sites)


def _design(document: Document) -> Design:
    _refuse_custom_functions(document)
    variables = read_variables(document.get("variables"))
    tree = read_tree(document.require("architecture", "give the file with the architecture"), variables)
    architecture, warnings = linearise(tree, variables)
    sites = Sites.of_tree(tree, architecture)
    directives = chain(node_directives(sites), target_directives(document.get("constraints"), sites))
    return Design(
        architecture=architecture,
        sparse=read_sparse(document.get("sparse_optimizations"), sites, architecture),
        energy=read_tables(document.one("ERT"), document.one("ART")),
        compound_classes=read_compound_classes(document.get("components")),
        paths=document.paths,
        sha256=document.sha256,
        warnings=warnings,
        sites=sites,
        directives=tuple(directives),
    )


def _problem(document: Document) -> Problem:
    section = document.require("problem", "give the file with the problem")[0]
    return read_problem(section, read_variables(document.get("variables")))


def _refuse_custom_functions(document: Document) -> None:
    for section in document.get("globals"):
        for key, node in section.mapping("globals").items():
            if key != "version" and node.value:
                raise node.error(f"`{key}` of globals is not read: files cannot bring code or settings")


def _check_bandwidth_scales(design: Design, problem: Problem) -> None:
    known = {dataspace.name for dataspace in problem.dataspaces}
    for level in design.architecture.storage:
        unknown = sorted(set(level.bandwidth_scale) - known)
        if unknown:
            raise InputError(
                "per_dataspace_bandwidth_consumption_scale must name dataspaces of the problem",
                got=", ".join(unknown),
                path=design.paths[0],
                key=f"{level.name}.attributes",
                fix=f"known: {', '.join(sorted(known))}",
            )
