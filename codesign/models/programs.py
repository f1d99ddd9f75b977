"""Networks as ``torch.export`` programs (``.pt2``): no source code needed, shapes are in the file."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from codesign.errors import InputError

__all__ = ["ExportedNetwork", "Program", "read_program"]


@dataclass(frozen=True, slots=True)
class Program:
    """An exported network and the shapes that it was exported with (without the batch axis)."""

    network: ExportedNetwork
    input_shape: tuple[int, int, int]
    num_classes: int


class ExportedNetwork(nn.Module):
    """The graph of an exported program. It was exported in one mode: ``train`` and ``eval`` leave it as it is."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.training = False

    def train(self, mode: bool = True) -> ExportedNetwork:
        """Does nothing: what train and eval mode would change is fixed in the graph."""
        del mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.graph(pixels)
        return logits


def read_program(path: Path) -> Program:
    """Read a program of one input (n, channels, height, width) and one output (n, classes).

    PyTorch unpickles parts of such a file: load only programs whose origin you trust, as with Python code.

    Raises:
        InputError: damaged file, other inputs or outputs, a batch size that is fixed or bounded, or training mode.
    """
    _check_archive(path)
    try:
        program = torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(
            "the file must be a torch.export program that this version of torch reads",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            path=path,
            key="--model",
            fix=f"export it again with torch {torch.__version__}",
        ) from error
    pixels = _values(program, program.graph_signature.user_inputs, "placeholder", path)
    logits = _values(program, program.graph_signature.user_outputs, None, path)
    if len(pixels) != 1 or pixels[0].ndim != 4 or len(logits) != 1 or logits[0].ndim != 2:
        raise InputError(
            "the program must map one tensor (n, channels, height, width) to one tensor (n, classes)",
            got=f"{_shapes(pixels)} to {_shapes(logits)}",
            path=path,
            key="--model",
        )
    _check_batch(program, pixels[0], path)
    _check_mode(program, path)
    channels, height, width = (int(size) for size in pixels[0].shape[1:])
    return Program(ExportedNetwork(program.module()), (channels, height, width), int(logits[0].shape[1]))


def _check_archive(path: Path) -> None:
    """Damage is found here, before torch, which logs a traceback for it."""
    problem = None
    if not path.is_file():
        problem = "no such file"
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
                problem = None if damaged is None else f"{damaged} in it is damaged"
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            problem = str(error)
    if problem is not None:
        raise InputError(
            "the model must be a file that torch.export.save wrote",
            got=problem,
            path=path,
            key="--model",
            fix="it is missing, truncated or of another kind",
        )


def _values(program: ExportedProgram, names: tuple[object, ...], kind: str | None, path: Path) -> list[Tensor]:
    """The example tensors (without data) of the graph's values with these names."""
    by_name = {node.name: node for node in program.graph.nodes if kind is None or node.op == kind}
    values = [by_name[str(name)].meta.get("val") for name in names if str(name) in by_name]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) != len(names):
        raise InputError("inputs and outputs of the program must be tensors", got=names, path=path, key="--model")
    return tensors


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(json.dumps([str(size) for size in tensor.shape]).replace('"', "") for tensor in tensors)


def _check_batch(program: ExportedProgram, pixels: Tensor, path: Path) -> None:
    fix = 'export it with dynamic_shapes=({0: torch.export.Dim("n")},) and an example batch of 2'
    # PyTorch's stubs say that every size is an int; a symbolic one is a torch.SymInt.
    batch, *sizes = cast("tuple[int | torch.SymInt, ...]", tuple(pixels.shape))
    if any(not isinstance(size, int) for size in sizes):
        raise InputError(
            "channels, height and width of the program must be fixed",
            got=_shapes([pixels]),
            path=path,
            key="--model",
            fix=fix,
        )
    if isinstance(batch, int):
        raise InputError(
            "the program must take batches of any size", got=f"batch size {batch}", path=path, key="--model", fix=fix
        )
    limits = program.range_constraints.get(batch.node.expr)
    if limits is not None and limits.upper.is_Integer:
        raise InputError(
            "the program must take batches of any size",
            got=f"at most {limits.upper} images",
            path=path,
            key="--model",
            fix=fix,
        )


def _check_mode(program: ExportedProgram, path: Path) -> None:
    """Refuse batch statistics and active dropout: such a program answers differently for every batch."""
    training_argument = {"aten.batch_norm.default": 5, "aten.dropout.default": 2}
    for node in program.graph.nodes:
        position = training_argument.get(str(node.target))
        if position is not None and len(node.args) > position and node.args[position] is True:
            raise InputError(
                "the program must be exported in eval mode",
                got=f"{node.name} in training mode",
                path=path,
                key="--model",
                fix="call model.eval() before torch.export.export",
            )
