"""A defended network on disk: the same network again, with its exact base, in another process too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codesign.defenses.neni import DefendedModel, NeniSettings, defend
from codesign.defenses.neni.saving import DEFENDED_FILE, load_defended, save_defended
from codesign.defenses.neni.wrapping import defended_layers
from codesign.errors import InputError
from codesign.models import loading
from codesign.models.loading import LoadedModel, load_model
from codesign.models.normalization import Normalization
from codesign.models.tracing import trace
from codesign.models.zoo import ZooEntry, registry
from codesign.models.zoo.vit import VisionTransformer, ViTShape


def defended_of(base: LoadedModel, images: Tensor, **settings: object) -> DefendedModel:
    chosen = NeniSettings(**{"dimension": 3, "batch_size": 16} | settings)  # type: ignore[arg-type]
    traced = trace(base.module, base.input_shape)
    return defend(base.module, traced, images, chosen, torch.Generator().manual_seed(5))


@pytest.fixture
def base(network: nn.Module, images: Tensor) -> LoadedModel:
    """As a user's factory gives it: not of the zoo, without normalisation."""
    return LoadedModel("own.py:make", network, (3, 12, 12), 5, None, {"kind": "factory", "factory": "own.py:make"})


@pytest.mark.parametrize(
    "settings",
    [
        {"share": 0.3},
        {"selection": "n_of_m", "group": (1, 2), "exact_layers": ("stem.conv2d", "head.linear", "hidden.linear")},
        {"selection": "threshold", "straight_through": True},
        {"selection": "threshold", "share": 1.0},
        {"control": "quantized", "layer_shares": {"hidden.linear": 0.7}},
        {"precision": "none", "passes": 2},
    ],
)
def test_it_is_the_same_network_again(
    base: LoadedModel, images: Tensor, tmp_path: Path, settings: dict[str, object]
) -> None:
    traced = trace(base.module, base.input_shape)
    names = {layer.name.partition(".")[0]: layer.name for layer in traced.layers}
    named = dict(settings)
    if "exact_layers" in named:
        named["exact_layers"] = tuple(names[name] for name in ("stem", "head", "hidden"))
    if "layer_shares" in named:
        named["layer_shares"] = {names["hidden"]: 0.7}
    defended = defended_of(base, images, **named)
    path = save_defended(tmp_path / "made", defended, base, origin={"seed": 5})
    found = load_defended(path)
    assert found.defended.settings == defended.settings
    assert found.defended.record() == defended.record()
    assert found.defended.layers == defended.layers
    assert found.origin == {"seed": 5}
    plans = [[layer.plan for layer in defended_layers(module)] for module in (found.defended.module, defended.module)]
    assert plans[0] == plans[1]
    state, want = found.defended.module.state_dict(), defended.module.state_dict()
    assert list(state) == list(want)
    assert all(torch.equal(state[key], want[key]) and state[key].dtype == want[key].dtype for key in want)
    with torch.no_grad():
        assert torch.equal(found.defended.module(images), defended.module(images))
        assert torch.equal(found.base.module(images), base.module(images))
    assert not found.defended.module.training
    assert not found.base.module.training


def test_a_zoo_network_with_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, shape = "vit_small_test", (3, 8, 8)
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    entry = ZooEntry(
        name,
        lambda classes: VisionTransformer(
            ViTShape(image=8, patch=4, layers=1, heads=2, width=12, mlp_width=16), classes
        ),
        shape,
        4,
        normalization,
        "a test",
    )
    for module in (registry, loading):
        monkeypatch.setattr(module, "ZOO", {**registry.ZOO, name: entry})
    base = load_model(name, checkpoint="random:0")
    images = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0))
    defended = defended_of(base, images)
    path = save_defended(tmp_path, defended, base)
    loaded = load_model(str(path))
    with torch.no_grad():
        assert torch.equal(loaded.module(images), defended.module(images))
        assert torch.equal(load_defended(path).base.module(images), base.module(images))
    assert (loaded.input_shape, loaded.num_classes, loaded.normalization) == (shape, 4, normalization)
    assert loaded.source["kind"] == "defended"
    assert loaded.source["base"]["factory"] == name
    assert any("in_proj.weight" in key for key in loaded.module.state_dict())


def test_another_process_loads_it(base: LoadedModel, images: Tensor, tmp_path: Path) -> None:
    defended = defended_of(base, images, selection="threshold")
    path = save_defended(tmp_path, defended, base)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; from codesign.models.loading import load_model\n"
        "images = torch.load(sys.argv[2]); torch.set_num_threads(1)\n"
        "with torch.no_grad(): torch.save(load_model(sys.argv[1]).module(images), sys.argv[3])"
    )
    out = tmp_path / "logits.pt"
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "images.pt"), str(out)], check=True)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(out), defended.module(images))


def test_a_network_that_no_file_can_describe(images: Tensor, tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(432, 8), nn.Linear(8, 5)
            self.third = nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.second(self.first(x.flatten(1))))
            out: Tensor = self.third(x if x.sum() > -1 else -x)
            return out

    base = LoadedModel("branching", Branching().eval(), (3, 12, 12), 5, None, {"kind": "factory"})
    module = nn.Sequential(nn.Flatten(), nn.Linear(432, 8), nn.Linear(8, 6), nn.Linear(6, 5)).eval()
    defended = defended_of(LoadedModel("plain", module, (3, 12, 12), 5, None), images)
    with pytest.raises(InputError, match="described by PyTorch's own modules"):
        save_defended(tmp_path, defended, base)


@pytest.fixture
def saved(base: LoadedModel, images: Tensor, tmp_path: Path) -> Path:
    return save_defended(tmp_path, defended_of(base, images), base)


def edited(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_damaged_and_foreign_files(saved: Path) -> None:
    weights = saved.with_suffix(".safetensors")
    content, tensors = saved.read_text(), weights.read_bytes()
    with pytest.raises(InputError, match="format codesign-neni"):
        load_defended(edited(saved, version=99))
    saved.write_text(content[: len(content) // 2])
    with pytest.raises(InputError, match="readable JSON"):
        load_defended(saved)
    # Not known for what it is, the reader of network files says what is wrong.
    with pytest.raises(InputError, match="readable JSON"):
        load_model(str(saved))
    saved.write_text(content)
    with pytest.raises(InputError, match="must be complete"):
        load_defended(edited(saved, layers=[{"path": "plain"}]))
    saved.write_text(content)
    layers = json.loads(content)["layers"]
    with pytest.raises(InputError, match="layers that were defended"):
        load_defended(edited(saved, layers=[layers[0] | {"path": "nowhere"}]))
    saved.write_text(content)
    with pytest.raises(InputError, match=r"share must lie in \(0, 1\]"):
        load_defended(edited(saved, settings=json.loads(content)["settings"] | {"share": 2}))
    saved.write_text(content)
    weights.write_bytes(tensors[:-1])
    with pytest.raises(InputError, match="complete safetensors"):
        load_defended(saved)
    other = bytearray(tensors)
    other[-1] ^= 1
    weights.write_bytes(bytes(other))
    with pytest.raises(InputError, match="those that it was written with"):
        load_defended(saved)
    weights.unlink()
    with pytest.raises(InputError, match="readable file"):
        load_defended(saved)
    with pytest.raises(InputError, match="readable JSON"):
        load_defended(saved.with_name("missing.json"))


def test_it_brings_its_own_weights_and_shape(saved: Path) -> None:
    assert saved.name == DEFENDED_FILE
    assert load_model(str(saved), input_shape=(3, 12, 12), num_classes=5).num_classes == 5
    with pytest.raises(InputError, match="brings its weights"):
        load_model(str(saved), checkpoint=saved.with_suffix(".safetensors"))
    with pytest.raises(InputError, match="brings its weights"):
        load_model(str(saved), input_shape=(3, 14, 14))
    with pytest.raises(InputError, match="6 logits"):
        load_model(str(saved), num_classes=6)
