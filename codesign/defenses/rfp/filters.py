"""Which filters can be taken out of a network, and taking them out with everything that depends on them.

The dependencies (batch norms, depthwise convolutions, inputs of later layers, sums, concatenations) come from
torch-pruning (Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv:2301.12900).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError

__all__ = ["FilterGraph", "FilterGroup"]

_PRODUCERS = (nn.Conv2d, nn.Linear)
_CHANNELWISE = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class FilterGroup:
    """Output channels that can only be removed together.

    Args:
        name: of the first layer that makes them.
        layers: the convolutions and linear layers that make them; more than one where their outputs are summed.
        width: number of channels.
        obstacle: why the channels cannot be removed; None if they can.
    """

    name: str
    layers: tuple[str, ...]
    width: int
    obstacle: str | None

    @property
    def coupled(self) -> bool:
        """Several layers make these channels together."""
        return len(self.layers) > 1


class FilterGraph:
    """The filters of a network and what depends on each.

    Args:
        network: takes pixels or normalised pixels (n, *input_shape). ``remove`` changes it.
        input_shape: channels, height, width.

    Raises:
        InputError: the network has no convolution of PyTorch's own (an exported program has none), or cannot be
            followed.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int]) -> None:
        import torch_pruning  # type: ignore[import-untyped]

        self._names = {module: name for name, module in network.named_modules()}
        self._modules = dict(network.named_modules())
        roots = [name for name, module in self._modules.items() if isinstance(module, nn.Conv2d)]
        if not roots:
            raise InputError(
                "only a network with convolutions (torch.nn.Conv2d) has filters to remove",
                got=type(network).__name__,
                key="--model",
                fix="give a zoo name, module:factory or a network file; a .pt2 program holds no modules",
            )
        self._pruning = torch_pruning
        example = next(network.parameters()).new_zeros((2, *input_shape))
        with warnings.catch_warnings():
            # It speaks of parameters outside of modules; what they break, the comparison after the removal finds.
            warnings.simplefilter("ignore")
            self._graph: Any = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)
        self.groups = tuple(self._find(roots))

    def _find(self, roots: list[str]) -> Iterator[FilterGroup]:
        seen: set[str] = set()
        for name in roots:
            module = self._modules[name]
            assert isinstance(module, nn.Conv2d)
            if name in seen:
                continue
            if module.groups > 1:
                if module.groups < module.out_channels or module.groups < module.in_channels:
                    reason = f"a grouped convolution ({module.groups} groups)"
                    yield FilterGroup(name, (name,), module.out_channels, reason)
                continue  # a depthwise convolution follows the layer before it
            group = self._described(name, module.out_channels)
            seen.update(group.layers)
            yield group

    def _described(self, name: str, width: int) -> FilterGroup:
        layers: list[str] = []
        consumed = attended = False
        obstacle: str | None = None
        everything = list(range(width))
        for module, makes, indices in self._members(name, everything):
            where = self._names.get(module)
            if where is None:
                continue
            attended = attended or self._in_attention(where)
            if not makes:
                consumed = True
                continue
            if isinstance(module, _PRODUCERS) and not _is_depthwise(module):
                layers.append(where)
                if module.weight.shape[0] != width or indices != everything:
                    obstacle = f"its channels are padded, sliced or reordered before they meet those of {where}"
        if not consumed:
            obstacle = "its channels are outputs of the network"
        if attended:
            obstacle = "its channels go into or come out of attention, whose heads are not pruned"
        return FilterGroup(name, tuple(dict.fromkeys(layers)), width, obstacle)

    def _in_attention(self, path: str) -> bool:
        """Whether a module is attention or a part of it, going by the names of its class and of those around it."""
        parts = path.split(".")
        above = (self._modules[".".join(parts[:n])] for n in range(1, len(parts) + 1))
        return any("attention" in type(module).__name__.lower() for module in above)

    def norm_behind(self, name: str) -> str | None:
        """The batch norm that a layer's outputs go to directly, if there is one."""
        followers = (node.module for node in self._graph.module2node[self._modules[name]].outputs)
        return next((self._names[module] for module in followers if isinstance(module, nn.BatchNorm2d)), None)

    def _members(self, name: str, indices: list[int]) -> Iterator[tuple[nn.Module, bool, list[int]]]:
        """Every module that the removal touches, whether in its outputs, and which of its channels."""
        for dependency, touched in self._group(name, indices):
            handler = dependency.handler.__name__
            yield dependency.target.module, handler != "prune_in_channels", [int(i) for i in touched]

    def _group(self, name: str, indices: list[int]) -> Any:
        return self._graph.get_pruning_group(
            self._modules[name], self._pruning.prune_conv_out_channels, idxs=list(indices)
        )

    def zero(self, removed: Mapping[str, Tensor]) -> None:
        """Set the filters to zero in place: weights and biases of the layers, scales and shifts of their norms.

        Args:
            removed: name of a group -> channels.
        """
        for name, indices in removed.items():
            for module, makes, touched in self._members(name, indices.tolist()):
                if makes and isinstance(module, _PRODUCERS + _CHANNELWISE):
                    for parameter in (module.weight, module.bias):
                        if parameter is not None:
                            with torch.no_grad():
                                parameter[touched] = 0

    def remove(self, removed: Mapping[str, Tensor]) -> None:
        """Take the filters out of the network in place; the graph is of no use afterwards.

        Args:
            removed: name of a group -> channels, never all of a group.
        """
        for name, indices in removed.items():
            if len(indices):
                self._group(name, indices.tolist()).prune()


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.out_channels > 1
