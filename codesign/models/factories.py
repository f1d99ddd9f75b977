"""Networks from a user's own Python code: ``module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from codesign.errors import InputError, did_you_mean

__all__ = ["build_from_factory"]


def build_from_factory(spec: str, num_classes: int | None) -> nn.Module:
    """Call the factory that ``spec`` names and return its network.

    ``module:factory`` must be importable as it is: an installed package, or a folder in ``PYTHONPATH``. The working
    directory is not added to the import path; ``PYTHONPATH=. codesign ...`` does that, and ``./file.py:factory`` loads
    one file without any import path. ``num_classes`` is passed on where the factory takes an argument of that name.
    Weights that the factory draws at random do not disturb torch's global CPU generator.

    Raises:
        InputError: module, file or factory not found, the factory fails, or returns something else.
    """
    place, _, name = spec.rpartition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _import(place)
    factory = _attribute(module, name, spec)
    arguments: dict[str, Any] = {}
    if num_classes is not None and "num_classes" in _parameters(factory):
        arguments["num_classes"] = num_classes
    try:
        with torch.random.fork_rng(devices=[]):
            network = factory(**arguments)
    except Exception as error:
        raise InputError(
            "the factory must return a network",
            got=f"{type(error).__name__}: {error}",
            key=f"--model {spec}",
            fix="it is called with num_classes if it takes that and it is given, else without arguments",
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError("the factory must return a torch.nn.Module", got=type(network).__name__, key=f"--model {spec}")
    return network


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(
            "a factory is named module:factory or path/to/file.py:factory",
            got=f"the module name {name!r}",
            key="--model",
            fix="for example my_package.models:build",
        )
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a user's module does while it is imported
        raise InputError(
            f"the module {name} must be importable",
            got=str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}",
            key="--model",
            fix="install it, or set PYTHONPATH to its folder (the working directory is not searched by itself), "
            "or name its file: path/to/file.py:factory",
        ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError("the file with the factory must exist", got="no such file", path=path, key="--model")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError("the file with the factory must be a Python file", path=path, key="--model")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(
            "the file with the factory must run without an error",
            got=f"{type(error).__name__}: {error}",
            path=path,
            key="--model",
        ) from error
    return module


def _attribute(module: ModuleType, name: str, spec: str) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(
            f"{module.__name__} must have a callable of that name",
            got=repr(name),
            key=f"--model {spec}",
            fix=did_you_mean(name, known),
        )
    return factory  # type: ignore[no-any-return]


def _parameters(factory: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # builtins without a signature take no num_classes that we could know of
        return ()
