"""One sample of a problem whose tensors have actual data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codesign.accelerator.spec.actual_data import ActualData
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError

__all__ = ["each_sample", "sample_count"]


def sample_count(problem: Problem) -> int:
    """Samples of the problem's actual data; 1 where nothing varies with the sample.

    Raises:
        InputError: tensors with different numbers of samples.
    """
    found = {
        dataspace.name: density.samples
        for dataspace, density in zip(problem.dataspaces, problem.densities, strict=True)
        if isinstance(density, ActualData) and density.varies
    }
    if len(set(found.values())) > 1:
        raise InputError("masks must have the same samples", got=found, key="problem.instance.densities")
    return max(found.values(), default=1)


def each_sample(problem: Problem) -> Iterator[Problem]:
    """The problem with each sample of its actual data alone, in order."""
    for number in range(sample_count(problem)):
        densities = tuple(
            replace(density, packed=density.packed[number : number + 1])
            if isinstance(density, ActualData) and density.varies
            else density
            for density in problem.densities
        )
        yield replace(problem, densities=densities)
