"""Statistics of layers and of tiles, against counts that visit every multiply-accumulate and every tile."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_loops import count
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.masks.reading import MaskSet
from codesign.masks.recording import record
from codesign.masks.statistics import LayerStatistics, model_statistics, write_csv
from codesign.masks.tiles import count_tiles, tile_occupancy
from codesign.masks.writing import MaskWriter
from codesign.models.layers import Layer
from codesign.models.tracing import trace


class Call(nn.Module):
    """Any function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def sparse(*shape: int, seed: int) -> Tensor:
    """About half zeros, differently in every channel."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.relu(values + torch.linspace(-1, 1, shape[1]).reshape(-1, *[1] * (len(shape) - 2)))


def statistics_of(
    module: nn.Module, images: Tensor, folder: Path
) -> tuple[tuple[Layer, ...], tuple[LayerStatistics, ...], MaskSet]:
    traced = trace(module, tuple(images.shape[1:]))  # type: ignore[arg-type]
    with MaskWriter(folder) as writer:
        record(module, traced, images.split(2), writer, input_kind="clean")
    masks = MaskSet(folder)
    return traced.layers, model_statistics(traced, masks, input_kind="clean"), masks


MODULES: dict[str, nn.Module] = {
    "conv": nn.Conv2d(4, 3, 3, padding=1),
    "conv, stride and dilation": nn.Conv2d(4, 3, (2, 3), stride=(1, 2), dilation=(2, 1), padding=(2, 0)),
    "conv that leaves a rest": nn.Conv2d(4, 2, 2, stride=4),
    "conv, groups": nn.Conv2d(4, 6, 3, groups=2, padding=(0, 1)),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "same": nn.Conv2d(4, 2, (3, 1), padding="same"),
    "transposed": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2),
    "conv1d": nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 2, 3, stride=2, padding=1)),
    "frames": Call(
        lambda x: nn.functional.conv2d(x.flatten(0, 1).unsqueeze(1), torch.ones(2, 1, 2, 2)).unflatten(0, (-1, 4))
    ),
    "linear": nn.Linear(6, 3),
    "matmul with a weight": Call(lambda x: x @ torch.eye(6)[:, :4]),
    "matmul": Call(lambda x: x @ x.transpose(-1, -2)),
}


@torch.no_grad()
@pytest.mark.parametrize("case", MODULES)
def test_against_visiting_every_mac(case: str, tmp_path: Path) -> None:
    module, images = MODULES[case], sparse(3, 4, 5, 6, seed=1)
    for parameter in module.parameters():
        parameter.view(-1)[::3] = 0
    (layer,), (found,), masks = statistics_of(module, images, tmp_path / "m")
    inputs = masks.tensor(layer.name, "inputs", "clean").read()
    weights = masks.tensor(layer.name, "weights", None if layer.weights.constant else "clean").read()
    counted = np.array([count(layer, inputs[n], weights[n % len(weights)]) for n in range(3)]) / layer.macs
    assert found.nonzero_input_mac_share_exact == pytest.approx(counted[:, 0].mean(), abs=1e-12)
    assert found.nonzero_weight_mac_share_exact == pytest.approx(counted[:, 1].mean(), abs=1e-12)
    assert found.effectual_mac_share_exact == pytest.approx(counted[:, 2].mean(), abs=1e-12)
    assert found.effectual_mac_share_exact_std == pytest.approx(counted[:, 2].std(), abs=1e-12)
    assert 0 < found.effectual_mac_share_exact < 1
    assert found.effectual_macs == pytest.approx(counted[:, 2].mean() * layer.macs)
    assert found.weight_density == pytest.approx(weights.mean())


def test_densities(tmp_path: Path) -> None:
    images = sparse(5, 4, 5, 6, seed=2)
    _, (found,), _ = statistics_of(nn.Conv2d(4, 2, 3), images, tmp_path / "m")
    per_sample = (images != 0).flatten(1).double().mean(1).numpy()
    per_channel = (images != 0).double().mean((0, 2, 3)).numpy()
    assert (found.layer, found.kind, found.input_kind, found.samples) == ("conv2d", "conv", "clean", 5)
    assert found.input_density_mean == pytest.approx(per_sample.mean())
    assert found.input_density_std == pytest.approx(per_sample.std())
    assert found.input_density_p5 == pytest.approx(np.percentile(per_sample, 5))
    assert found.input_density_p95 == pytest.approx(np.percentile(per_sample, 95))
    assert found.input_channel_density_min == pytest.approx(per_channel.min())
    assert found.input_channel_density_max == pytest.approx(per_channel.max())
    assert found.input_channel_density_std == pytest.approx(per_channel.std())


def test_channels_of_linear_and_matmul_are_the_summed_dimension(tmp_path: Path) -> None:
    images = sparse(3, 4, 5, 6, seed=3)
    images[..., 2] = 0
    for number, module in enumerate((nn.Linear(6, 3), Call(lambda x: x @ x.transpose(-1, -2)))):
        _, (found,), _ = statistics_of(module, images, tmp_path / str(number))
        assert found.input_channel_density_min == 0
        assert found.input_channel_density_max == pytest.approx((images != 0).double().mean((0, 1, 2)).max().item())


def test_dense_operands_lose_only_the_padding(tmp_path: Path) -> None:
    """3x3 over 4x4 with padding 1: 100 of 144 multiply-accumulates lie inside."""
    (layer,), (found,), _ = statistics_of(nn.Conv2d(2, 3, 3, padding=1), torch.ones(1, 2, 4, 4), tmp_path / "m")
    assert layer.macs == 144 * 6
    assert found.effectual_mac_share_exact == found.nonzero_input_mac_share_exact == 100 / 144
    assert found.nonzero_weight_mac_share_exact == found.weight_density == found.input_density_mean == 1


def test_csv(tmp_path: Path) -> None:
    _, rows, _ = statistics_of(
        nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 1)), sparse(3, 4, 5, 6, seed=4), tmp_path / "m"
    )
    write_csv(tmp_path / "out" / "layers.csv", rows)
    with (tmp_path / "out" / "layers.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["layer"] for row in read] == ["0", "2"]
    for row, statistics in zip(read, rows, strict=True):
        assert {name: type(value)(row[name]) for name, value in asdict(statistics).items()} == asdict(statistics)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["layers.csv"]


def test_the_document_names_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "mask_format.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)`", text)) | {"input_channel_density_max", "input_channel_density_std"}
    assert {field.name for field in fields(LayerStatistics)} <= documented


def test_masks_of_another_model_are_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(2, 2, 3))
    with MaskWriter(tmp_path / "m") as writer:
        record(module, trace(module, (2, 4, 4)), [torch.rand(1, 2, 4, 4)], writer, input_kind="clean")
    masks = MaskSet(tmp_path / "m")
    with pytest.raises(InputError, match=r"must have shape \[2, 5, 5\] \(got \[2, 4, 4\]\)"):
        model_statistics(trace(module, (2, 5, 5)), masks, input_kind="clean")
    with pytest.raises(InputError, match="no such mask"):
        model_statistics(trace(module, (2, 4, 4)), masks, input_kind="adversarial")


@st.composite
def tilings(
    draw: st.DrawFn,
) -> tuple[npt.NDArray[np.bool_], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A random mask of two samples with tile, step and origin."""
    rank = draw(st.integers(1, 3))
    sizes = st.tuples(*[st.integers(1, 5)] * rank)
    shape, tile, step = draw(sizes), draw(sizes), draw(sizes)
    origin = draw(st.tuples(*[st.integers(-2, 1)] * rank))
    mask = np.random.default_rng(draw(st.integers(0, 99))).random((2, *shape)) < 0.5
    return mask, tile, step, origin


@settings(deadline=None)
@given(tilings())
def test_tiles_by_visiting_each(
    case: tuple[npt.NDArray[np.bool_], tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    mask, tile, step, origin = case
    counts = count_tiles(mask, tile, step, origin)
    for index in np.ndindex(*counts.shape):
        corner = [first + k * stride for first, k, stride in zip(origin, index[1:], step, strict=True)]
        window = tuple(slice(max(0, at), max(0, at + size)) for at, size in zip(corner, tile, strict=True))
        assert counts[index] == mask[index[0]][window].sum()
    per_axis = [len(range(first, n, s)) for first, n, s in zip(origin, mask.shape[1:], step, strict=True)]
    assert list(counts.shape[1:]) == per_axis


def test_tile_occupancy_of_a_recorded_mask(tmp_path: Path) -> None:
    images = sparse(5, 4, 6, 6, seed=5)
    *_, masks = statistics_of(nn.Sequential(nn.Conv2d(4, 2, 3)), images, tmp_path / "m")
    tensor = masks.tensor("0", "inputs", "clean")
    found = tile_occupancy(tensor, (2, 3, 3))
    assert found.tiles == 5 * 2 * 2 * 2
    assert len(found.histogram) == 2 * 3 * 3 + 1
    assert found.mean_density == pytest.approx(tensor.entry.density)
    whole = tile_occupancy(tensor, (4, 6, 6))
    assert whole.tiles == 5
    assert whole.histogram @ np.arange(145) == tensor.entry.ones
    single = tile_occupancy(tensor, (1, 1, 1))
    assert single.empty_share == pytest.approx(1 - tensor.entry.density)
    halo = tile_occupancy(tensor, (4, 3, 3), step=(4, 1, 1), origin=(0, -1, -1))
    assert halo.tiles == 5 * 7 * 7


@pytest.mark.parametrize("tile", [(2, 2), (0, 1, 1), (1, 1, 1, 1)])
def test_bad_tiles(tile: tuple[int, ...], tmp_path: Path) -> None:
    *_, masks = statistics_of(nn.Sequential(nn.Conv2d(1, 1, 1)), torch.ones(1, 1, 2, 2), tmp_path / "m")
    with pytest.raises(ValueError, match="tile_occupancy"):
        tile_occupancy(masks.tensor("0", "inputs", "clean"), tile)
