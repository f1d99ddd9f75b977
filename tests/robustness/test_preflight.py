from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.preflight import Flag, FlagId, preflight


class Wrapped(nn.Module):
    """The network with something done to its pixels and its logits."""

    def __init__(
        self,
        network: nn.Sequential,
        before: Callable[[torch.Tensor], torch.Tensor] = lambda images: images,
        after: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.network = network
        self.before = before
        self.after = after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.after(self.network(self.before(images)))


def flags_of(model: nn.Module, bars: ImageSet, image_range: tuple[float, float] = (0.0, 1.0)) -> dict[FlagId, Flag]:
    images = torch.from_numpy(bars.images[:20]).float() / 255
    flags = preflight(model, images, torch.from_numpy(bars.labels[:20]), seed=0, image_range=image_range)
    assert [flag.id for flag in flags] == list(FlagId)
    return {flag.id: flag for flag in flags}


def raised(flags: dict[FlagId, Flag]) -> set[str]:
    return {flag.id.value for flag in flags.values() if flag.state == "raised"}


def test_an_honest_model_raises_nothing_and_what_was_not_checked_is_not_called_clear(
    network: nn.Sequential, bars: ImageSet
) -> None:
    flags = flags_of(network, bars)
    assert raised(flags) == set()
    assert {name.value for name, flag in flags.items() if flag.state == "not_checked"} == {"BLACKBOX_WINS"}
    assert all(flag.detail and "\n" not in flag.detail for flag in flags.values())
    assert flags[FlagId.RANGE].to_json() == {"id": "RANGE", "state": "clear", "detail": "pixels are in 0 .. 1"}


def test_noise_in_the_forward_pass(network: nn.Sequential, bars: ImageSet) -> None:
    before = torch.get_rng_state()
    noisy = Wrapped(network, lambda images: images + 0.01 * torch.randn_like(images)).eval()
    assert raised(flags_of(noisy, bars)) == {"RANDOMISED"}
    # Dropout that stays on in eval mode, the case of a defence that calls it as a function.
    dropping = Wrapped(network, after=lambda logits: nn.functional.dropout(logits, 0.5, training=True)).eval()
    assert "RANDOMISED" in raised(flags_of(dropping, bars))
    assert torch.equal(torch.get_rng_state(), before)


def test_probabilities_but_not_log_probabilities(network: nn.Sequential, bars: ImageSet) -> None:
    assert raised(flags_of(Wrapped(network, after=lambda logits: logits.softmax(1)).eval(), bars)) == {"PROBABILITIES"}
    assert raised(flags_of(Wrapped(network, after=lambda logits: logits.log_softmax(1)).eval(), bars)) == set()
    assert raised(flags_of(Wrapped(network, after=lambda logits: logits.abs()).eval(), bars)) == set()


def test_a_gradient_that_is_zero_or_cut(network: nn.Sequential, bars: ImageSet) -> None:
    rounded = flags_of(Wrapped(network, lambda images: (images * 15).round() / 15).eval(), bars)
    assert raised(rounded) == {"ZERO_GRAD"}
    with torch.no_grad():
        images = (torch.from_numpy(bars.images[:20]).float() / 255 * 15).round() / 15
        right = int((network(images).argmax(1) == torch.from_numpy(bars.labels[:20])).sum())
    expected = f"{right} of {right} images with ce, {right} of {right} images with dlr"
    assert expected in rounded[FlagId.ZERO_GRAD].detail
    cut = flags_of(Wrapped(network, after=lambda logits: logits.detach()).eval(), bars)
    assert raised(cut) == {"ZERO_GRAD"}
    assert "cuts the graph" in cut[FlagId.ZERO_GRAD].detail
    # Logits that do have a graph, but one that does not reach the pixels.
    scale = nn.Parameter(torch.ones(()))
    other = flags_of(Wrapped(network, after=lambda logits: logits.detach() * scale).eval(), bars)
    assert raised(other) == {"ZERO_GRAD"}


def test_saturated_cross_entropy_is_told_from_dlr(network: nn.Sequential, bars: ImageSet) -> None:
    detail = flags_of(Wrapped(network, after=lambda logits: logits * 1e4).eval(), bars)[FlagId.ZERO_GRAD].detail
    counts = [int(number) for number in re.findall(r"(\d+) of \d+ images with (?:ce|dlr)", detail)]
    assert counts[0] > 0
    assert counts[1] == 0


def test_gradients_are_judged_on_images_that_would_be_attacked(network: nn.Sequential, bars: ImageSet) -> None:
    images = torch.from_numpy(bars.images[:20]).float() / 255
    with torch.no_grad():
        wrong = (network(images).argmax(1) + 1) % 4
    flags = {flag.id: flag for flag in preflight(network, images, wrong, seed=0, image_range=(0, 1))}
    assert flags[FlagId.ZERO_GRAD].state == "not_checked"
    assert flags[FlagId.ZERO_GRAD].detail == "the model has none of 20 images right"


def test_train_mode_is_reported_and_kept(network: nn.Sequential, bars: ImageSet) -> None:
    network[1].train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        flags = flags_of(network, bars)
        assert raised(flags) == {"TRAIN_MODE"}
        assert flags[FlagId.TRAIN_MODE].detail.startswith("1 submodules came in train mode (1)")
        assert network[1].training
        assert not network[0].training
        # The running statistics of batch normalisation would have moved in train mode.
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    finally:
        network.eval()


def test_an_exported_program_is_not_taken_for_one_in_train_mode(network: nn.Sequential, bars: ImageSet) -> None:
    example = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    assert exported.training
    assert raised(flags_of(exported, bars)) == set()
    traced = torch.fx.symbolic_trace(network)
    traced.train()
    assert raised(flags_of(traced, bars)) == {"TRAIN_MODE"}
    network.eval()


def test_pixels_outside_the_range(network: nn.Sequential, bars: ImageSet) -> None:
    flags = flags_of(network, bars, (-2.1, 2.6))
    assert raised(flags) == {"RANGE"}
    assert flags[FlagId.RANGE].detail == "pixels are in -2.1 .. 2.6"


def test_labels_that_the_model_has_no_output_for(network: nn.Sequential) -> None:
    with pytest.raises(InputError, match=r"labels must be in 0 .. 3"):
        preflight(network, torch.rand(2, 1, 8, 8), torch.tensor([0, 9]), seed=0, image_range=(0, 1))
