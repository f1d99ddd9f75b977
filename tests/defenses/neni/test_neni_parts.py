"""Projection, quantisation, selection and settings by themselves, against slow or closed-form oracles."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codesign.defenses.neni import NeniSettings
from codesign.defenses.neni.bitops import layer_bitops, matched_bits
from codesign.defenses.neni.networks import comparators, order_statistics
from codesign.defenses.neni.projection import dimension, jl_dimension, scale_of, ternary
from codesign.defenses.neni.quantization import largest_code, quantize_rows, row_scales, sample_codes, sample_scales
from codesign.defenses.neni.selection import NofM, Threshold, TopK, kept_of
from codesign.errors import InputError


@pytest.mark.parametrize(("points", "k"), [(64, 199), (128, 232), (256, 266), (512, 299)])
def test_the_dimensions_that_the_ancestor_publishes(points: int, k: int) -> None:
    assert jl_dimension(points, 0.5) == k


def test_a_dimension_is_capped_by_the_rule_and_refused_when_asked_for() -> None:
    assert dimension(None, 64, 27, 0.5, "conv") == 27
    assert dimension(27, 64, 27, 0.5, "conv") == 27
    with pytest.raises(InputError, match="k must be at most d = 27 in conv"):
        dimension(28, 64, 27, 0.5, "conv")


def test_entries_have_the_stated_probabilities_and_keep_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    entries = ternary((300, 500), generator)
    assert set(entries.unique().tolist()) == {-1.0, 0.0, 1.0}
    for value, probability in ((-1, 1 / 6), (0, 2 / 3), (1, 1 / 6)):
        share = (entries == value).double().mean().item()
        assert share == pytest.approx(probability, abs=5 * (probability / 150_000) ** 0.5)
    x = torch.randn(500, 40, generator=generator)
    ratio = (scale_of(300) * entries @ x).square().sum(0) / x.square().sum(0)
    assert ratio.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(entries[:2], ternary((300, 500), torch.Generator().manual_seed(0))[:2])


@pytest.mark.parametrize("wires", [*range(1, 13), 16])
def test_a_network_of_comparators_sorts_every_pattern_of_zeros_and_ones(wires: int) -> None:
    """The zero-one principle: a network that sorts all 0-1 sequences sorts everything."""
    patterns = torch.tensor(list(itertools.product((0.0, 1.0), repeat=wires)))
    ranks = tuple(range(wires))
    found = torch.stack(order_statistics(patterns, 1, ranks), dim=1)
    assert torch.equal(found, patterns.sort(dim=1).values)


def test_a_single_rank_needs_fewer_comparators() -> None:
    assert len(comparators(16, (8,))) < len(comparators(16, tuple(range(16)))) == 63


def slow_top(row: list[float], kept: int) -> list[bool]:
    """The largest values, of equal ones the first."""
    order = sorted(range(len(row)), key=lambda index: (-row[index], index))[:kept]
    return [index in order for index in range(len(row))]


@given(st.integers(1, 80), st.integers(0, 10**6), st.booleans(), st.data())
def test_top_k_equals_a_sort(channels: int, seed: int, tied: bool, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, channels))
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, channels, 3, generator=generator)
    if tied:
        scores = scores.round()
    expected = torch.tensor([[slow_top(row.tolist(), kept) for row in sample.T] for sample in scores]).transpose(1, 2)
    assert torch.equal(TopK(kept).mask(scores, 1), expected)
    assert torch.equal(TopK(kept).mask(scores.transpose(1, 2), -1), expected.transpose(1, 2))


def test_n_of_m_keeps_n_in_every_group_of_consecutive_channels() -> None:
    scores = torch.randn(3, 24, 5, 5, generator=torch.Generator().manual_seed(1))
    mask = NofM(3, 8).mask(scores, 1)
    assert (mask.reshape(3, 3, 8, 5, 5).sum(2) == 3).all()
    for group in range(3):
        part = slice(8 * group, 8 * group + 8)
        assert torch.equal(mask[:, part], TopK(3).mask(scores[:, part], 1))
    threshold = NofM(3, 8).threshold(scores, 1)
    assert torch.equal(scores > threshold, mask)


def test_the_threshold_of_top_k_separates_the_essential_from_the_others() -> None:
    scores = torch.randn(2, 10, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(scores > TopK(3).threshold(scores, 1), TopK(3).mask(scores, 1))
    assert bool((TopK(10).threshold(scores, 1) == -torch.inf).all())
    assert torch.equal(Threshold(0.5).mask(scores, 1), scores > 0.5)


def test_shares_round_to_the_nearest_and_keep_at_least_one() -> None:
    assert [kept_of(share, 16) for share in (0.5, 0.2, 0.1, 0.01, 1.0)] == [8, 3, 2, 1, 16]


def test_rows_lie_on_their_grid_and_the_gradient_passes() -> None:
    weight = torch.randn(1, 6, 20, generator=torch.Generator().manual_seed(3)).requires_grad_()
    for bits in (2, 4, 8):
        scales = row_scales(weight.detach(), bits)
        rounded = quantize_rows(weight, scales, bits, straight_through=True)
        codes = rounded / scales
        assert torch.allclose(codes, codes.round(), atol=1e-4)
        assert codes.abs().max() <= largest_code(bits) + 1e-4
        assert torch.allclose(torch.autograd.grad(rounded.sum(), weight)[0], torch.ones_like(weight))
        hard = quantize_rows(weight, scales, bits, straight_through=False)
        assert torch.equal(torch.autograd.grad(hard.sum(), weight)[0], torch.zeros_like(weight))
    errors = [
        (quantize_rows(weight, row_scales(weight.detach(), b), b, straight_through=False) - weight).square().sum()
        for b in (2, 4, 8)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_a_sample_is_rounded_by_itself() -> None:
    values = (
        torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(4)) * torch.tensor([1, 10, 0, 1e-3])[:, None, None]
    )
    scales = sample_scales(values, 4)
    codes = sample_codes(values, scales, straight_through=False)
    assert torch.equal(codes[1:2], sample_codes(values[1:2], sample_scales(values[1:2], 4), straight_through=False))
    assert torch.equal(codes.abs().flatten(1).amax(1), torch.tensor([7.0, 7, 0, 7]))
    assert ((codes * scales - values).abs() <= scales * 0.5001).all()


def test_bitops_follow_the_published_definition() -> None:
    positions, n, d, k = 64, 16, 144, 30
    found = layer_bitops(positions * n * d, n, d, 1, k, 0.25, 8, 4)
    assert found.undefended == positions * n * d * 64
    expected = positions * (0.25 * n * d * 8**2 + n * k * 4**2 + k * d / 3 * 8)
    assert found.defended == pytest.approx(expected)
    bits = matched_bits(found, positions * n * d)
    assert bits**2 * positions * n * d <= found.defended < (bits + 1) ** 2 * positions * n * d


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"share": float("nan")}, "share"),
        ({"share": "0.5"}, "share"),
        ({"share": True}, "share"),
        ({"layer_shares": {"a": -1}}, "layer_shares.a"),
        ({"dimension": 4.5}, "dimension"),
        ({"group": (5, 4)}, "group"),
        ({"dimension": 0}, "dimension"),
        ({"selection": "topk"}, "selection"),
        ({"precision": "int3"}, "precision"),
        ({"control": "noise"}, "control"),
        ({"passes": 3}, "passes"),
        ({"selection": "n_of_m", "layer_shares": {"a": 0.5}}, "layer_shares"),
        ({"ridge": -1.0}, "ridge"),
        ({"jl_eps": 2.0}, "jl_eps"),
    ],
)
def test_bad_settings_are_named(values: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        NeniSettings(**values)  # type: ignore[arg-type]
    assert caught.value.key == f"neni.{key}"
