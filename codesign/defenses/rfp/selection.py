"""From scores and ratios to what is removed, in every layer or over all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from codesign.defenses.rfp.config import PruningConfig
from codesign.errors import InputError, did_you_mean

__all__ = ["check_patterns", "matches", "select"]


def matches(name: str, patterns: Collection[str]) -> str | None:
    """The last pattern that fits a layer's name; None if none does. A leading ``network.`` of a pattern is dropped."""
    fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern.removeprefix("network."))]
    return fitting[-1] if fitting else None


def check_patterns(patterns: Collection[str], names: Collection[str], key: str) -> None:
    """Raises InputError for a pattern that fits no layer: a typing error would go unnoticed."""
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in names):
            raise InputError("a name must fit a layer", got=pattern, key=key, fix=did_you_mean(pattern, names))


def select(scores: Mapping[str, Tensor], config: PruningConfig) -> dict[str, Tensor]:
    """What is removed of every layer: flat indices in ascending order, the highest scores; of equal ones the first.

    In the scope ``layer`` every layer loses its ratio, rounded to the nearest whole number. In the scope ``global`` the
    scores of a layer are divided by their L2 norm, so that layers can be compared (Molchanov et al., ICLR 2017,
    arXiv:1611.06440), and the ratio holds over all layers that no ratio of their own is given for. At the end what
    stays of a layer is rounded to the nearest multiple of ``config.multiple``, a tie upwards.

    Raises:
        InputError: a layer would be emptied.
    """
    patterns = config.layer_ratios
    own = {name: pattern for name in scores if (pattern := matches(name, patterns)) is not None}
    counts = {name: _count(patterns[pattern], scores[name].numel()) for name, pattern in own.items()}
    shared = {name: values for name, values in scores.items() if name not in own}
    if config.scope == "layer":
        counts |= {name: _count(config.chosen_ratio, values.numel()) for name, values in shared.items()}
    else:
        counts |= _global_counts(shared, config)
    emptied = [f"{name} ({scores[name].numel()})" for name in scores if counts[name] >= scores[name].numel()]
    if emptied:
        raise InputError(
            "a layer must keep at least one of its parts",
            got=f"the ratio would empty {', '.join(emptied)}",
            key="--ratio",
            fix="lower the ratio, exclude the layer, or in the global scope set --max-layer-ratio",
        )
    # Rounded only now: a ratio that empties a layer is refused, not mended.
    return {
        name: _highest(values, _to_multiple(counts[name], values.numel(), config.multiple))
        for name, values in scores.items()
    }


def _count(ratio: float, size: int) -> int:
    return int(ratio * size + 0.5)


def _to_multiple(count: int, size: int, multiple: int) -> int:
    """How many go where a multiple stays; a layer that is smaller than one, or has lost nothing, stays as it is."""
    if multiple == 1 or count == 0 or size < multiple:
        return 0 if size < multiple else count
    kept = max(1, int((size - count) / multiple + 0.5)) * multiple
    return max(0, size - kept)


def _highest(values: Tensor, count: int) -> Tensor:
    order = torch.sort(values.flatten(), descending=True, stable=True).indices
    return order[:count].sort().values


def _global_counts(scores: Mapping[str, Tensor], config: PruningConfig) -> dict[str, int]:
    """How many of each layer are among the highest of all, a layer that has lost its share standing out."""
    names = list(scores)
    if not names:
        return {}
    candidates = []
    for name in names:
        values = scores[name].flatten().double()
        norm = values.norm()
        scaled = values / norm if norm > 0 else values
        most = int(config.max_layer_ratio * values.numel())
        candidates.append(torch.sort(scaled, descending=True, stable=True).values[:most])
    total = _count(config.chosen_ratio, sum(values.numel() for values in scores.values()))
    owners = torch.cat([torch.full((len(part),), place) for place, part in enumerate(candidates)])
    if total > len(owners):
        raise InputError(
            "the global ratio must be reachable with the largest ratio of a layer",
            got=f"{total} to remove, {len(owners)} allowed",
            key="--max-layer-ratio",
            fix="raise it, or lower --ratio",
        )
    chosen = owners[torch.sort(torch.cat(candidates), descending=True, stable=True).indices[:total]]
    return {name: int((chosen == place).sum()) for place, name in enumerate(names)}
