"""Loading: every accepted form gives the same numbers, everything else is one clear error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.loading import load_model
from codesign.models.normalization import Normalization, Normalized
from codesign.models.zoo import zoo_entry

NAME = "resnet8_fmnist"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return load_model(NAME, checkpoint="random:5").module


@pytest.fixture(scope="module")
def weights(model: nn.Module) -> dict[str, Tensor]:
    return {key.removeprefix("network."): value.clone() for key, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def logits(module: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = module(pixels)
        return out


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


CONTAINERS = {
    "plain": lambda w: w,
    "state_dict": lambda w: {"state_dict": w, "best_prec1": 91.5, "epoch": 3},
    "model": lambda w: {"model": w, "optimizer": {"lr": 0.1}},
    "net": lambda w: {"net": w},
    "nested twice": lambda w: {"checkpoint": 1, "model": {"state_dict": w}},
    "DataParallel": lambda w: prefixed(w, "module."),
    "compiled and parallel": lambda w: {"state_dict": prefixed(w, "module._orig_mod.")},
    "Normalized": lambda w: prefixed(w, "network."),
    "NumPy scalars": lambda w: {"model": w, "best": np.float64(0.9), "epoch": np.int64(3)},
    "float64": lambda w: {key: v.double() if v.is_floating_point() else v for key, v in w.items()},
    "before num_batches_tracked": lambda w: {key: v for key, v in w.items() if "num_batches" not in key},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th"])
def test_torch_checkpoints(
    tmp_path: Path, model: nn.Module, weights: dict[str, Tensor], pixels: Tensor, container: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(CONTAINERS[container](weights), path)
    loaded = load_model(NAME, checkpoint=path)
    assert torch.equal(logits(loaded.module, pixels), logits(model, pixels))
    assert next(loaded.module.parameters()).dtype == torch.float32
    assert loaded.source["weights"]["format"] == "torch.save"
    assert not loaded.module.training


def test_legacy_torch_format(tmp_path: Path, model: nn.Module, weights: dict[str, Tensor], pixels: Tensor) -> None:
    path = tmp_path / "weights.th"
    torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(logits(load_model(NAME, checkpoint=path).module, pixels), logits(model, pixels))


def test_safetensors(tmp_path: Path, model: nn.Module, weights: dict[str, Tensor], pixels: Tensor) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    loaded = load_model(NAME, checkpoint=path)
    assert torch.equal(logits(loaded.module, pixels), logits(model, pixels))
    assert loaded.source["weights"]["format"] == "safetensors"
    assert re.fullmatch("[0-9a-f]{64}", loaded.source["weights"]["sha256"])


def test_loaded_model_describes_itself(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights, path)
    loaded = load_model(NAME, checkpoint=path)
    assert (loaded.name, loaded.input_shape, loaded.num_classes) == (NAME, (1, 28, 28), 10)
    assert loaded.normalization == zoo_entry(NAME).normalization
    assert loaded.source["normalization"] == zoo_entry(NAME).normalization.record()
    assert loaded.source["weights"]["path"] == str(path)


def test_other_normalization_replaces_the_entrys(weights: dict[str, Tensor], tmp_path: Path, pixels: Tensor) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights, path)
    identity = Normalization((0.0,), (1.0,), "none")
    raw = load_model(NAME, checkpoint=path, normalization=identity)
    usual = load_model(NAME, checkpoint=path)
    entry = zoo_entry(NAME).normalization
    scaled = (pixels - entry.mean[0]) / entry.std[0]
    assert torch.allclose(logits(raw.module, scaled), logits(usual.module, pixels), atol=1e-5)
    assert raw.source["normalization"]["source"] == "none"


def test_vit_checkpoints_with_the_old_mlp_names(tmp_path: Path) -> None:
    module = load_model("vit_tiny_cifar", checkpoint="random:0").module
    old = {}
    for key, value in module.state_dict().items():
        old[key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")] = value
    assert len([key for key in old if "linear_2" in key]) == 24
    torch.save(old, tmp_path / "vit.pth")
    loaded = load_model("vit_tiny_cifar", checkpoint=tmp_path / "vit.pth")
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(logits(loaded.module, pixels), logits(module, pixels))


def changed(weights: dict[str, Tensor], **changes: Any) -> dict[str, Tensor]:
    return {**weights, **changes}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "fc.bias"}, r"1 missing: fc\.bias\)"),
        (lambda w: changed(w, extra=torch.zeros(1)), r"1 unexpected: extra\)"),
        (lambda w: w | {"fc.bias": torch.zeros(7)}, r"fc\.bias is \(7,\) instead of \(10,\)"),
        (lambda w: w | {"fc.bias": torch.full((10,), float("nan"))}, r"finite \(got NaN or infinity in fc\.bias\)"),
        (lambda _: {f"x{i}": torch.zeros(1) for i in range(30)}, r"x7, and 22 more"),
    ],
)
def test_checkpoint_of_another_model(tmp_path: Path, weights: dict[str, Tensor], edit: Any, message: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(edit(weights), path)
    with pytest.raises(InputError, match=message) as caught:
        load_model(NAME, checkpoint=path)
    assert caught.value.path == path


def test_other_number_of_classes(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pt"
    torch.save(weights, path)
    with pytest.raises(InputError, match=r"fc\.weight is \(10, 96\) instead of \(100, 96\).*number of classes"):
        load_model(NAME, checkpoint=path, num_classes=100)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_checkpoint_cannot_run_anything(tmp_path: Path) -> None:
    torch.save({"state_dict": Touch(tmp_path / "made")}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"no Python objects \(got .*mkdir\)"):
        load_model(NAME, checkpoint=tmp_path / "weights.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 3, 100, 20_000, -10])
def test_truncated_checkpoint(tmp_path: Path, weights: dict[str, Tensor], suffix: str, keep: int) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(weights, path)
    else:
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="the checkpoint must be") as caught:
        load_model(NAME, checkpoint=path)
    assert caught.value.path == path


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_file_without_weights(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match="mapping of keys to tensors"):
        load_model(NAME, checkpoint=path)


def test_text_file_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("not a checkpoint at all", encoding="utf-8")
    with pytest.raises(InputError, match=r"a file that torch\.save wrote \(got an incomplete"):
        load_model(NAME, checkpoint=tmp_path / "weights.pt")
    with pytest.raises(InputError, match="No such file"):
        load_model(NAME, checkpoint=tmp_path / "none.pt")


def test_random_weights_are_asked_for_and_recorded(pixels: Tensor) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (load_model(NAME, checkpoint=f"random:{seed}") for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.source["weights"] == {"kind": "random", "seed": 1}
    assert torch.equal(logits(first.module, pixels), logits(again.module, pixels))
    assert not torch.equal(logits(first.module, pixels), logits(other.module, pixels))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": NAME}, "ships without weights.*random:SEED.*fmnist_resnet8_natural"),
        ({"model": NAME, "checkpoint": "random:"}, "random:0"),
        ({"model": NAME, "checkpoint": "random:-1"}, "random:0"),
        ({"model": "resnet21"}, "zoo name, module:factory.*did you mean resnet20"),
        ({"model": NAME, "checkpoint": "random:0", "input_shape": (3, 28, 28)}, r"must take images|channels"),
        ({"model": "vit_tiny_cifar", "checkpoint": "random:0", "input_shape": (3, 40, 40)}, "--input-shape"),
        (
            {"model": NAME, "checkpoint": "random:0", "normalization": Normalization((0.1, 0.2), (1.0, 1.0))},
            "one value a channel",
        ),
    ],
)
def test_requests_that_cannot_be_met(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(**arguments)


FACTORIES = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.fc = nn.Linear(12, num_classes)
    def forward(self, x):
        return self.fc(x.flatten(1))

class Described(Net):
    input_shape = (3, 2, 2)

def fixed():
    return Net(5)

def normalized():
    from codesign.models.normalization import Normalization, Normalized
    return Normalized(Net(), Normalization((0.5,) * 3, (0.5,) * 3, "the user"))

def failing():
    raise RuntimeError("no weights here")

def number():
    return 3

def pairs():
    class Pairs(Net):
        def forward(self, x):
            return super().forward(x), x
    return Pairs()

constant = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_networks_for_the_test.py"
    path.write_text(FACTORIES, encoding="utf-8")
    return path


SHAPE = (3, 2, 2)


def test_factory_by_file_and_by_module(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.random.get_rng_state()
    by_file = load_model(f"{file}:Net", input_shape=SHAPE)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (by_file.num_classes, by_file.normalization) == (4, None)
    assert by_file.source["weights"] == {"kind": "factory"}
    assert "pixels in [0, 1]" in by_file.source["normalization"]
    monkeypatch.syspath_prepend(str(file.parent))
    assert load_model("my_networks_for_the_test:Net", input_shape=SHAPE, num_classes=9).num_classes == 9


def test_working_directory_is_not_searched(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.rename(file.with_name("another_module.py"))
    monkeypatch.chdir(file.parent)
    with pytest.raises(InputError, match="PYTHONPATH"):
        load_model("another_module:Net", input_shape=SHAPE)


def test_factory_describes_itself(file: Path) -> None:
    assert load_model(f"{file}:Described").input_shape == SHAPE
    loaded = load_model(f"{file}:normalized", input_shape=SHAPE)
    assert loaded.normalization == Normalization((0.5,) * 3, (0.5,) * 3, "the user")


def test_factory_with_checkpoint_and_normalization(file: Path, tmp_path: Path) -> None:
    weights = {"fc.weight": torch.ones(4, 12), "fc.bias": torch.zeros(4)}
    torch.save({"state_dict": weights}, tmp_path / "w.pt")
    halves = Normalization((0.5,) * 3, (0.5,) * 3, "test")
    for name, normalization in (("Net", halves), ("normalized", None)):
        loaded = load_model(
            f"{file}:{name}", checkpoint=tmp_path / "w.pt", input_shape=SHAPE, normalization=normalization
        )
        assert isinstance(loaded.module, Normalized)
        # Twelve pixels of 1.0 are twelve ones after normalisation.
        assert logits(loaded.module, torch.ones(1, *SHAPE)).tolist() == [[12.0] * 4]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Net", {"input_shape": None}, "input shape of .* must be known"),
        ("Net", {"input_shape": (3, 9, 9)}, r"must take images of shape \(3, 9, 9\)"),
        ("Nett", {}, "did you mean Net"),
        ("constant", {}, "must have a callable"),
        ("failing", {}, "RuntimeError: no weights here"),
        ("number", {}, "must return a torch.nn.Module .got int"),
        ("pairs", {}, "must return logits .* .got tuple"),
        ("fixed", {"num_classes": 3}, r"must return 3 logits \(got 5\)"),
        ("Net", {"checkpoint": "random:0"}, "a factory makes its own"),
        ("normalized", {"normalization": Normalization((0.0,), (1.0,))}, "cannot be given another"),
    ],
)
def test_bad_factories(file: Path, name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(f"{file}:{name}", **({"input_shape": SHAPE} | arguments))


def test_file_with_an_error_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_model(f"{tmp_path / 'broken.py'}:Net")
    with pytest.raises(InputError, match="no such file"):
        load_model(f"{tmp_path / 'none.py'}:Net")
    with pytest.raises(InputError, match="importable"):
        load_model("no_such_module_anywhere:Net")


def export(module: nn.Module, path: Path, batch: object, shape: tuple[int, ...] = (1, 28, 28)) -> Path:
    dynamic = None if batch is None else ({0: batch},)
    torch.export.save(torch.export.export(module, (torch.rand(2, *shape),), dynamic_shapes=dynamic), path)
    return path


def test_exported_program(tmp_path: Path, model: nn.Module, pixels: Tensor) -> None:
    path = export(model, tmp_path / "model.pt2", torch.export.Dim("n"))
    loaded = load_model(str(path))
    assert (loaded.input_shape, loaded.num_classes, loaded.normalization) == ((1, 28, 28), 10, None)
    assert loaded.source["kind"] == "program"
    for n in (1, 2, 3):
        assert torch.allclose(logits(loaded.module, pixels[:n]), logits(model, pixels[:n]), atol=1e-5)
    assert loaded.module.train() is loaded.module
    assert not loaded.module.training
    moved = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loaded.module(moved).sum(), moved)
    assert gradient.abs().sum() > 0


def test_program_of_a_bare_network_behind_a_normalization(tmp_path: Path, model: nn.Module, pixels: Tensor) -> None:
    path = export(model.network, tmp_path / "bare.pt2", torch.export.Dim("n"))
    loaded = load_model(str(path), normalization=zoo_entry(NAME).normalization)
    assert torch.allclose(logits(loaded.module, pixels), logits(model, pixels), atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "message"), [(None, "any size .got batch size 2"), (torch.export.Dim("n", max=64), "at most 64 images")]
)
def test_program_with_a_bounded_batch(tmp_path: Path, model: nn.Module, batch: object, message: str) -> None:
    path = export(model, tmp_path / "model.pt2", batch)
    with pytest.raises(InputError, match=rf"{message}.*dynamic_shapes"):
        load_model(str(path))


class Active(nn.Module):
    """Batch norm or dropout in training mode."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.layer(x).flatten(1))
        return out


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(1), nn.Dropout()])
def test_program_in_training_mode(tmp_path: Path, layer: nn.Module) -> None:
    path = export(Active(layer).train(), tmp_path / "m.pt2", torch.export.Dim("n"), (1, 2, 2))
    with pytest.raises(InputError, match=r"eval mode.*model\.eval\(\)"):
        load_model(str(path))


def test_program_of_something_else(tmp_path: Path) -> None:
    path = export(nn.Linear(4, 4), tmp_path / "m.pt2", torch.export.Dim("n"), (4,))
    with pytest.raises(InputError, match=r"one tensor \(n, channels, height, width\)"):
        load_model(str(path))


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_truncated_program(tmp_path: Path, model: nn.Module, keep: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = export(model, tmp_path / "model.pt2", torch.export.Dim("n"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"torch\.export\.save wrote"):
        load_model(str(path))
    assert "Traceback" not in capfd.readouterr().err


def test_program_brings_its_weights_and_shape(tmp_path: Path, model: nn.Module) -> None:
    path = export(model, tmp_path / "model.pt2", torch.export.Dim("n"))
    with pytest.raises(InputError, match="brings its own weights"):
        load_model(str(path), checkpoint="random:0")
    with pytest.raises(InputError, match="takes images of shape"):
        load_model(str(path), input_shape=(1, 32, 32))
    with pytest.raises(InputError, match="no such file"):
        load_model(str(tmp_path / "none.pt2"))
