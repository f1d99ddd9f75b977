"""Formats with more compressed ranks than a mapping has loops for, as an error to whoever wrote both."""

from __future__ import annotations

from codesign.accelerator.model.evaluation import dense_accesses
from codesign.accelerator.model.nest import build_nest
from codesign.accelerator.model.saf import complete_loops
from codesign.accelerator.model.sparse_pass import find_layouts
from codesign.accelerator.model.unused_ranks import unused_ranks
from codesign.accelerator.result import Infeasible
from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.mapping import Mapping
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError

__all__ = ["check_ranks"]


def check_ranks(architecture: Architecture, problem: Problem, mapping: Mapping, sparse: SparseOptimizations) -> None:
    """Raise InputError if a format has more compressed ranks than the mapping has loops for them.

    A rank that says which dimensions it flattens may stay empty: it takes what there is. A mapping that needs more
    ranks than there are is left to the evaluation, which finds it infeasible.
    """
    if not any(level.formats for level in sparse.levels):
        return
    nest = build_nest(architecture, problem, mapping)
    accesses = dense_accesses(nest, problem, mapping)
    loops = complete_loops(mapping)
    for index in range(len(problem.dataspaces)):
        layouts = find_layouts(index, architecture, problem, nest, loops, accesses, sparse)
        if isinstance(layouts, Infeasible):
            return
        for found in unused_ranks(index, architecture, problem, sparse, layouts):
            raise InputError(
                f"{found.level}: {found.dataspace} has more compressed ranks than the mapping has loops for",
                got=f"{found.given} compressed ranks, loops for {found.given - found.unused}",
                key="sparse_optimizations.representation_format",
                fix="give it fewer ranks, or let one rank flatten several dimensions (flattened_rankIDs)",
            )
