"""The zoo: sizes and keys against published ones, and independent formulations of what is easy to get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codesign.errors import InputError
from codesign.models.loading import load_model
from codesign.models.normalization import Normalization, Normalized
from codesign.models.zoo import ZOO, zoo_entry
from codesign.models.zoo.resnet_cifar import PaddedShortcut
from codesign.models.zoo.vit import SelfAttention, ViTShape
from codesign.models.zoo.wide_resnet import WideResNet

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
SMALL = [name for name, entry in ZOO.items() if entry.input_shape[1] <= 32 and name != "wrn_28_10"]


def on_meta(name: str) -> nn.Module:
    entry = zoo_entry(name)
    with torch.device("meta"):
        return entry.factory(entry.num_classes)


# Parameters as torchvision documents them for its models; RobustBench's count for WRN-28-10; for the CIFAR networks of
# He et al. the sum over layers (table 6 of the paper: 0.27 M and 0.85 M).
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "mobilenet_v2": 3_504_872,
    "vit_b_16": 86_567_656,
    "wrn_28_10": 36_479_194,
    "resnet20": 269_722,
    "resnet56": 853_018,
    "resnet18_cifar": 11_173_962,
}

# Entries of torchvision's state_dicts.
ENTRIES = {"resnet18": 122, "resnet50": 320, "vgg16": 32, "mobilenet_v2": 314, "vit_b_16": 152}

KEYS = {
    "resnet18": {"layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer4.1.bn2.running_var": (512,)},
    "resnet50": {"layer1.0.conv3.weight": (256, 64, 1, 1), "layer4.2.conv2.weight": (512, 512, 3, 3)},
    "vgg16": {
        "features.28.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.6.bias": (1000,),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.18.1.weight": (1280,),
        "classifier.1.weight": (1000, 1280),
    },
    "vit_b_16": {
        "class_token": (1, 1, 768),
        "conv_proj.weight": (768, 3, 16, 16),
        "encoder.pos_embedding": (1, 197, 768),
        "encoder.layers.encoder_layer_11.self_attention.in_proj_weight": (2304, 768),
        "encoder.layers.encoder_layer_0.mlp.3.weight": (768, 3072),
        "encoder.ln.bias": (768,),
        "heads.head.weight": (1000, 768),
    },
    "wrn_28_10": {
        "block1.layer.0.convShortcut.weight": (160, 16, 1, 1),
        "block3.layer.3.conv2.weight": (640, 640, 3, 3),
        "bn1.weight": (640,),
        "fc.weight": (10, 640),
    },
    "resnet20": {"layer3.2.conv2.weight": (64, 64, 3, 3), "linear.weight": (10, 64)},
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_published_parameter_counts(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == count


@pytest.mark.parametrize(("name", "count"), ENTRIES.items())
def test_torchvision_state_dict_sizes(name: str, count: int) -> None:
    assert len(on_meta(name).state_dict()) == count


@pytest.mark.parametrize(("name", "keys"), KEYS.items())
def test_state_dict_keys_and_shapes(name: str, keys: dict[str, tuple[int, ...]]) -> None:
    state = on_meta(name).state_dict()
    assert {key: tuple(state[key].shape) for key in keys} == keys


def test_small_network_fits_a_megabyte() -> None:
    """Formula of the network's size: convolutions, two batch norm values a channel, the classifier."""
    widths = (24, 48, 96)
    stem = 9 * 24 + 2 * 24
    blocks = sum(9 * c * w + 9 * w * w + 4 * w for c, w in zip((24, 24, 48), widths, strict=True))
    projections = sum(c * w + 2 * w for c, w in zip((24, 48), widths[1:], strict=True))
    count = sum(parameter.numel() for parameter in on_meta("resnet8_fmnist").parameters())
    assert count == stem + blocks + projections + 96 * 10 + 10
    assert 4 * count < 1_000_000


@pytest.mark.parametrize("name", ZOO)
def test_entries_are_consistent(name: str) -> None:
    entry = zoo_entry(name)
    assert entry.name == name
    assert len(entry.normalization.mean) == entry.input_shape[0]
    assert entry.source
    assert entry.normalization.source
    with torch.device("meta"):
        model = entry.build().eval()
        assert model(torch.rand(2, *entry.input_shape)).shape == (2, entry.num_classes)
        assert entry.build(7)(torch.rand(2, *entry.input_shape)).shape == (2, 7)


def test_unknown_name_is_answered_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"unknown model \(got resnet-18\); did you mean resnet18"):
        zoo_entry("resnet-18")


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_pixels_and_all_parameters(name: str) -> None:
    model = load_model(name, checkpoint="random:0").module
    pixels = torch.rand(2, *zoo_entry(name).input_shape, requires_grad=True)
    model(pixels).square().sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["resnet8_fmnist", "resnet20", "vit_tiny_cifar"])
def test_exports_with_a_dynamic_batch(name: str) -> None:
    model = load_model(name, checkpoint="random:0").module
    shape = zoo_entry(name).input_shape
    program = torch.export.export(model, (torch.rand(2, *shape),), dynamic_shapes=({0: torch.export.Dim("n")},))
    pixels = torch.rand(3, *shape)
    with torch.no_grad():
        assert torch.allclose(program.module()(pixels), model(pixels), atol=1e-5)


def test_attention_equals_torchs_own() -> None:
    ours, theirs = SelfAttention(24, 3), nn.MultiheadAttention(24, 3, batch_first=True)
    state = {key: torch.randn_like(value) for key, value in ours.state_dict().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 24)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-4)


def test_padded_shortcut_by_hand() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    out = PaddedShortcut(2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert out[0, 2].tolist() == [[16, 18], [24, 26]]
    assert not out[0, 0].any()
    assert not out[0, 3].any()


@pytest.mark.parametrize("depth", [4, 9, 27])
def test_depth_of_wide_networks(depth: int) -> None:
    with pytest.raises(ValueError, match=r"6n \+ 4"):
        WideResNet(depth, 1, 10)


def test_vit_shape_is_checked() -> None:
    assert ViTShape(224, 16, 12, 12, 768, 3072).tokens == 197
    with pytest.raises(ValueError, match="must divide"):
        ViTShape(32, 5, 1, 3, 192, 768)


def test_normalized_is_an_affine_map_before_the_network() -> None:
    normalization = Normalization((0.5, 0.25), (0.2, 0.1))
    model = Normalized(nn.Identity(), normalization)
    pixels = torch.rand(3, 2, 4, 4)
    expected = (pixels.numpy() - np.array([0.5, 0.25]).reshape(1, 2, 1, 1)) / np.array([0.2, 0.1]).reshape(1, 2, 1, 1)
    assert np.allclose(model(pixels).numpy(), expected, atol=1e-6)
    assert list(model.state_dict()) == []
    assert normalization.record()["std"] == [0.2, 0.1]


@pytest.mark.parametrize(
    ("mean", "std"), [((), ()), ((0.5,), (0.5, 0.5)), ((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((0.5,), (float("nan"),))]
)
def test_bad_normalization(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="Normalization"):
        Normalization(mean, std)


@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="the trained CIFAR models are not here")
def test_resnet20_reaches_its_published_accuracy() -> None:
    loaded = load_model("resnet20", checkpoint=SHARED / "models" / "resnet20-12fca82f.th")
    data = np.load(SHARED / "cifar10" / "cifar10_test1000.npz")
    pixels = torch.from_numpy(data["x"]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        predicted = torch.cat([loaded.module(part).argmax(1) for part in pixels.split(250)]).numpy()
    assert (predicted == data["y"]).mean() == pytest.approx(0.915, abs=1e-9)


@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="the trained CIFAR models are not here")
def test_resnet56_checkpoint_fits() -> None:
    loaded = load_model("resnet56", checkpoint=SHARED / "models" / "resnet56-4bfd9763.th")
    data = np.load(SHARED / "cifar10" / "cifar10_test1000.npz")
    pixels = torch.from_numpy(data["x"][:100]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        assert (loaded.module(pixels).argmax(1).numpy() == data["y"][:100]).mean() > 0.9
