"""Models that mask their gradients are flagged, and brought down by the modes that they offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from attack_oracles import robust, share, tensors
from masked_models import Stepped, WinnersTakeAll, rounded
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import FGSM, PGD, Adaptive, GradientModes, Square, WorstCase
from codesign.robustness.attacks.adaptive import gradient_modes
from codesign.robustness.preflight import FlagId, preflight
from codesign.robustness.protocol import evaluate_robustness
from codesign.robustness.streams import RandomStreams

EPS = 0.05
PLAIN = PGD(eps=EPS, steps=20)
ADAPTIVE = Adaptive(eps=EPS, attack=PLAIN)


@pytest.fixture(scope="module")
def winners(make_bars: Callable[[int, int], ImageSet]) -> nn.Sequential:
    """A network of k-WTA activations, trained on bars."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            WinnersTakeAll(0.1),
            nn.Flatten(),
            nn.Linear(768, 64),
            WinnersTakeAll(0.1),
            nn.Linear(64, 4),
        )
        data = make_bars(600, 0)
        images, labels = tensors(data)
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(8):
            for part in torch.randperm(len(images)).reshape(-1, 60):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(images[part]), labels[part]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        optimiser.zero_grad()
    return net.eval()


def raised(model: nn.Module, bars: ImageSet) -> set[str]:
    images, labels = tensors(bars)
    flags = preflight(model, images[:20], labels[:20], seed=0, image_range=(0, 1))
    return {flag.id.value for flag in flags if flag.state == "raised"}


def test_rounded_pixels_are_flagged_and_their_apparent_gain_is_gone(network: nn.Sequential, bars: ImageSet) -> None:
    model = rounded(network)
    assert "ZERO_GRAD" in raised(model, bars)
    base, masked, adaptive = (
        share(robust(attack, net, bars)) for attack, net in ((PLAIN, network), (PLAIN, model), (ADAPTIVE, model))
    )
    assert masked > base + 0.1
    assert adaptive <= base + 0.5 * (masked - base)


def test_winners_take_all_is_flagged_and_its_apparent_gain_is_gone(
    network: nn.Sequential, winners: nn.Sequential, bars: ImageSet
) -> None:
    assert "NONDIFF_MASK" in raised(winners, bars)
    assert "NONDIFF_MASK" not in raised(network, bars)
    whole = WorstCase(eps=EPS, attacks=(ADAPTIVE, Square(eps=EPS, queries=500)))
    base, masked = share(robust(PLAIN, network, bars)), share(robust(PLAIN, winners, bars))
    adaptive = share(robust(whole, winners, bars))
    assert masked > base
    assert adaptive <= base + 0.5 * (masked - base)


def test_the_record_says_which_mode_broke_how_many(network: nn.Sequential, bars: ImageSet) -> None:
    model = rounded(network)
    result = evaluate_robustness(model, bars, (ADAPTIVE,), batch_size=50, seed=0, sanity_images=4)
    counts = dict(result.attacks[0].broken_by)
    assert list(counts) == list(ADAPTIVE.parts)
    assert counts["straight_through"] > 0
    assert counts["soft_mask"] == counts["bpda_exact"] == 0  # not offered
    broken = int(result.clean_correct.sum()) - int(result.attacks[0].correct.sum())
    assert sum(counts.values()) == broken
    assert result.to_json()["attacks"][0]["broken_by"] == counts


def test_answers_are_those_of_the_model_whatever_the_mode(network: nn.Sequential, bars: ImageSet) -> None:
    class Lying(nn.Module):
        """Offers a mode whose forward pass is another function: only its gradient may be used."""

        gradient_modes = ("soft_mask",)

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.flipped = False

        @contextmanager
        def gradient_mode(self, mode: str) -> Iterator[None]:  # noqa: ARG002
            self.flipped = True
            try:
                yield
            finally:
                self.flipped = False

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(images)
            return logits.roll(1, dims=1) + logits if self.flipped else logits

    model = Lying().eval()
    assert isinstance(model, GradientModes)
    robust(Adaptive(eps=EPS, attack=PLAIN, modes=("soft_mask",)), model, bars)  # asserts that claims are verified
    assert not model.flipped


def test_a_mode_without_gradient_is_passed_over(network: nn.Sequential, bars: ImageSet) -> None:
    class Cut(Stepped):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach() if self.mode == "as_coded" else super().forward(x)

    model = nn.Sequential(Cut(0, 1), network).eval()
    with pytest.raises(InputError, match="no gradient reaches the pixels"):
        robust(PLAIN, model, bars)
    assert share(robust(ADAPTIVE, model, bars)) < 0.75


def test_modes_are_checked(network: nn.Sequential, bars: ImageSet) -> None:
    assert gradient_modes(rounded(network)) == ("as_coded", "straight_through", "jittered_thresholds")
    assert gradient_modes(network) == ("as_coded",)
    with pytest.raises(InputError, match="unknown gradient mode"):
        Adaptive(eps=EPS, attack=PLAIN, modes=("straight",))
    with pytest.raises(InputError, match="needs an attack of its norm and eps"):
        Adaptive(eps=2 * EPS, attack=PLAIN)
    images, labels = tensors(bars)
    missing = Adaptive(eps=EPS, attack=PLAIN, modes=("bpda_exact",))
    with pytest.raises(InputError, match="bpda_exact asked for; the model has as_coded"):
        missing(network, images, labels, streams=RandomStreams.of(0, len(images)))
    assert ADAPTIVE.with_eps(0.1).attack == PLAIN.with_eps(0.1)


def test_a_forward_pass_that_optimises_is_flagged(network: nn.Sequential, bars: ImageSet) -> None:
    class Purifying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                moved = images.detach().requires_grad_(True)
                entropy = self.network(moved).logsumexp(1).sum()
                (slope,) = torch.autograd.grad(entropy, moved)
            logits: torch.Tensor = self.network(images + 0.01 * slope.sign())
            return logits

    class Counting(nn.Module):
        seen: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += len(images)
            logits: torch.Tensor = self.network(images)
            return logits

    assert "INFERENCE_OPT" in raised(Purifying().eval(), bars)
    counting = Counting().eval()
    images, labels = tensors(bars)
    flags = preflight(counting, images[:8], labels[:8], seed=0, image_range=(0, 1))
    found = next(flag for flag in flags if flag.id is FlagId.INFERENCE_OPT)
    assert (found.state, found.detail) == ("raised", "the forward pass changes the model: seen")


def test_a_relu_written_with_a_comparison_is_not_called_a_mask(network: nn.Sequential, bars: ImageSet) -> None:
    class Handmade(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(network)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for part in self.parts:
                x = torch.where(x > 0, x, 0.0) if isinstance(part, nn.ReLU) else part(x)
            return x

    images, labels = tensors(bars)
    flags = preflight(Handmade().eval(), images[:8], labels[:8], seed=0, image_range=(0, 1))
    mask = next(flag for flag in flags if flag.id is FlagId.NONDIFF_MASK)
    assert mask.state == "clear"
    assert "selects by gt" in mask.detail


def test_square_that_wins_is_told_from_both_ways_of_running_it(network: nn.Sequential, bars: ImageSet) -> None:
    model = rounded(network)
    square = Square(eps=EPS, queries=200)
    for attacks in ((PLAIN, square), (WorstCase(eps=EPS, attacks=(PLAIN, square)),)):
        for net, state in ((model, "raised"), (network, "clear")):
            result = evaluate_robustness(net, bars, attacks, batch_size=60, seed=0, sanity_images=0)
            flag = next(one for one in result.flags if one.id is FlagId.BLACKBOX_WINS)
            assert flag.state == state, flag
    only = evaluate_robustness(network, bars, square, batch_size=60, seed=0, sanity_images=0)
    assert {flag.id: flag.state for flag in only.flags}[FlagId.BLACKBOX_WINS] == "not_checked"


def test_more_of_an_adaptive_attack_is_more_of_what_runs_in_each_mode() -> None:
    inner = PGD(eps=0.1, steps=5)
    attack, longer, restarted = Adaptive(eps=0.1, attack=inner), inner.longer(), inner.restarted()
    assert longer is not None
    assert "steps=50" in repr(longer)
    assert restarted is not None
    assert "restarts=5" in repr(restarted)
    assert attack.longer() == Adaptive(eps=0.1, attack=longer)
    assert attack.restarted() == Adaptive(eps=0.1, attack=restarted)
    assert Adaptive(eps=0.1, attack=FGSM(eps=0.1)).longer() is None
