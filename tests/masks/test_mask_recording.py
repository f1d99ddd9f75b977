"""Recording: masks are those of the operands that really flow, seen independently by hooks and by hand."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record
from codesign.masks.writing import MaskWriter
from codesign.models.tracing import trace
from codesign.models.zoo import zoo_entry


class Mixed(nn.Module):
    """Functional operators, attention written out, a module used twice, in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        x = F.relu(self.conv(x))
        scores = F.relu(x @ x.transpose(-1, -2) - 0.1)
        return self.head((scores @ x).mean((2, 3)))


def by_hand(module: Mixed, x: Tensor) -> dict[str, Tensor]:
    """Every operand of ``Mixed``, computed step by step outside of it."""
    first = F.relu(F.conv2d(x, module.conv.weight, module.conv.bias, padding=1))
    second = F.relu(F.conv2d(first, module.conv.weight, module.conv.bias, padding=1))
    scores = F.relu(second @ second.transpose(-1, -2) - 0.1)
    return {
        "conv:inputs": x,
        "conv#2:inputs": first,
        "matmul:inputs": second,
        "matmul:weights": second.transpose(-1, -2),
        "matmul#2:inputs": scores,
        "matmul#2:weights": second,
        "head:inputs": (scores @ second).mean((2, 3)),
    }


@pytest.fixture
def mixed() -> Mixed:
    torch.manual_seed(2)
    return Mixed().eval()


def images_with_zeros(n: int) -> Tensor:
    return F.relu(torch.randn(n, 2, 4, 5, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def test_every_operand_of_every_sample(mixed: Mixed, tmp_path: Path) -> None:
    images = images_with_zeros(7)
    mixed.conv.weight.view(-1)[::3] = 0
    traced = trace(mixed, (2, 4, 5))
    with MaskWriter(tmp_path / "m") as writer:
        assert record(mixed, traced, images.split(3), writer, input_kind="clean") == 7
    masks = MaskSet(tmp_path / "m")
    expected = by_hand(mixed, images)
    for name, values in expected.items():
        layer, _, operand = name.partition(":")
        mask = masks.tensor(layer, "inputs" if operand == "inputs" else "weights", "clean").read()
        assert np.array_equal(mask, (values != 0).numpy()), name
        assert mask.any(), name
    assert len(masks) == len(expected) + 3
    for layer in ("conv", "conv#2"):
        assert np.array_equal(masks.tensor(layer, "weights", None).read()[0], (mixed.conv.weight != 0).numpy())


def test_against_hooks_on_resnet20(tmp_path: Path) -> None:
    """Independent witness: forward hooks on the modules themselves."""
    entry = zoo_entry("resnet20")
    torch.manual_seed(0)
    module = entry.build().eval()
    images = torch.rand(4, *entry.input_shape)
    seen: dict[str, npt.NDArray[np.bool_]] = {}

    def keep(name: str, inputs: Tensor) -> None:
        seen[name] = (inputs != 0).numpy()

    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_pre_hook(lambda _, args, name=name: keep(name, args[0]))
    with torch.no_grad():
        module(images)
    hooked = dict(seen)
    for part in module.modules():
        part._forward_pre_hooks.clear()
    traced = trace(module, entry.input_shape)
    with MaskWriter(tmp_path / "m") as writer:
        record(module, traced, images.split(2), writer, input_kind="clean")
    masks = MaskSet(tmp_path / "m")
    assert set(hooked) == {layer.name for layer in traced.layers}
    for name, mask in hooked.items():
        assert np.array_equal(masks.tensor(name, "inputs", "clean").read(), mask), name


def test_attention_records_both_products(tmp_path: Path) -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    traced = trace(Attention(), (2, 4, 3))
    images = F.relu(torch.randn(3, 2, 4, 3, generator=torch.Generator().manual_seed(0)))
    with MaskWriter(tmp_path / "m") as writer:
        record(Attention(), traced, [images], writer, input_kind="adversarial")
    masks = MaskSet(tmp_path / "m")
    name = "scaled_dot_product_attention"
    keys = masks.tensor(f"{name}.qk", "weights", "adversarial").read()
    assert np.array_equal(keys, (images != 0).transpose(-1, -2).numpy())
    weights = masks.tensor(f"{name}.av", "inputs", "adversarial").read()
    assert np.array_equal(weights, np.broadcast_to(np.tri(4, dtype=bool), (3, 2, 4, 4)))


def test_two_kinds_of_input_in_one_folder(mixed: Mixed, tmp_path: Path) -> None:
    traced = trace(mixed, (2, 4, 5))
    images = images_with_zeros(4)
    with MaskWriter(tmp_path / "m") as writer:
        record(mixed, traced, [images], writer, input_kind="clean")
        record(mixed, traced, [images + 0.1], writer, input_kind="adversarial")
    masks = MaskSet(tmp_path / "m")
    assert masks.tensor("conv", "inputs", "adversarial").entry.density == 1
    assert masks.tensor("conv", "inputs", "clean").entry.density < 1
    assert sum(tensor.entry.operand == "weights" and tensor.entry.input_kind is None for tensor in masks) == 3


def test_a_threshold_is_recorded(mixed: Mixed, tmp_path: Path) -> None:
    traced = trace(mixed, (2, 4, 5))
    images = images_with_zeros(3)
    with MaskWriter(tmp_path / "m") as writer:
        record(mixed, traced, [images], writer, input_kind="clean", threshold=0.5)
    tensor = MaskSet(tmp_path / "m").tensor("conv", "inputs", "clean")
    assert tensor.entry.threshold == 0.5
    assert np.array_equal(tensor.read(), (images.abs() > 0.5).numpy())


def test_only_one_batch_is_held(mixed: Mixed, tmp_path: Path) -> None:
    """Memory does not grow with the number of images: an earlier batch is gone when the next is asked for."""
    alive: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[Tensor]:
        for _ in range(5):
            assert sum(batch() is not None for batch in alive) <= 1
            images = torch.rand(2, 2, 4, 5)
            alive.append(weakref.ref(images))
            yield images
            del images

    with MaskWriter(tmp_path / "m") as writer:
        assert record(mixed, trace(mixed, (2, 4, 5)), batches(), writer, input_kind="clean") == 10


def test_the_model_runs_in_evaluation_mode_and_is_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Conv2d(2, 1, 1)).train()
    images = torch.rand(4, 1, 5, 5)
    with MaskWriter(tmp_path / "m") as writer:
        record(module, trace(module, (1, 5, 5)), [images], writer, input_kind="clean")
    assert module.training
    assert module[1].num_batches_tracked == 0
    assert MaskSet(tmp_path / "m").tensor("3", "inputs", "clean").entry.density == 1, "dropout was off"


@pytest.mark.parametrize(
    "problem", ["no images", "other size", "3-D", "NaN", "meta", "other model", "another size later"]
)
def test_bad_input(problem: str, mixed: Mixed, tmp_path: Path) -> None:
    traced = trace(mixed, (2, 4, 5))
    good = images_with_zeros(2)
    module: nn.Module = mixed
    batches, message = {
        "no images": ([], "at least one image"),
        "other size": ([torch.rand(2, 2, 4, 6)], "must be the traced ones"),
        "3-D": ([torch.rand(2, 4, 5)], "must have shape"),
        "NaN": ([good, good * torch.nan], "cannot be made of NaN"),
        "meta": ([good], "must have weights"),
        "other model": ([good], "must be the traced ones"),
        "another size later": ([good, torch.rand(2, 2, 4, 6)], r"all images must have shape \(2, 4, 5\)"),
    }[problem]
    if problem == "meta":
        module = Mixed().to("meta")
    if problem == "other model":
        module = nn.Conv2d(2, 2, 1)
    with pytest.raises(InputError, match=message), MaskWriter(tmp_path / "m") as writer:
        record(module, traced, batches, writer, input_kind="clean")
    assert list(tmp_path.iterdir()) == []
