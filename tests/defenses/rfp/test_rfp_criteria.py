"""Every criterion against a plain reference: one image, one filter at a time, from its definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rfp_networks import Plain, Residual, labelled, made
from torch import Tensor, nn

from codesign.defenses.rfp.criteria import CRITERIA, criterion_named
from codesign.defenses.rfp.evidence import Evidence, Labelled, Scores
from codesign.errors import InputError

NATURAL, ROBUST = labelled(7, seed=1), labelled(5, seed=2)


def evidence(network: nn.Module, robust: Labelled | None = ROBUST, seed: int = 0) -> Evidence:
    layers = {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}
    known = {"conv1": "bn1", "conv2": "bn2", "stem": "bn"}
    parts = dict(network.named_modules())
    norms = {name: parts[known[name]] for name in layers if known[name] in parts}
    return Evidence(
        module=network,
        layers=layers,
        norms=norms,
        natural=NATURAL,
        robust=robust,
        batch_size=3,
        generator=torch.Generator().manual_seed(seed),
    )


def map_gradients(network: nn.Module, name: str, pixels: Tensor, label: Tensor) -> Tensor:
    """dL/da of one image: the layer's output is replaced by a leaf that starts at the same value."""
    layer = network.get_submodule(name)
    kept: list[Tensor] = []

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[0] * 1

    handle = layer.register_forward_hook(replace)
    loss = F.cross_entropy(network(pixels[None]), label[None])
    handle.remove()
    return torch.autograd.grad(loss, kept[0])[0][0]


def mean_gradient_size(network: nn.Module, name: str, data: Labelled) -> list[float]:
    totals = [0.0] * network.get_submodule(name).weight.shape[0]
    for image, label in zip(data.images, data.labels, strict=True):
        gradient = map_gradients(network, name, image.float() / 255, label)
        for f in range(len(totals)):
            totals[f] += float(np.abs(gradient[f].numpy()).sum())
    return [total / len(data.images) for total in totals]


def weight_gradient_of(network: nn.Module, name: str) -> Tensor:
    layer = network.get_submodule(name)
    total = torch.zeros_like(layer.weight)
    for image, label in zip(NATURAL.images, NATURAL.labels, strict=True):
        network.zero_grad()
        F.cross_entropy(network(image[None].float() / 255), label[None]).backward()
        total += layer.weight.grad
    return total / len(NATURAL.images)


def reference_activation(network: nn.Module, name: str) -> list[float]:
    return mean_gradient_size(network, name, NATURAL)


def reference_lowest(network: nn.Module, name: str) -> list[float]:
    return [-score for score in mean_gradient_size(network, name, NATURAL)]


def reference_difference(network: nn.Module, name: str) -> list[float]:
    robust = mean_gradient_size(network, name, ROBUST)
    return [a - b for a, b in zip(mean_gradient_size(network, name, NATURAL), robust, strict=True)]


def reference_weight_gradient(network: nn.Module, name: str) -> list[float]:
    return [float(np.sqrt((one.numpy() ** 2).sum())) for one in weight_gradient_of(network, name)]


def reference_product(network: nn.Module, name: str) -> list[float]:
    weight = network.get_submodule(name).weight.detach()
    gradient = weight_gradient_of(network, name)
    return [float(np.abs((w * g).numpy()).sum()) for w, g in zip(weight, gradient, strict=True)]


def reference_l1(network: nn.Module, name: str) -> list[float]:
    return [-float(np.abs(one.detach().numpy()).sum()) for one in network.get_submodule(name).weight]


def reference_fpgm(network: nn.Module, name: str) -> list[float]:
    filters = network.get_submodule(name).weight.detach().double().flatten(1).numpy()
    return [-sum(float(np.sqrt(((a - b) ** 2).sum())) for b in filters) for a in filters]


def reference_slimming(network: nn.Module, name: str) -> list[float]:
    return [-abs(float(scale)) for scale in network.get_submodule(name.replace("conv", "bn")).weight.detach()]


def reference_hrank(network: nn.Module, name: str) -> list[float]:
    parts = dict(network.named_modules())
    place = parts.get({"stem": "bn"}.get(name, name.replace("conv", "bn")), parts[name])
    maps: list[Tensor] = []
    handle = place.register_forward_hook(lambda _module, _inputs, output: maps.append(output.detach().clone()))
    ranks = []
    for image in NATURAL.images:
        maps.clear()
        network(image[None].float() / 255)
        ranks.append([np.linalg.matrix_rank(np.maximum(one.numpy(), 0)) for one in maps[0][0]])
    handle.remove()
    return [-float(value) for value in np.mean(ranks, axis=0)]


REFERENCES: dict[str, Callable[[nn.Module, str], list[float]]] = {
    "activation_gradient": reference_activation,
    "lowest_gradient": reference_lowest,
    "gradient_difference": reference_difference,
    "weight_gradient": reference_weight_gradient,
    "weight_times_gradient": reference_product,
    "l1_norm": reference_l1,
    "fpgm": reference_fpgm,
    "hrank": reference_hrank,
}


@pytest.mark.parametrize("kind", [Plain, Residual])
@pytest.mark.parametrize("name", REFERENCES)
def test_criterion_is_what_its_definition_says(name: str, kind: type[nn.Module]) -> None:
    network = made(kind)
    given = evidence(network)
    scores = CRITERIA[name](given)
    assert set(scores) == set(given.layers)
    for layer, values in scores.items():
        np.testing.assert_allclose(values.numpy(), REFERENCES[name](network, layer), rtol=1e-4, atol=1e-6)


def test_slimming_reads_the_scales_and_needs_them() -> None:
    network = made(Residual)
    scores = CRITERIA["slimming"](evidence(network))
    for layer in ("conv1", "conv2"):
        np.testing.assert_allclose(scores[layer].numpy(), reference_slimming(network, layer))
    with pytest.raises(InputError, match=r"slimming needs a batch norm.*conv2"):
        CRITERIA["slimming"](evidence(made(Plain)))


def test_random_is_seeded_and_leaves_the_global_generator() -> None:
    network = made(Plain)
    before = torch.random.get_rng_state()
    draws = [CRITERIA["random"](evidence(network, seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(draws[0]["conv1"], draws[1]["conv1"])
    assert not torch.equal(draws[0]["conv1"], draws[2]["conv1"])


def test_every_criterion_has_a_reference() -> None:
    assert set(CRITERIA) == {*REFERENCES, "slimming", "random"}


@pytest.mark.parametrize("name", CRITERIA)
def test_batches_do_not_matter_and_nothing_is_left_behind(name: str) -> None:
    network = made(Residual)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    small = evidence(network)
    whole = Evidence(
        module=network,
        layers=small.layers,
        norms=small.norms,
        natural=NATURAL,
        robust=ROBUST,
        batch_size=100,
        generator=torch.Generator().manual_seed(0),
    )
    first: Scores = CRITERIA[name](small)
    second = CRITERIA[name](whole)
    for layer, values in first.items():
        torch.testing.assert_close(values, second[layer], rtol=1e-4, atol=1e-7)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    assert all(not part._forward_hooks for part in network.modules())


def test_a_difference_needs_the_robust_dataset() -> None:
    with pytest.raises(InputError, match=r"--robust-data.*make-robust-dataset"):
        CRITERIA["gradient_difference"](evidence(made(Plain), robust=None))


def test_an_unknown_criterion_is_answered_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean activation_gradient"):
        criterion_named("activation_gradients")
