"""A network saved as data loads without its code: same function, same names, and nothing but data in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.description import DescribedNetwork, describe
from codesign.models.loading import load_model
from codesign.models.normalization import Normalization, Normalized
from codesign.models.saved import read_network, save_network
from codesign.models.tracing import trace
from codesign.models.zoo import ZOO

SMALL = ("resnet8_fmnist", "resnet20", "vit_tiny_cifar")


def zoo_network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ZOO[name].build(10).eval()


@pytest.mark.parametrize("name", SMALL)
def test_a_saved_network_is_the_same_function(name: str, tmp_path: Path) -> None:
    network, shape = zoo_network(name), ZOO[name].input_shape
    path = save_network(tmp_path / "network.json", network, shape, origin={"made": "here"})
    loaded = load_model(str(path))
    pixels = torch.rand((3, *shape), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded.module(pixels), network(pixels))
    assert loaded.input_shape == shape
    assert loaded.normalization == ZOO[name].normalization
    assert loaded.source["origin"] == {"made": "here"}
    assert set(loaded.module.state_dict()) == set(network.state_dict())


def test_layers_are_traced_alike(tmp_path: Path) -> None:
    network, shape = zoo_network("resnet20"), ZOO["resnet20"].input_shape
    path = save_network(tmp_path / "network.json", network, shape, origin={})
    assert trace(load_model(str(path)).module, shape).layers == trace(network, shape).layers


def test_batches_of_any_size_gradients_and_training_mode(tmp_path: Path) -> None:
    network = zoo_network("resnet8_fmnist")
    path = save_network(tmp_path / "network.json", network, (1, 28, 28), origin={})
    again = load_model(str(path)).module.train().requires_grad_(True)
    network.train()
    pixels = torch.rand((5, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    for module in (again, network):
        module(pixels).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in again.named_parameters()}
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


class Functions(nn.Module):
    """Slices, concatenation, padding, shapes, reductions, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.scale = nn.Parameter(torch.full((1, 8, 1, 1), 2.0))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = torch.cat([x, F.pad(x[:, 1:3, ...], (0, 0, 0, 0, 1, 1))], 1) * self.scale
        x = F.gelu(x).view(x.size(0), x.shape[1], -1).mean(dim=-1, keepdim=False)
        return self.fc(-x + 1)


def test_functions_and_arguments_of_every_kind(tmp_path: Path) -> None:
    network = Functions().eval()
    module = Normalized(network, Normalization((0.5,), (0.25,)))
    path = save_network(tmp_path / "n.json", module, (3, 9, 9), origin={})
    pixels = torch.rand((4, 3, 9, 9))
    with torch.no_grad():
        assert torch.equal(load_model(str(path)).module(pixels), module(pixels))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Foreign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x)


class Unusual(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.PixelShuffle(2))


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Branching, "TraceError.*pt2"), (Foreign, "the function.*inv"), (Unusual, "PixelShuffle at 0")],
)
def test_what_cannot_be_described(kind: type[nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(kind())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_network(tmp_path / "network.json", zoo_network("resnet8_fmnist"), (1, 28, 28), origin={})


def edited(path: Path, **changes: Any) -> str:
    document = json.loads(path.read_text())
    for key, value in changes.items():
        place, *rest = key.split("__")
        if rest:
            document[place][int(rest[0]) if rest[0].isdecimal() else rest[0]].update(value)
        else:
            document[place] = value
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, "must have format codesign-network"),
        ({"version": 9}, "version 1"),
        ({"input_shape": [1, 28]}, "must be complete"),
        ({"steps": []}, "last step must be the output"),
        ({"steps__2": {"kind": "call_function", "target": "os.system"}}, "unknown target of a step.*os.system"),
        ({"steps__2": {"args": [{"step": "nothing"}]}}, "reads nothing, which no step makes"),
        ({"modules__conv1": {"type": "Conv7d"}}, "unknown module.*Conv7d"),
        ({"modules__conv1": {"arguments": {"in_channels": 1}}}, "Conv2d takes"),
        ({"weights": {"file": "network.safetensors", "sha256": "0" * 64}}, "those that it was written with"),
        ({"weights": {"file": "lost.safetensors", "sha256": "0" * 64}}, "readable file"),
    ],
)
def test_edited_files(saved: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(edited(saved, **changes))


def test_damaged_and_missing_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable JSON"):
        load_model(str(tmp_path / "none.json"))
    saved.write_text(saved.read_text()[:500])
    with pytest.raises(InputError, match="readable JSON"):
        load_model(str(saved))


def test_settings_that_a_file_brings_itself(saved: Path) -> None:
    with pytest.raises(InputError, match="--input-shape"):
        load_model(str(saved), input_shape=(3, 28, 28))
    with pytest.raises(InputError, match=r"--checkpoint.*random:0|random:0"):
        load_model(str(saved), checkpoint="random:0")
    other = saved.with_name("other.safetensors")
    other.write_bytes(saved.with_suffix(".safetensors").read_bytes())
    assert load_model(str(saved), checkpoint=other).source["weights"]["path"] == str(other)


def test_a_file_can_only_read_shapes(saved: Path) -> None:
    description = json.loads(saved.read_text())
    step = description["steps"][1]
    step.update(kind="call_function", target="tensor.attribute", args=[step["args"][0], "__class__"], kwargs={})
    with pytest.raises(ValueError, match="tensor's shape only"):
        DescribedNetwork(description)(torch.zeros(1, 1, 28, 28))


def test_reading_keeps_what_the_writer_said(saved: Path) -> None:
    read = read_network(saved)
    assert read.weights == saved.with_suffix(".safetensors")
    assert read.normalization == ZOO["resnet8_fmnist"].normalization
