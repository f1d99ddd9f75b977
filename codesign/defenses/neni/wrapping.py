"""Puts defended layers in the place of a network's convolutions and linear layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.defenses.neni.bitops import layer_bitops, matched_bits
from codesign.defenses.neni.layers import DefendedConv, DefendedLayer, DefendedLinear, LayerPlan
from codesign.defenses.neni.projection import dimension, ternary
from codesign.defenses.neni.selection import NofM, Selector, Threshold, TopK, kept_of
from codesign.defenses.neni.settings import BITS, NeniSettings
from codesign.errors import InputError, did_you_mean
from codesign.models.layers import Layer, TracedModel
from codesign.models.zoo.vit import SelfAttention

__all__ = ["Target", "Wrapped", "base_key", "defended_layers", "rewrap", "wrap"]

_PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)
_PACKED = "in_proj"
"""The packed projection of attention, as a layer of its own."""


@dataclass(frozen=True)
class Target:
    """A layer to defend: as traced, and the path of its module."""

    layer: Layer
    path: str


@dataclass(frozen=True)
class Wrapped:
    """A copy of a network with defended layers.

    Args:
        module: the copy, in eval mode.
        layers: the defended layers with what was traced of them, in execution order.
        exact: name and reason of every layer that is left exact.
    """

    module: nn.Module
    layers: tuple[tuple[Target, DefendedLayer], ...]
    exact: tuple[tuple[str, str], ...]


def wrap(module: nn.Module, traced: TracedModel, settings: NeniSettings, generator: torch.Generator) -> Wrapped:
    """A copy of ``module`` whose layers have a (still untrained) approximation beside them; ``module`` is unchanged.

    Raises:
        InputError: no layer is left to defend, a named layer does not exist, a layer is of an unsupported kind, k is
            above d, or M does not divide a layer's output channels.
    """
    exact = _exact_layers(traced, settings)
    _check_names(settings, traced, exact)
    wrapped = copy.deepcopy(module).eval()
    targets = _targets(wrapped, traced, exact)
    layers, done = [], dict[str, DefendedLayer]()
    for target in targets:
        if target.path not in done:
            base = wrapped.get_submodule(target.path)
            assert isinstance(base, _PRODUCTS)
            done[target.path] = _defended(base, target.layer, settings, generator)
            layers.append((target, done[target.path]))
            _replace(wrapped, base, done[target.path])
    if not layers:
        raise InputError(
            "at least one layer must be defended",
            got=f"all left exact: {', '.join(exact)}",
            key="neni.exact_layers",
            fix="name fewer exact layers",
        )
    return Wrapped(wrapped, tuple(layers), tuple(exact.items()))


def rewrap(module: nn.Module, plans: Mapping[str, LayerPlan]) -> None:
    """Put defended layers in place, in a network that has no weights yet; its state is still to be loaded.

    Args:
        module: the base network; it is changed.
        plans: path in the defended network (``DefendedLayerReport.path``) -> plan.

    Raises:
        InputError: the network has no such layer.
    """
    for path, plan in plans.items():
        owner, _, leaf = path.rpartition(".")
        attention = _submodule(module, owner) if leaf == _PACKED else None
        if isinstance(attention, SelfAttention):
            _replace(module, attention, _OpenAttention(attention))
        base = _submodule(module, path)
        if not isinstance(base, _PRODUCTS):
            raise InputError("the network must have the layers that were defended", got=f"no {path}", key="model")
        groups = 1 if isinstance(base, nn.Linear) else base.groups
        entries = base.weight.new_zeros((groups * plan.dimension, *base.weight.shape[1:]))
        _replace(module, base, _layer(base, plan, entries))


def base_key(module: nn.Module, key: str) -> str:
    """The base network's name for an entry of the defended network's state_dict."""
    owner, _, rest = key.rpartition(f".{_PACKED}.")
    packed = bool(owner) and isinstance(_submodule(module, owner), _OpenAttention)
    return f"{owner}.{_PACKED}_{rest}" if packed else key


def _layer(base: nn.Conv1d | nn.Conv2d | nn.Linear, plan: LayerPlan, entries: Tensor) -> DefendedLayer:
    return DefendedLinear(base, plan, entries) if isinstance(base, nn.Linear) else DefendedConv(base, plan, entries)


def _exact_layers(traced: TracedModel, settings: NeniSettings) -> dict[str, str]:
    """Name and reason of the layers that are left exact."""
    exact = {layer.name: "a product of two activations" for layer in traced.layers if not layer.weights.constant}
    named = settings.exact_layers
    if named is not None:
        return exact | dict.fromkeys(named, "named by the user")
    convolutions = [layer.name for layer in traced.layers if layer.kind == "conv"]
    linear = [layer.name for layer in traced.layers if layer.kind == "linear"]
    return (
        exact | dict.fromkeys(convolutions[:1], "the first convolution") | dict.fromkeys(linear[-1:], "the classifier")
    )


def _check_names(settings: NeniSettings, traced: TracedModel, exact: dict[str, str]) -> None:
    known = {layer.name for layer in traced.layers}
    for key, names in (("exact_layers", list(exact)), ("layer_shares", list(settings.layer_shares))):
        for name in names:
            if name not in known:
                fix = did_you_mean(name, known)
                raise InputError("the model has no such layer", got=name, key=f"neni.{key}", fix=fix)
    both = [name for name in settings.layer_shares if name in exact]
    if both:
        raise InputError(
            "a layer left exact has no essential share",
            got=", ".join(both),
            key="neni.layer_shares",
            fix="name it in exact_layers or in layer_shares, not in both",
        )


def _targets(module: nn.Module, traced: TracedModel, exact: dict[str, str]) -> list[Target]:
    targets, unsupported = [], list[str]()
    for layer in traced.layers:
        if layer.name in exact:
            continue
        path, _, leaf = (layer.weights.parameter or "").rpartition(".")
        owner = None if layer.weights.parameter is None else _submodule(module, path)
        if leaf == "in_proj_weight" and isinstance(owner, SelfAttention):
            _replace(module, owner, _OpenAttention(owner))
            path, leaf = f"{path}.{_PACKED}", "weight"
            owner = module.get_submodule(path)
        elif leaf == "weight" and isinstance(owner, _OpenAttention):  # its second use
            path, owner = f"{path}.{_PACKED}", owner.in_proj
        reason = _unsupported(owner, leaf)
        if reason is None:
            targets.append(Target(layer, path))
        else:
            unsupported.append(f"{layer.name} ({reason})")
    if unsupported:
        raise InputError(
            "a layer can be defended if it is an nn.Conv1d, nn.Conv2d or nn.Linear with a plain weight",
            got="; ".join(unsupported),
            key="model",
            fix="name the layers in exact_layers to leave them exact",
        )
    return targets


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _unsupported(owner: nn.Module | None, leaf: str) -> str | None:
    """Why the layer cannot be defended; None where it can."""
    if owner is None:
        return "its weight is computed"
    kinds = [kind for kind in _PRODUCTS if isinstance(owner, kind)]
    if not kinds or leaf != "weight":
        return f"{leaf} of {type(owner).__name__}"
    if type(owner).forward is not kinds[0].forward:
        return f"{type(owner).__name__} with a forward of its own"
    if owner._parameters.get("weight") is None:
        return "its weight is not a parameter"
    if owner._forward_hooks or owner._forward_pre_hooks:
        return "it has forward hooks"
    return None


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is; a module may have several places."""
    for parent in list(root.modules()):
        for name, child in list(parent._modules.items()):
            if child is old and parent is not new:
                parent._modules[name] = new


def _defended(
    base: nn.Conv1d | nn.Conv2d | nn.Linear, layer: Layer, settings: NeniSettings, generator: torch.Generator
) -> DefendedLayer:
    outputs = len(base.weight)
    groups = 1 if isinstance(base, nn.Linear) else base.groups
    inputs = prod(base.weight.shape[1:])
    k = dimension(settings.dimension, outputs, inputs, settings.jl_eps, layer.name)
    share = settings.share_of(layer.name)
    bitops = layer_bitops(layer.macs, outputs, inputs, groups, k, share, settings.exact_bits, BITS[settings.precision])
    plan = LayerPlan(
        name=layer.name,
        dimension=k,
        selector=_selector(settings, share, outputs, layer.name),
        share=share,
        precision=settings.precision,
        straight_through=settings.straight_through,
        control=settings.control,
        control_bits=matched_bits(bitops, layer.macs),
    )
    entries = ternary((groups * k, *base.weight.shape[1:]), generator)
    return _layer(base, plan, entries)


def _selector(settings: NeniSettings, share: float, channels: int, layer: str) -> Selector:
    if settings.selection == "n_of_m":
        selector = NofM(*settings.group)
        selector.check(channels, layer)
        return selector
    # A threshold is calibrated when the approximation is there; until then every neuron is essential.
    return Threshold(-torch.inf) if settings.selection == "threshold" else TopK(kept_of(share, channels))


class _OpenAttention(nn.Module):
    """The zoo's self-attention with its packed projection as a linear layer of its own."""

    def __init__(self, base: SelfAttention) -> None:
        super().__init__()
        self.heads = base.heads
        with torch.device("meta"):
            self.in_proj: nn.Module = nn.Linear(base.in_proj_weight.shape[1], base.in_proj_weight.shape[0])
        self.in_proj.weight, self.in_proj.bias = base.in_proj_weight, base.in_proj_bias
        self.out_proj = base.out_proj

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        packed = self.in_proj(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out


def defended_layers(module: nn.Module) -> Sequence[DefendedLayer]:
    """Every defended layer of a network, each once."""
    return [layer for layer in module.modules() if isinstance(layer, DefendedLayer)]
