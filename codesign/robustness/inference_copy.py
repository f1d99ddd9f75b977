"""A copy of a model that answers alike and runs faster on a processor.

Attacks call a model hundreds of times with the weights as they are. In a copy, batch normalisation in eval mode is an
affine map that can be moved into the convolution before it, weights can lie in memory the way that convolutions read
them (channels last), and a strided convolution of the image can have a quicker gradient. The copy shares all other
tensors with the model; the model itself is not touched.

Which convolution feeds which normalisation is seen by running the model, and the copy is used only if its logits are
those of the model up to rounding. Otherwise, and for any model that could hide something from a copy (hooks, state that
cannot be copied safely, random draws, gradient modes), the model is attacked as it is.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, NoneType

import torch
from torch import nn

from codesign.robustness.inference import Model, is_out_of_memory
from codesign.robustness.strided import StridedConv2d, gains

__all__ = ["inference_copy"]

_LOOKED_AT = 8  # images
_ROUNDING = 1e-5  # of the largest logit
# What may lie beside tensors and submodules in a module that is copied; of these, all but tensors cannot change.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, NoneType, Enum, slice, range, type, FunctionType, BuiltinFunctionType),
    *(torch.Tensor, torch.dtype, torch.device, torch.memory_format),
)
_OWN = frozenset(vars(nn.Module()))
_HOOKS = tuple(name for name in _OWN if name.endswith("hooks"))
_CANNOT = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError)


def inference_copy(model: Model, images: torch.Tensor) -> Model:
    """A faster copy of ``model``, or ``model`` itself where there is none that is sure to answer alike.

    Args:
        model: in eval mode.
        images: float32 (n, c, h, w) that it is to be run on; the first eight are looked at.
    """
    if not isinstance(model, nn.Module) or images.device.type != "cpu" or images.dtype != torch.float32:
        return model
    if not any(type(part) is nn.Conv2d for part in model.modules()) or not all(map(_is_plain, model.modules())):
        return model
    few = images[:_LOOKED_AT]
    with torch.no_grad():
        expected = model(few)
        for channels_last in (True, False):  # a model may insist on contiguous values between its layers
            try:
                copy, folded = _copied(model, few, channels_last)
                if (folded or channels_last) and _alike(copy(few), expected):
                    return copy
            except _CANNOT as error:  # the model has just run on these images: it is the copy that cannot be
                if is_out_of_memory(error):
                    raise
    return model


def _is_plain(module: nn.Module) -> bool:
    """Whether a copy would do as the module does: no hooks, no gradient modes, nothing but plain values beside tensors.

    A generator or an object of the user's would be copied with its state, and the copy would go its own way.
    """
    if any(vars(module).get(name) for name in _HOOKS) or hasattr(module, "gradient_modes"):
        return False
    if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule) or "forward" in vars(module):
        return False
    return all(_is_plain_value(value) for name, value in vars(module).items() if name not in _OWN)


def _is_plain_value(value: object) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(map(_is_plain_value, value))
    if isinstance(value, dict):
        return all(_is_plain_value(part) for pair in value.items() for part in pair)
    if is_dataclass(value) and not isinstance(value, type) and value.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return all(_is_plain_value(getattr(value, one.name)) for one in fields(value))
    return isinstance(value, _PLAIN)


def _alike(logits: torch.Tensor, expected: torch.Tensor) -> bool:
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return logits.shape == expected.shape and float((logits - expected).abs().max()) <= _ROUNDING * scale


def _copied(model: nn.Module, images: torch.Tensor, channels_last: bool) -> tuple[nn.Module, bool]:
    """The copy, and whether any normalisation was moved into a convolution."""
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [value for part in model.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    copy = deepcopy(model, {id(tensor): tensor for tensor in tensors})
    pairs = _pairs(copy, images)
    for convolution, normalisation in pairs:
        _fold(copy, convolution, normalisation)
    for name, part in list(copy.named_modules(remove_duplicate=False)):
        if type(part) is nn.Conv2d:
            if channels_last:
                _set_weight(part, part.weight.detach().contiguous(memory_format=torch.channels_last))
            if gains(part):
                _replace(copy, name, StridedConv2d(part))
    return copy, bool(pairs)


def _pairs(model: nn.Module, images: torch.Tensor) -> list[tuple[nn.Conv2d, str]]:
    """Each convolution, called once, with the name of the normalisation, called once, that is given what it returned.

    Whether something else is given that too is not seen here; then the copy's logits differ.
    """
    calls: list[nn.Module] = []
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # the tensors are held, so that no two have the same id
    found: list[tuple[nn.Conv2d, nn.Module]] = []

    def see(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls.append(module)
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif inputs and id(inputs[0]) in made:
            found.append((made[id(inputs[0])][0], module))

    parts = {part: name for name, part in model.named_modules() if type(part) is nn.Conv2d or _is_affine(part)}
    handles = [part.register_forward_hook(see) for part in parts]
    model(images)
    for handle in handles:
        handle.remove()
    return [(one, parts[other]) for one, other in found if calls.count(one) == calls.count(other) == 1]


def _is_affine(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.running_mean is not None and module.running_var is not None


def _fold(model: nn.Module, convolution: nn.Conv2d, name: str) -> None:
    """Move a normalisation into the convolution before it: w' = w s, b' = (b - mean) s + shift, s = scale / sigma."""
    normalisation = model.get_submodule(name)
    assert isinstance(normalisation, nn.BatchNorm2d)
    assert normalisation.running_mean is not None  # as _is_affine has seen
    assert normalisation.running_var is not None
    mean, spread = normalisation.running_mean.double(), (normalisation.running_var.double() + normalisation.eps).sqrt()
    scale = 1 / spread if normalisation.weight is None else normalisation.weight.detach().double() / spread
    bias = torch.zeros_like(mean) if convolution.bias is None else convolution.bias.detach().double()
    shift = torch.zeros_like(mean) if normalisation.bias is None else normalisation.bias.detach().double()
    weight = convolution.weight.detach()
    _set_weight(convolution, (weight.double() * scale[:, None, None, None]).to(weight.dtype))
    convolution.bias = nn.Parameter(((bias - mean) * scale + shift).to(weight.dtype), requires_grad=False)
    _replace(model, name, nn.Identity())


def _replace(model: nn.Module, name: str, other: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, other)


def _set_weight(convolution: nn.Conv2d, weight: torch.Tensor) -> None:
    convolution.weight = nn.Parameter(weight, requires_grad=convolution.weight.requires_grad)
