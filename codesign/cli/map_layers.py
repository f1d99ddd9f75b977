"""What ``codesign map`` searches: the problems of files, or the layers of a traced model, on one architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from codesign.accelerator.energy import estimate
from codesign.accelerator.mapper.task import Task
from codesign.accelerator.spec.document import read_document
from codesign.accelerator.spec.loader import Design, load_design, load_problem
from codesign.accelerator.spec.problem import Problem
from codesign.errors import InputError, did_you_mean
from codesign.resources import arch_specs_dir

__all__ = ["layers_of_files", "layers_of_model"]


def layers_of_files(
    paths: Sequence[Path], constraints: Path | None, of_the_model: Mapping[str, object]
) -> list[tuple[Design, Task]]:
    """One design and task a problem; every file that is no problem belongs to the architecture.

    Args:
        of_the_model: flag -> value of what goes with ``--model`` only; giving one is an error.

    Raises:
        InputError: no problem is given, or a file is not valid.
    """
    given = [flag for flag, value in of_the_model.items() if value]
    if given:
        raise InputError(f"{given[0]} goes with --model", got=f"no model beside {', '.join(given)}", key=given[0])
    shared, problems = _files(paths, constraints)
    if not problems:
        raise InputError(
            "a file with a top-level `problem` is needed", fix="codesign map ARCH.yaml PROBLEM.yaml, or --model NAME"
        )
    layers = []
    for path in problems:
        sections = read_document([path]).sections
        own = [path] if set(sections) - {"problem", "variables"} else []
        design = load_design([*shared, *own])
        layers.append((design, _task(design, load_problem([path]))))
    return layers


def layers_of_model(
    model: str,
    paths: Sequence[Path],
    constraints: Path | None,
    *,
    checkpoint: Path | None,
    num_classes: int | None,
    input_shape: str | None,
    ignore: Sequence[str],
) -> list[tuple[Design, Task]]:
    """One design and task for each layer of a model, dense, in the order of execution.

    Only shapes matter, so that a zoo network needs no weights.

    Raises:
        InputError: a problem is given as well, or the model cannot be loaded or traced.
    """
    shared, problems = _files(paths, constraints)
    if problems:
        raise InputError(
            "a model brings its own problems", got=str(problems[0]), key="--model", fix="leave the file out"
        )
    if not shared:
        raise InputError("an architecture is needed", fix="codesign map ARCH.yaml --model NAME")
    design = load_design(shared)
    found = _problems(model, checkpoint, num_classes, _shape(input_shape), ignore)
    if not found:
        raise InputError("the model has no layer that multiplies", got=model, key="--model")
    first = _task(design, found[0])
    return [(design, _task(design, one, first)) for one in found]


def _files(paths: Sequence[Path], constraints: Path | None) -> tuple[list[Path], list[Path]]:
    """(files of the architecture, problems)."""
    unique = list(dict.fromkeys(_found(path) for path in paths))
    problems = [path for path in unique if "problem" in read_document([path]).sections]
    shared = [path for path in unique if path not in problems]
    if constraints is not None and constraints not in shared:
        shared.append(constraints)
    return shared, problems


def _found(path: Path) -> Path:
    """A file, or the file of a shipped architecture of that name."""
    if path.suffix or path.exists():
        return path
    shipped = arch_specs_dir() / f"{path}.yaml"
    if not shipped.is_file():
        known = [spec.stem for spec in arch_specs_dir().glob("*.yaml")]
        raise InputError("no such file or shipped architecture", got=str(path), fix=did_you_mean(str(path), known))
    return shipped


def _task(design: Design, problem: Problem, like: Task | None = None) -> Task:
    """With the energies of ``like``, which is of the same design."""
    energy = design.energy if like is None else like.energy
    if energy is None:
        energy = estimate(design.architecture, design.sparse, compound_classes=design.compound_classes)
    return Task(design.architecture, problem, design.constraints(problem), energy, design.sparse)


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(
            "an input shape is three positive integers: channels, height, width",
            got=text,
            key="--input-shape",
            fix="for example --input-shape 3,224,224",
        )
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def _problems(
    model: str,
    checkpoint: Path | None,
    num_classes: int | None,
    input_shape: tuple[int, int, int] | None,
    ignore: Sequence[str],
) -> list[Problem]:
    # Only now: nothing else of the command needs torch.
    import torch

    from codesign.models.loading import load_model
    from codesign.models.tracing import trace
    from codesign.models.zoo import ZOO
    from codesign.workloads.lowering import problem

    if model in ZOO and checkpoint is None:
        entry = ZOO[model]
        with torch.device("meta"):
            module = entry.factory(entry.num_classes if num_classes is None else num_classes)
        shape = input_shape or entry.input_shape
    else:
        loaded = load_model(model, checkpoint=checkpoint, num_classes=num_classes, input_shape=input_shape)
        module, shape = loaded.module, loaded.input_shape
    return [problem(layer) for layer in trace(module, shape, ignore=ignore).layers]
