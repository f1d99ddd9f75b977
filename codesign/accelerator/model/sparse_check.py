"""Whether the sparse optimisations fit the architecture and the problem that they come with."""

from __future__ import annotations

from collections.abc import Sequence

from codesign.accelerator.spec.architecture import Architecture
from codesign.accelerator.spec.problem import Problem
from codesign.accelerator.spec.sparse import SparseOptimizations
from codesign.errors import InputError, did_you_mean

__all__ = ["check_sparse"]


def check_sparse(
    sparse: SparseOptimizations, architecture: Architecture, problem: Problem, *, output_masks: bool = False
) -> None:
    """Raise InputError unless all names exist and the combination is one that is modelled.

    Args:
        output_masks: savings may wait for the mask of the tensor that is written.
    """
    levels = [storage.name for storage in architecture.storage]
    dataspaces = [dataspace.name for dataspace in problem.dataspaces]
    written = {dataspace.name for dataspace in problem.dataspaces if dataspace.read_write}
    if len(dataspaces) - len(written) != 2:
        raise InputError(
            "not modelled: sparse optimisations need exactly two read-only dataspaces",
            got=[name for name in dataspaces if name not in written],
            key="problem.shape.data_spaces",
            fix="remove the sparse optimisations or the further operand",
        )
    for optimization in sparse.compute:
        _known(optimization.level, [architecture.compute.name], "compute_optimization", "the compute level")
        if optimization.on == "outputs" and not output_masks:
            raise _written(optimization.kind + " of masked outputs", f"{optimization.level}.compute_optimization")
    for entry in sparse.levels:
        _known(entry.level, levels, "sparse_optimizations", "a storage level")
        for form in entry.formats:
            _known(form.dataspace, dataspaces, f"{entry.level}.representation_format", "a dataspace of the problem")
        for option in (option for action in entry.actions for option in action.options):
            for name in (option.target, *option.condition_on):
                _known(name, dataspaces, f"{entry.level}.action_optimization", "a dataspace of the problem")
            if not output_masks and not written.isdisjoint(option.condition_on):
                raise _written(f"condition_on {list(option.condition_on)}", f"{entry.level}.action_optimization")


def _written(got: str, key: str) -> InputError:
    return InputError(
        "not modelled: a saving that waits for a tensor that is being written",
        got=got,
        key=key,
        fix="use clean semantics; the real program aborts on this",
    )


def _known(name: str, names: Sequence[str], key: str, what: str) -> None:
    if name not in names:
        raise InputError(f"the sparse optimisations must name {what}", got=name, key=key, fix=did_you_mean(name, names))
