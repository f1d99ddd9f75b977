"""Pruning a trained network: judge its parts, choose, remove them, and prove that removing equals zeroing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from codesign.defenses.rfp.config import PruningConfig
from codesign.defenses.rfp.criteria import CRITERIA, Criterion, criterion_named
from codesign.defenses.rfp.evidence import Evidence, Labelled, Scores
from codesign.defenses.rfp.filters import FilterGraph, FilterGroup
from codesign.defenses.rfp.selection import check_patterns, matches, select
from codesign.defenses.rfp.weights import WEIGHT_CRITERIA, n_of_m_mask, unstructured_mask
from codesign.errors import InputError
from codesign.models.normalization import Normalized
from codesign.training.loop import generator_for

__all__ = ["LayerChange", "Pruned", "prune"]

_RANDOM = 5
_COMPARED_IMAGES = 16
_NAMED = 3
# In float64 the two networks differ by rounding only; anything above it means that a zeroed filter still speaks.
_EXACT = 1e-8


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What a layer lost.

    Args:
        name: path of the layer in the network.
        kind: what ``before`` and ``after`` count.
        before, after: filters, or weights that are not zero.
    """

    name: str
    kind: Literal["filters", "weights"]
    before: int
    after: int

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        return {"layer": self.name, "kind": self.kind, "before": self.before, "after": self.after}


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network and how it came about.

    Args:
        module: the pruned network, in eval mode; the original is as it was.
        zeroed: the original with what was removed set to zero.
        removed: name of a layer (the first of a group) -> removed filters, or flat indices of removed weights.
        scores: of the criterion, as ``removed``.
        layers: every layer that could have been pruned.
        left_out: layers that were not, with the reason.
        difference: largest difference of a logit between ``module`` and ``zeroed``, float32, on test inputs.
    """

    module: nn.Module
    zeroed: nn.Module
    removed: dict[str, Tensor]
    scores: Scores
    layers: tuple[LayerChange, ...]
    left_out: dict[str, str]
    difference: float


def prune(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    natural: Labelled,
    config: PruningConfig,
    *,
    robust: Labelled | None = None,
    criterion: Criterion | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Pruned:
    """Prune a copy of a network.

    Args:
        module: logits from pixels in [0, 1]; with ``Normalized`` around it or not.
        input_shape: channels, height, width.
        natural: training images for the criterion; the first ``config.images`` are used.
        config: what and how much.
        robust: the robust dataset, for criteria that compare with it.
        criterion: in place of the one that the config names.
        progress: called with (images done, images in total) of a pass of the criterion.

    Raises:
        InputError: nothing can be pruned, a pattern fits no layer, a layer would be emptied, no images, or a network
            in which removing a filter is not the same as setting it to zero.
    """
    if len(natural) == 0 or tuple(natural.images.shape[1:]) != input_shape:
        raise InputError(
            f"the criterion needs images of the network's shape {input_shape}",
            got=f"{len(natural)} images of shape {tuple(natural.images.shape[1:])}",
            key="--data",
            fix="choose the data set that the network was trained on",
        )
    judged = Labelled(natural.images[: config.images], natural.labels[: config.images])
    compared = None if robust is None else Labelled(robust.images[: config.images], robust.labels[: config.images])
    work = _Work(module, input_shape, config, judged, compared, criterion, progress)
    return work.filters() if config.granularity == "filters" else work.weights()


@dataclass(frozen=True, eq=False)
class _Work:
    """One call of ``prune``."""

    module: nn.Module
    input_shape: tuple[int, int, int]
    config: PruningConfig
    natural: Labelled
    robust: Labelled | None
    criterion: Criterion | None
    progress: Callable[[int, int], None]

    def filters(self) -> Pruned:
        small = deepcopy(self.module).eval()
        graph = FilterGraph(_network(small), self.input_shape)
        chosen, left_out = self._chosen(graph.groups)
        layers = [name for group in chosen for name in group.layers]
        norms = {name: norm for name in layers if (norm := graph.norm_behind(name)) is not None}
        by_layer = self._scores(layers, norms, CRITERIA)
        # Channels that are summed go together: their scores are those of all the filters that make them.
        scores = {group.name: torch.stack([by_layer[name] for name in group.layers]).sum(0) for group in chosen}
        removed = select(scores, self.config)
        zeroed = deepcopy(self.module).eval()
        FilterGraph(_network(zeroed), self.input_shape).zero(removed)
        _remove(graph, removed)
        changes = tuple(
            LayerChange(name, "filters", group.width, group.width - len(removed[group.name]))
            for group in chosen
            for name in group.layers
        )
        difference = _compared(small, zeroed, self.natural)
        return Pruned(small, zeroed, removed, scores, changes, left_out, difference)

    def _chosen(self, groups: tuple[FilterGroup, ...]) -> tuple[list[FilterGroup], dict[str, str]]:
        check_patterns(self.config.exclude, [name for group in groups for name in group.layers], "--exclude")
        chosen: list[FilterGroup] = []
        left_out: dict[str, str] = {}
        for group in groups:
            reason = group.obstacle
            if any(matches(name, self.config.exclude) for name in group.layers):
                reason = "excluded by name"
            elif reason is None and group.coupled and not self.config.coupled:
                reason = f"summed with {', '.join(group.layers[1:])}"
            if reason is None:
                chosen.append(group)
            else:
                left_out |= dict.fromkeys(group.layers, reason)
        if not chosen:
            raise InputError(
                "there must be a layer whose filters can be removed",
                got=_by_reason(left_out),
                key="--exclude",
                fix="exclude fewer layers, prune summed channels too with --coupled, or single weights with "
                "--granularity weights",
            )
        check_patterns(self.config.layer_ratios, [group.name for group in chosen], "--layer-ratio")
        return chosen, left_out

    def weights(self) -> Pruned:
        network = _network(self.module)
        found = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
        if not found:
            raise InputError("the network must have layers of weights", got=type(network).__name__, key="--model")
        check_patterns(self.config.exclude, found, "--exclude")
        left_out = {name: "excluded by name" for name in found if matches(name, self.config.exclude)}
        pattern = self.config.pattern
        if pattern is not None:
            left_out |= {
                name: f"{layer.weight.shape[1]} input channels, no multiple of {pattern[1]}"
                for name, layer in found.items()
                if name not in left_out and layer.weight.shape[1] % pattern[1]
            }
        layers = {name: layer for name, layer in found.items() if name not in left_out}
        if not layers:
            raise InputError("there must be a layer to prune", got="; ".join(left_out.values()), key="--exclude")
        check_patterns(self.config.layer_ratios, layers, "--layer-ratio")
        scores = self._scores(layers, {}, WEIGHT_CRITERIA)
        masks = self._masks(scores)
        sparse = deepcopy(self.module).eval()
        changes: list[LayerChange] = []
        for name, mask in masks.items():
            weight = _network(sparse).get_submodule(name).weight
            assert isinstance(weight, Tensor)
            before = int(torch.count_nonzero(weight))
            with torch.no_grad():
                weight *= mask.to(weight.device)
            changes.append(LayerChange(name, "weights", before, int(torch.count_nonzero(weight))))
        removed = {name: torch.nonzero(~mask.flatten()).flatten() for name, mask in masks.items()}
        return Pruned(sparse, sparse, removed, scores, tuple(changes), left_out, 0.0)

    def _masks(self, scores: Scores) -> dict[str, Tensor]:
        pattern = self.config.pattern
        if pattern is not None:
            return {name: n_of_m_mask(values, *pattern) for name, values in scores.items()}
        removed = select(scores, self.config)
        return {name: unstructured_mask(values.shape, removed[name]) for name, values in scores.items()}

    def _scores(self, layers: Collection[str], norms: Mapping[str, str], table: Mapping[str, Criterion]) -> Scores:
        criterion = self.criterion or criterion_named(self.config.chosen_criterion, table)
        # On a copy: whatever a criterion does to the network, the user's stays as it is.
        module = deepcopy(self.module).eval().requires_grad_(True)
        parts: dict[str, Any] = dict(_network(module).named_modules())
        evidence = Evidence(
            module=module,
            layers={name: parts[name] for name in layers},
            norms={name: parts[norm] for name, norm in norms.items()},
            natural=self.natural,
            robust=self.robust,
            batch_size=self.config.batch_size,
            generator=generator_for(self.config.seed, _RANDOM),
            progress=self.progress,
        )
        scores = criterion(evidence)
        _check_scores(scores, evidence, one_a_filter=self.config.granularity == "filters")
        return scores


def _by_reason(left_out: Mapping[str, str]) -> str:
    """Every reason once, with the first layers that it holds for."""
    layers: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        layers.setdefault(reason, []).append(name)
    return "; ".join(
        f"{', '.join(names[:_NAMED])}{f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''}: {reason}"
        for reason, names in layers.items()
    )


def _network(module: nn.Module) -> nn.Module:
    return module.network if isinstance(module, Normalized) else module


def _check_scores(scores: Scores, evidence: Evidence, *, one_a_filter: bool) -> None:
    """A user's criterion may return anything."""
    for name, layer in evidence.layers.items():
        shape = layer.weight.shape[:1] if one_a_filter else layer.weight.shape
        values = scores.get(name)
        if values is None or values.shape != shape or not bool(torch.isfinite(values).all()):
            got = "none" if values is None else f"{tuple(values.shape)}, finite: {bool(torch.isfinite(values).all())}"
            raise InputError(
                f"a criterion must give finite scores of shape {tuple(shape)} for {name}",
                got=got,
                key="--criterion",
                fix="look for layers that the loss does not reach, and for NaN in the network",
            )


def _remove(graph: FilterGraph, removed: Mapping[str, Tensor]) -> None:
    try:
        graph.remove(removed)
    except (RuntimeError, ValueError, IndexError, KeyError, AssertionError) as error:
        raise InputError(
            "the dependencies of the network's filters must be ones that torch-pruning can follow",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            key="--model",
            fix="exclude the layers that it stumbles over, or leave --coupled out",
        ) from error


def _compared(small: nn.Module, zeroed: nn.Module, natural: Labelled) -> float:
    """Largest difference of a logit, float32. Raises InputError if the two are different functions."""
    pixels = natural.images[:_COMPARED_IMAGES].float() / 255
    pixels = pixels.to(next(zeroed.parameters()).device)
    try:
        with torch.no_grad():
            difference = float((small(pixels) - zeroed(pixels)).abs().max())
            exact = zeroed.double()(pixels.double())
            apart = float((small.double()(pixels.double()) - exact).abs().max())
            scale = max(1.0, float(exact.abs().max()))
    except RuntimeError as error:
        raise InputError(
            "a network must run with fewer filters",
            got=(str(error).splitlines() or [""])[0],
            key="--model",
            fix="its forward pass names a number of channels; exclude that layer, or compute the number",
        ) from error
    finally:
        small.float(), zeroed.float()
    if not apart <= _EXACT * scale:
        raise InputError(
            "removing filters must be the same as setting them to zero",
            got=f"logits that differ by {apart:.3g} in float64",
            key="--model",
            fix="an activation that is not 0 at 0, or a padding of channels, lies behind a pruned layer; exclude it",
        )
    return difference
