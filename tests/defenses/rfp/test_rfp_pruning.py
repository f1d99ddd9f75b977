"""Removing filters is the same as setting them to zero, in every structure; what is chosen; what is refused."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rfp_networks import NETWORKS, SHAPE, Concatenated, Depthwise, Plain, Residual, labelled, made
from torch import Tensor, nn

from codesign.defenses.rfp.config import make_pruning_config
from codesign.defenses.rfp.criteria import CRITERIA
from codesign.defenses.rfp.evidence import Evidence, Scores
from codesign.defenses.rfp.filters import FilterGraph
from codesign.defenses.rfp.pruning import prune
from codesign.defenses.rfp.selection import select
from codesign.defenses.rfp.weights import n_of_m_mask
from codesign.errors import InputError
from codesign.models.normalization import Normalization, Normalized
from codesign.models.zoo import ZOO

DATA = labelled(12)
PIXELS = DATA.images.float() / 255

# Which batch norm scales and shifts what a layer makes: written down by hand, as the oracle of the graph.
NORMS_BEHIND = {
    Plain: {"conv1": ["bn1"]},
    Residual: {"stem": ["bn"], "conv1": ["bn1"], "conv2": ["bn2"]},
    Depthwise: {"expand": ["bn1", "depth", "bn2"]},
}


def zeroed_by_hand(network: nn.Module, removed: dict[str, Tensor]) -> nn.Module:
    copied = deepcopy(network)
    for name, indices in removed.items():
        for part in [name, *NORMS_BEHIND[type(network)].get(name, [])]:
            layer = copied.get_submodule(part)
            with torch.no_grad():
                layer.weight[indices] = 0
                if layer.bias is not None:
                    layer.bias[indices] = 0
    return copied


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"slimming", "gradient_difference"}))
@pytest.mark.parametrize("kind", [Plain, Residual, Depthwise])
def test_pruned_equals_zeroed_by_hand(kind: type[nn.Module], criterion: str) -> None:
    network = made(kind)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    result = prune(network, SHAPE, DATA, make_pruning_config({"criterion": criterion, "ratio": 0.4}))
    oracle = zeroed_by_hand(network, result.removed)
    with torch.no_grad():
        assert float((result.module(PIXELS) - oracle(PIXELS)).abs().max()) < 1e-5
        assert float((result.zeroed(PIXELS) - oracle(PIXELS)).abs().max()) < 1e-5
    assert result.difference < 1e-5
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    fewer = sum(p.numel() for p in result.module.parameters())
    assert fewer < sum(p.numel() for p in network.parameters())


@settings(max_examples=25)
@given(
    kind=st.sampled_from(NETWORKS),
    ratio=st.sampled_from([0.1, 0.3, 0.5, 0.7]),
    seed=st.integers(0, 99),
    coupled=st.booleans(),
)
def test_pruned_equals_zeroed_for_random_filters(kind: type[nn.Module], ratio: float, seed: int, coupled: bool) -> None:
    config = make_pruning_config({"criterion": "random", "ratio": ratio, "seed": seed, "coupled": coupled})
    network = made(kind, seed)
    result = prune(network, SHAPE, DATA, config)
    assert result.difference < 1e-5
    for change in result.layers:
        lost = int(ratio * change.before + 0.5)
        assert change.after == change.before - lost
        assert result.module.get_submodule(change.name).out_channels == change.after
    with torch.no_grad():
        assert float((result.module(PIXELS) - result.zeroed(PIXELS)).abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["resnet20", "resnet8_fmnist", "mobilenet_v2"])
@pytest.mark.parametrize("coupled", [False, True])
def test_networks_of_the_zoo(name: str, coupled: bool) -> None:
    entry = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = entry.build(10).eval()
    shape = entry.input_shape if entry.input_shape[1] < 100 else (3, 32, 32)
    data = labelled(2, shape=shape)
    result = prune(network, shape, data, make_pruning_config({"criterion": "l1_norm", "coupled": coupled}))
    assert result.difference < 1e-5
    inner = [change.name for change in result.layers]
    if name == "resnet20":
        # Its shortcuts pad channels, so that only inner convolutions can be pruned, coupled or not.
        assert inner == [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in (0, 1, 2)]
    if name == "resnet8_fmnist":
        assert len(inner) == (9 if coupled else 3)


def test_the_graph_finds_what_goes_together() -> None:
    groups = {group.name: group for group in FilterGraph(made(Residual), SHAPE).groups}
    assert set(groups["stem"].layers) == {"stem", "conv2"}
    assert groups["stem"].coupled
    assert groups["conv1"].layers == ("conv1",)
    assert [group.name for group in FilterGraph(made(Depthwise), SHAPE).groups] == ["expand", "project"]
    assert FilterGraph(made(Residual), SHAPE).norm_behind("conv2") == "bn2"
    assert FilterGraph(made(Concatenated), SHAPE).norm_behind("left") is None


def test_coupled_scores_are_sums() -> None:
    network = made(Residual)
    result = prune(network, SHAPE, DATA, make_pruning_config({"criterion": "l1_norm", "coupled": True}))
    expected = -sum(
        network.get_submodule(n).weight.detach().abs().flatten(1).sum(1).double() for n in ("stem", "conv2")
    )
    torch.testing.assert_close(result.scores["stem"], expected)
    kept = prune(network, SHAPE, DATA, make_pruning_config({"criterion": "l1_norm"}))
    assert set(kept.left_out) == {"stem", "conv2"}


def test_a_normalised_network_stays_normalised() -> None:
    network = Normalized(made(Plain), Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))
    result = prune(network, SHAPE, DATA, make_pruning_config({"exclude": ["network.conv2"]}))
    assert isinstance(result.module, Normalized)
    assert [change.name for change in result.layers] == ["conv1"]
    assert result.left_out == {"conv2": "excluded by name"}


def test_a_users_criterion_is_a_function() -> None:
    def first_filters(evidence: Evidence) -> Scores:
        return {name: -torch.arange(len(layer.weight), dtype=torch.float64) for name, layer in evidence.layers.items()}

    config = make_pruning_config({"ratio": 0.25})
    result = prune(made(Plain), SHAPE, DATA, config, criterion=first_filters)
    assert result.removed["conv1"].tolist() == [0, 1]
    with pytest.raises(InputError, match=r"finite scores of shape \(8,\) for conv1 \(got none\)"):
        prune(made(Plain), SHAPE, DATA, config, criterion=lambda _evidence: {})
    with pytest.raises(InputError, match="finite: False"):
        bad = {"conv1": torch.full((8,), torch.nan), "conv2": torch.zeros(6)}
        prune(made(Plain), SHAPE, DATA, config, criterion=lambda _evidence: bad)


def test_the_highest_scores_go_and_ties_go_to_the_first() -> None:
    scores = {"a": torch.tensor([1.0, 3.0, 3.0, 3.0, 0.0]), "b": torch.tensor([5.0, 1.0])}
    config = make_pruning_config({"ratio": 0.4, "layer_ratios": {"b": 0.5}})
    removed = select(scores, config)
    assert removed["a"].tolist() == [1, 2]
    assert removed["b"].tolist() == [0]


@given(seed=st.integers(0, 999), ratio=st.floats(0.05, 0.6))
def test_a_global_ratio_holds_over_all_layers(seed: int, ratio: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {str(n): torch.rand(n, generator=generator, dtype=torch.float64) * 10.0**n for n in (4, 7, 9)}
    config = make_pruning_config({"ratio": ratio, "scope": "global", "max_layer_ratio": 0.75})
    removed = select(scores, config)
    assert sum(len(part) for part in removed.values()) == int(ratio * 20 + 0.5)
    scaled = {name: values / values.norm() for name, values in scores.items()}
    gone = [float(scaled[name][i]) for name, part in removed.items() for i in part]
    # What stays though it scores higher stays because its layer has lost its share.
    for name, values in scaled.items():
        if len(removed[name]) < int(0.75 * len(values)):
            left = [float(v) for i, v in enumerate(values) if i not in removed[name].tolist()]
            assert not gone or max(left) <= min(gone) + 1e-12


@given(
    size=st.integers(1, 80),
    ratio=st.floats(0.0, 0.9),
    multiple=st.sampled_from([2, 3, 8]),
    scope=st.sampled_from(["layer", "global"]),
)
def test_what_stays_is_a_multiple(size: int, ratio: float, multiple: int, scope: str) -> None:
    scores = {"a": torch.arange(size, dtype=torch.float64), "b": torch.arange(16, dtype=torch.float64)}
    values = {"ratio": max(ratio, 0.01), "multiple": multiple, "scope": scope, "max_layer_ratio": 0.95}
    try:
        exact = select(scores, make_pruning_config(values | {"multiple": 1}))
    except InputError:
        return  # refused before anything is rounded
    rounded = select(scores, make_pruning_config(values))
    for name, scored in scores.items():
        kept, wanted = len(scored) - len(rounded[name]), len(scored) - len(exact[name])
        assert kept == len(scored) or (
            kept % multiple == 0 and abs(kept - wanted) <= max(multiple / 2, multiple - wanted)
        )
        # The highest scores go, as many as it may be.
        assert rounded[name].tolist() == list(range(kept, len(scored)))


def test_ratios_that_empty_a_layer() -> None:
    with pytest.raises(InputError, match=r"would empty conv1 \(8\), conv2 \(6\).*--max-layer-ratio"):
        prune(made(Plain), SHAPE, DATA, make_pruning_config({"ratio": 0.97}))
    with pytest.raises(InputError, match="would empty conv2"):
        prune(made(Plain), SHAPE, DATA, make_pruning_config({"layer_ratios": {"conv2": 1.0}}))
    with pytest.raises(InputError, match="would empty"):
        prune(made(Plain), SHAPE, DATA, make_pruning_config({"ratio": 1.0, "scope": "global"}))
    with pytest.raises(InputError, match=r"--max-layer-ratio.*7 to remove"):
        prune(made(Plain), SHAPE, DATA, make_pruning_config({"ratio": 0.5, "scope": "global", "max_layer_ratio": 0.3}))


class Shifted(Plain):
    """An activation that is 1 at 0: a zeroed filter still speaks."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cos(self.bn1(self.conv1(x)))
        return self.fc(torch.flatten(torch.relu(self.conv2(x)), 1))


class Grouped(nn.Module):
    """The second convolution has two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(SHAPE[0], 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)))


class Attending(nn.Module):
    """A convolution whose channels are the embedding of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(SHAPE[0], 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        return self.fc((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Padded(nn.Module):
    """A shortcut whose channels are padded with zeros (He et al. 2016, option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(SHAPE[0], 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        x = self.conv2(x) + torch.nn.functional.pad(x, (0, 0, 0, 0, 2, 2))
        return self.fc(x.mean((2, 3)))


class Sized(Plain):
    """A forward pass that names a number of channels."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x))).reshape(-1, 8, 8, 8)
        return self.fc(torch.flatten(torch.relu(self.conv2(x)), 1))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Shifted, {}, "removing filters must be the same as setting them to zero"),
        (Sized, {}, "names a number of channels|dependencies of the network's filters"),
        (Plain, {"exclude": ["conv3"]}, r"--exclude: a name must fit a layer \(got conv3\)"),
        (Plain, {"exclude": ["*"]}, "excluded by name"),
        (Plain, {"layer_ratios": {"fc": 0.5}}, "--layer-ratio"),
        (nn.Flatten, {}, "only a network with convolutions"),
        (Grouped, {"exclude": ["conv1"]}, r"conv2: a grouped convolution \(2 groups\)"),
        (Attending, {}, "go into or come out of attention.*--granularity weights"),
        (Padded, {}, "padded, sliced or reordered"),
    ],
)
def test_networks_and_names_that_do_not_fit(kind: type[nn.Module], values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(made(kind), SHAPE, DATA, make_pruning_config(values))


def test_images_of_another_shape() -> None:
    with pytest.raises(InputError, match=r"--data.*\(3, 8, 8\).*\(1, 8, 8\)"):
        prune(made(Plain), SHAPE, labelled(3, shape=(1, 8, 8)), make_pruning_config({}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0.0}, "--ratio.*greater than 0"),
        ({"ratio": 1.5}, "--ratio.*less than or equal to 1"),
        ({"granularity": "4:2"}, "--granularity.*0 < N < M"),
        ({"granularity": "channels"}, "--granularity.*filters, weights"),
        ({"granularity": "2:4", "ratio": 0.5}, "an N:M pattern fixes"),
        ({"layer_ratios": {"a": 2.0}}, "--layer-ratios.*0 .. 1"),
        ({"scope": "locally"}, "--scope.*'layer' or 'global'"),
        ({"criterium": "l1_norm"}, "unknown key 'criterium'; did you mean criterion"),
    ],
)
def test_bad_configs(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_pruning_config(values)


@pytest.mark.parametrize("criterion", ["l1_norm", "weight_gradient", "weight_times_gradient", "lowest_gradient"])
def test_unstructured_weights(criterion: str) -> None:
    network = made(Plain)
    config = make_pruning_config({"granularity": "weights", "ratio": 0.5, "criterion": criterion, "exclude": ["fc"]})
    result = prune(network, SHAPE, DATA, config)
    for change in result.layers:
        weight = result.module.get_submodule(change.name).weight
        zeros = weight == 0
        assert int(zeros.sum()) == int(0.5 * weight.numel() + 0.5) == change.before - change.after
        assert torch.equal(weight[~zeros], network.get_submodule(change.name).weight[~zeros])
        if criterion == "l1_norm":
            before = network.get_submodule(change.name).weight.detach().abs()
            assert float(before[zeros].max()) <= float(before[~zeros].min())
    assert torch.equal(result.module.fc.weight, network.fc.weight)


def test_two_of_four_along_the_input_channels() -> None:
    network = made(Residual)
    result = prune(network, SHAPE, DATA, make_pruning_config({"granularity": "2:4"}))
    assert result.left_out == {"stem": "3 input channels, no multiple of 4"}
    weight, before = result.module.conv2.weight.detach(), network.conv2.weight.detach()
    for f in range(8):
        for c in range(0, 12, 4):
            for r in range(3):
                for s in range(3):
                    kept = {c + i for i in range(4) if weight[f, c + i, r, s] != 0}
                    order = sorted(range(c, c + 4), key=lambda i: -abs(float(before[f, i, r, s])))
                    assert kept == set(order[:2])


@given(n=st.integers(1, 3), groups=st.integers(1, 3), seed=st.integers(0, 99))
def test_n_of_m_keeps_the_lowest_scores(n: int, groups: int, seed: int) -> None:
    scores = torch.rand((2, 4 * groups, 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = n_of_m_mask(scores, n, 4)
    parts, kept = scores.reshape(2, groups, 4, 2), mask.reshape(2, groups, 4, 2)
    assert bool((kept.sum(2) == n).all())
    highest_kept = torch.where(kept, parts, -1.0).amax(2)
    lowest_gone = torch.where(kept, 2.0, parts).amin(2)
    assert bool((highest_kept <= lowest_gone).all())
