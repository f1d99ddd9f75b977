"""A network as plain data: its modules, and the calls of its forward pass in order. It loads without its own code.

``describe`` reads a network with ``torch.fx``, down to PyTorch's own modules and functions; ``DescribedNetwork`` is the
network again, with the same submodule paths and state_dict keys. Nothing in a description is code: every module and
function that it may name is in the tables of ``codesign.models._operators``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from codesign.errors import InputError, did_you_mean
from codesign.models._operators import FUNCTIONS, METHODS, MODULES, function_name, module_arguments

__all__ = ["DescribedNetwork", "describe"]

_FIX = "save it as a torch.export program (.pt2) instead"


def describe(network: nn.Module) -> dict[str, Any]:
    """``modules``, ``tensors`` and ``steps`` of a network of one input and one output, as JSON types.

    Raises:
        InputError: its forward pass depends on values or shapes through Python control flow, or it uses a module or
            function that no description may name.
    """
    try:
        graph = fx.Tracer().trace(network)
    except Exception as error:  # whatever a user's forward raises when it is given symbolic values
        raise _unfit(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error
    steps: list[dict[str, Any]] = []
    modules: dict[str, Any] = {}
    tensors: dict[str, list[int]] = {}
    for node in graph.nodes:
        step: dict[str, Any] = {"name": node.name, "kind": node.op}
        if node.op in {"call_module", "get_attr", "call_method"}:
            step["target"] = str(node.target)
        if node.op == "call_module":
            modules[str(node.target)] = _module(network.get_submodule(str(node.target)), str(node.target))
        elif node.op == "call_function":
            step["target"] = _checked(function_name(node.target), f"the function {node.target}")
        elif node.op == "call_method":
            _checked(str(node.target) if node.target in METHODS else None, f"the tensor method {node.target}")
        elif node.op == "get_attr":
            tensors[str(node.target)] = list(_tensor(network, str(node.target)).shape)
        if node.op not in {"placeholder", "get_attr"}:
            step["args"] = [_encoded(value) for value in node.args]
            step["kwargs"] = {key: _encoded(value) for key, value in node.kwargs.items()}
        steps.append(step)
    return {"modules": modules, "tensors": tensors, "steps": steps}


def _module(module: nn.Module, path: str) -> dict[str, Any]:
    described = module_arguments(module)
    if described is None:
        raise _unfit(f"{type(module).__name__} at {path}")
    return {"type": type(module).__name__, "arguments": described}


def _tensor(network: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value = getattr(network.get_submodule(owner), name)
    if not isinstance(value, Tensor):
        raise _unfit(f"{path}, a {type(value).__name__}")
    if path not in network.state_dict():
        raise _unfit(f"the tensor {path}, which is no entry of the state_dict")
    return value


def _checked(name: str | None, what: str) -> str:
    if name is None:
        raise _unfit(what)
    return name


def _unfit(got: str) -> InputError:
    return InputError("a network is described by PyTorch's own modules and functions", got=got, key="model", fix=_FIX)


def _encoded(value: Any) -> Any:
    """An argument as JSON: the result of another step, slices and tuples by a key that says so."""
    if isinstance(value, fx.Node):
        return {"step": value.name}
    if isinstance(value, slice):
        return {"slice": [_encoded(part) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(part) for part in value]}
    if isinstance(value, list):
        return [_encoded(part) for part in value]
    if value is Ellipsis:
        return {"ellipsis": True}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise _unfit(f"an argument of type {type(value).__name__}")


class DescribedNetwork(nn.Module):
    """The network that a description says, freshly initialised.

    Args:
        description: what ``describe`` returned.

    Raises:
        InputError: an unknown module, function, step or argument.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        try:
            for path, entry in description["modules"].items():
                _place(self, path, _built(path, entry))
            for path, shape in description["tensors"].items():
                _place(self, path, nn.Parameter(torch.empty(shape)))
            self._steps = [dict(step) for step in description["steps"]]
            for step in self._steps:
                _check_step(step, description)
            self._last_use = _last_uses(self._steps)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise InputError(
                "a description of a network must be complete",
                got=f"{type(error).__name__}: {error}",
                key="model",
                fix="it is damaged or was edited; save the network again",
            ) from error

    def forward(self, pixels: Tensor) -> Tensor:
        values: dict[str, Any] = {}
        for position, step in enumerate(self._steps):
            if step["kind"] == "placeholder":
                values[step["name"]] = pixels
            elif step["kind"] == "get_attr":
                values[step["name"]] = self._attribute(step["target"])
            else:
                args = [_decoded(value, values) for value in step["args"]]
                kwargs = {key: _decoded(value, values) for key, value in step["kwargs"].items()}
                if step["kind"] == "output":
                    logits: Tensor = args[0]
                    return logits
                values[step["name"]] = self._call(step, args, kwargs)
            for name in self._last_use.get(position, ()):
                del values[name]
        raise AssertionError("DescribedNetwork: no output")  # checked on construction

    def _call(self, step: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        if step["kind"] == "call_module":
            return self.get_submodule(step["target"])(*args, **kwargs)
        if step["kind"] == "call_method":
            return getattr(args[0], step["target"])(*args[1:], **kwargs)
        return FUNCTIONS[step["target"]](*args, **kwargs)

    def _attribute(self, path: str) -> Any:
        owner, _, name = path.rpartition(".")
        return getattr(self.get_submodule(owner), name)


def _built(path: str, entry: Mapping[str, Any]) -> nn.Module:
    if entry["type"] not in MODULES:
        raise InputError("unknown module", got=entry["type"], key=path, fix=did_you_mean(entry["type"], MODULES))
    kind, names = MODULES[entry["type"]]
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in entry["arguments"].items()}
    if set(arguments) != set(names):
        raise ValueError(f"{path}: {entry['type']} takes {', '.join(names)} (got {', '.join(arguments)})")
    return kind(**arguments)


def _place(root: nn.Module, path: str, child: nn.Module | nn.Parameter) -> None:
    """Put a module or parameter at its dotted path; what lies between are modules without a forward."""
    *parents, name = path.split(".")
    place = root
    for parent in parents:
        if parent not in place._modules:
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    setattr(place, name, child)


def _check_step(step: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    tables: dict[str, Any] = {
        "call_module": description["modules"],
        "get_attr": description["tensors"],
        "call_function": FUNCTIONS,
        "call_method": METHODS,
    }
    if step["kind"] in tables and step["target"] not in tables[step["kind"]]:
        raise InputError("unknown target of a step", got=step["target"], key=str(step["name"]))
    if step["kind"] not in {*tables, "placeholder", "output"}:
        raise InputError("unknown kind of step", got=step["kind"], key=str(step["name"]))


def _last_uses(steps: list[dict[str, Any]]) -> dict[int, tuple[str, ...]]:
    """Position of a step -> the values that no later one reads, so that they need not stay in memory."""
    last = {step["name"]: position for position, step in enumerate(steps)}
    for position, step in enumerate(steps):
        for name in _read([step.get("args", []), list(step.get("kwargs", {}).values())]):
            if name not in last:
                raise ValueError(f"step {step['name']} reads {name}, which no step makes")
            last[name] = position
    if not steps or steps[-1]["kind"] != "output":
        raise ValueError("the last step must be the output")
    freed: dict[int, tuple[str, ...]] = {}
    for name, position in last.items():
        freed[position] = (*freed.get(position, ()), name)
    return freed


def _read(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["step"]] if "step" in value else [name for part in value.values() for name in _read(part)]
    if isinstance(value, list):
        return [name for part in value for name in _read(part)]
    return []


def _decoded(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decoded(part, values) for part in value]
    if not isinstance(value, dict):
        return value
    if "step" in value:
        return values[value["step"]]
    if "slice" in value:
        return slice(*(_decoded(part, values) for part in value["slice"]))
    if "tuple" in value:
        return tuple(_decoded(part, values) for part in value["tuple"])
    return Ellipsis
