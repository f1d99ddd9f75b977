"""The compiled inference pass against PyTorch's own, bit for bit, and the kernels against plain sorting."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_neni_layers import conv, fill, plan
from torch import Tensor, nn

from codesign.defenses.neni import inference
from codesign.defenses.neni.gradients import GRADIENT_MODES
from codesign.defenses.neni.inference import can_fuse
from codesign.defenses.neni.kernels import merge_largest, network_of, round_samples
from codesign.defenses.neni.layers import DefendedConv, DefendedLayer
from codesign.defenses.neni.selection import NofM, Selector, Threshold, TopK
from codesign.defenses.neni.settings import Precision


def both(layer: DefendedLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """The layer without and with gradients: compiled, and in PyTorch's operators."""
    with torch.no_grad():
        assert can_fuse(layer, x)
        found = layer(x)
    with torch.enable_grad():
        assert not can_fuse(layer, x)
        want = layer(x).detach()
    return found, want


def images(n: int = 5, size: int = 9) -> Tensor:
    return torch.randn(n, 4, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("precision", ["none", "int8", "int4", "int2"])
@pytest.mark.parametrize("selector", [TopK(1), TopK(3), TopK(7), TopK(8), NofM(1, 4), NofM(2, 2), Threshold(0.3)])
@pytest.mark.parametrize("groups", [1, 4])
def test_it_equals_the_ordinary_pass(selector: Selector, precision: Precision, groups: int) -> None:
    layer = conv(selector, precision, groups=groups)
    found, want = both(layer, images())
    assert torch.equal(found, want)


def test_values_are_the_same_in_every_gradient_mode() -> None:
    layer = conv(TopK(3), "int4")
    with torch.no_grad():
        want = layer(images())
        for mode in GRADIENT_MODES:
            with layer.gradient_mode(mode):
                assert torch.equal(layer(images()), want)
    for mode in GRADIENT_MODES:
        with layer.gradient_mode(mode):
            assert torch.equal(layer(images()).detach(), want)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("selector", [TopK(3), Threshold(0.0)])
def test_many_samples_in_parts_and_on_threads(
    monkeypatch: pytest.MonkeyPatch, threads: int, selector: Selector
) -> None:
    monkeypatch.setattr(inference, "_WORTH_THREADS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer = conv(selector, "int4")
    monkeypatch.setattr(type(layer), "chunk", lambda _self, _x: 3)
    before = threading.active_count()
    found, want = both(layer, images(10))
    assert torch.equal(found, want)
    assert threading.active_count() == before


def test_ties_go_to_the_first_channel() -> None:
    layer = conv(TopK(3), "int2")
    with torch.no_grad():
        layer.offset.zero_()
        layer.approximation.copy_(layer.approximation.sign())
    found, want = both(layer, torch.cat([torch.zeros(1, 4, 9, 9), images().sign()]))
    assert torch.equal(found, want)


def test_a_nan_goes_the_ordinary_way() -> None:
    x = images()
    x[2, 1, 4, 4] = torch.nan
    for precision in ("none", "int4"):
        layer = conv(TopK(3), precision)  # type: ignore[arg-type]
        found, want = both(layer, x)
        assert torch.equal(found.isnan(), want.isnan())
        assert torch.equal(found.nan_to_num(7.0), want.nan_to_num(7.0))
        assert bool(found[0].isfinite().all())


def test_other_layouts_go_the_ordinary_way() -> None:
    layer = conv(TopK(3), "int4")
    x = images().to(memory_format=torch.channels_last)
    found, want = both(layer, x)
    torch.testing.assert_close(found, want)


def test_one_dimensional_convolutions() -> None:
    base = nn.Conv1d(3, 6, 3, padding=1)
    generator = torch.Generator().manual_seed(2)
    entries = torch.randint(-1, 2, (5, 3, 3), generator=generator).float()
    layer = DefendedConv(base, plan(TopK(2), 5, "int4"), entries)
    fill(layer, generator)
    found, want = both(layer, torch.randn(4, 3, 300, generator=generator))
    assert torch.equal(found, want)


def test_observers_see_the_exact_values() -> None:
    layer = conv(TopK(3), "int4")
    x, seen = images(), list[Tensor]()
    with torch.no_grad():
        want = layer(x)
        layer.observer = lambda _layer, _x, exact: seen.append(exact)
        assert torch.equal(layer(x), want)
        assert torch.equal(seen[0], layer.exact(x))
        layer.mask_observer = seen.append
        assert not can_fuse(layer, x)
        assert torch.equal(layer(x), want)
    assert seen[-1].dtype == torch.bool


def test_what_only_pytorch_can_do() -> None:
    layer, x = conv(TopK(3), "int4"), images()
    with torch.no_grad():
        assert can_fuse(layer, x)
        assert not can_fuse(layer, x.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert not can_fuse(layer, x)
        with torch.device("meta"):
            assert not can_fuse(layer, torch.empty(1, 4, 9, 9))
        seen: list[bool] = []

        def within(image: Tensor) -> Tensor:
            seen.append(can_fuse(layer, image[None]))
            return image

        torch.func.vmap(within)(x)
        assert seen == [False]
    assert not can_fuse(layer, x)


def test_inference_mode() -> None:
    layer = conv(NofM(2, 4), "int8")
    with torch.inference_mode():
        found = layer(images())
    assert torch.equal(found.clone(), layer(images()).detach())


def chosen(scores: Any, kept: int) -> Any:
    """The first ``kept`` channels by falling value, of equal ones the first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    found = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(found, order, True, axis=1)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 80), st.integers(1, 5), st.integers(0, 999)
)
def test_merging_equals_sorting(samples: int, groups: int, size: int, positions: int, levels: int, seed: int) -> None:
    """Few levels make many ties."""
    random = np.random.default_rng(seed)
    mixed = random.integers(-levels, levels + 1, (samples, groups * size, positions)).astype(np.float32)
    gains = random.integers(1, 3, samples).astype(np.float32)
    offsets = random.integers(-1, 2, groups * size).astype(np.float32)
    exact = random.standard_normal(mixed.shape).astype(np.float32)
    scores = mixed * gains[:, None, None] + offsets[:, None]
    for kept in range(1, size):
        mask = chosen(scores.reshape(samples * groups, size, positions), kept).reshape(mixed.shape)
        out = exact.copy()
        assert merge_largest(mixed, gains, offsets, out, network_of(size, kept), size, kept)
        assert np.array_equal(out, np.where(mask, exact, scores))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 200), st.sampled_from([1, 7, 127]), st.integers(0, 999))
def test_rounding_to_codes(samples: int, count: int, limit: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (random.standard_normal((samples, count)) * random.choice([0, 1e-30, 1, 1e20], (samples, 1))).astype("f4")
    # Halves, so that what rounds to even is seen.
    values[:, ::2] = values[:, :1] * (random.integers(0, 2 * limit, values[:, ::2].shape) / 2 / limit).astype("f4")
    found, scales = values.copy(), np.empty(samples, np.float32)
    floor = np.float32(np.finfo(np.float32).tiny * 256)
    round_samples(found, np.float32(limit), floor, scales)
    top = np.abs(values).max(axis=1)
    want = (np.maximum(top, floor) / np.float32(limit)).astype(np.float32)
    assert np.array_equal(scales, want)
    assert np.array_equal(found, np.rint(values * (np.float32(1) / want)[:, None]))
    assert np.abs(found).max(initial=0) <= limit
