"""Names of layers and of memory traffic: the module's path where one module is one operator, unique in a model."""

from __future__ import annotations

import re
from collections import Counter

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from codesign.models._aten import base_name
from codesign.models.layers import Operand

__all__ = ["Names"]

_REPEATED_CALL = re.compile(r"@\d+")
_ONE_OPERATOR = re.compile(
    r"torch\.nn\.modules\.(activation|batchnorm|normalization|instancenorm|pooling|padding|upsampling|pixelshuffle"
    r"|channelshuffle|dropout|fold|flatten)\.(?!MultiheadAttention)"
)
_ONE_PRODUCT = re.compile(
    r"torch\.nn\.modules\.(conv|linear)\.(?!Bilinear)|torch\.nn\.utils\.parametrize\.Parametrized"
)


class Names:
    """Gives each operator its name; the second use of one becomes ``name#2``."""

    def __init__(self, module: nn.Module) -> None:
        self._modules = dict(module.named_modules(remove_duplicate=False))
        parameters = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        self._tensors = dict(parameters)
        self._given: Counter[str] = Counter()

    def owner(self, node: fx.Node) -> str:
        """Path of the innermost module whose forward ran the operator; "" for the model itself."""
        return self._owner(node)[0]

    def of_layer(self, node: fx.Node, weights: Operand, suffix: str) -> str:
        """A layer is named after its weight, a product of activations after its operator in its module."""
        path, kind = self._owner(node)
        if weights.parameter not in (None, "weight"):
            name = str(weights.parameter).removesuffix(".weight")
        elif weights.computed and path and self._one_product(path, kind):
            name = path
        else:
            name = self._within(path, base_name(node))
        return self._unique(f"{name}.{suffix}" if suffix else name)

    def of_traffic(self, node: fx.Node, suffix: str) -> str:
        """The module's path, with the operator's name where the module is not that operator alone."""
        path, kind = self._owner(node)
        name = path if path and _ONE_OPERATOR.match(kind) else self._within(path, base_name(node))
        return self._unique(f"{name}.{suffix}" if suffix else name)

    def parameter(self, node: fx.Node, key: str) -> str:
        """The state_dict key of a weight; of several for one tensor, the one in the module that uses it."""
        own = self._within(self.owner(node), "weight")
        return own if own in self._tensors and self._tensors[own] is self._tensors.get(key) else key

    def _owner(self, node: fx.Node) -> tuple[str, str]:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", "")
        if path.startswith("_empty_nn_module_stack"):
            return "", ""
        return _REPEATED_CALL.sub("", path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"

    def _one_product(self, path: str, kind: str) -> bool:
        own = isinstance(self._modules.get(path), _ConvNd | nn.Linear)
        return own or _ONE_PRODUCT.match(kind) is not None

    @staticmethod
    def _within(path: str, name: str) -> str:
        return f"{path}.{name}" if path else name

    def _unique(self, name: str) -> str:
        self._given[name] += 1
        return name if self._given[name] == 1 else f"{name}#{self._given[name]}"
