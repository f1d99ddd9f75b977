"""Attacks of AutoAttack beside an independent implementation, on a network where about half of the images fall."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attack_oracles import published, robust, share
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import (
    APGD,
    L2,
    PGD,
    Attack,
    AutoAttack,
    Linf,
    Norm,
    Square,
    TargetedAPGD,
    TargetedFAB,
    WorstCase,
)
from codesign.robustness.attacks.climb import checkpoints
from codesign.robustness.attacks.hyperplanes import to_hyperplane
from codesign.robustness.attacks.square import square_side
from codesign.robustness.streams import RandomStreams

RADII: dict[str, tuple[Norm, float]] = {"Linf": (Linf(), 0.05), "L2": (L2(), 0.4)}


@pytest.fixture(scope="module")
def many(make_bars: Callable[[int, int], ImageSet]) -> ImageSet:
    return make_bars(400, 3)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize(
    ("name", "budget", "make"),
    [
        ("apgd-ce", 30, lambda norm, eps: APGD(norm=norm, eps=eps, steps=30)),
        ("apgd-dlr", 30, lambda norm, eps: APGD(norm=norm, eps=eps, steps=30, loss="dlr")),
        ("apgd-t", 30, lambda norm, eps: TargetedAPGD(norm=norm, eps=eps, steps=30)),
        ("fab-t", 30, lambda norm, eps: TargetedFAB(norm=norm, eps=eps, steps=30)),
    ],
)
def test_robust_accuracy_is_that_of_the_published_code_within_a_point(
    network: nn.Sequential, many: ImageSet, name: str, budget: int, make: Callable[[Norm, float], Attack], norm: str
) -> None:
    kind, eps = RADII[norm]
    ours = robust(make(kind, eps), network, many)
    theirs = published(name, network, many, norm, eps, budget)
    assert abs(share(ours) - share(theirs)) <= 0.01 + 1e-9
    assert 0.1 < share(theirs) < 0.8


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_is_not_weaker_than_the_published_code(network: nn.Sequential, many: ImageSet, norm: str) -> None:
    # On 8 x 8 images it is much stronger: the published code never draws the squares at the last row and column.
    kind, eps = RADII[norm]
    ours = robust(Square(norm=kind, eps=eps, queries=200), network, many)
    assert share(ours) <= share(published("square", network, many, norm, eps, 200)) + 0.01


def plain_square(
    model: nn.Module, image: torch.Tensor, label: int, eps: float, queries: int, draw: torch.Generator
) -> bool:
    """Algorithms 1 and 2 of the paper for one image in Linf: whether the model is fooled."""

    def margin_of(moved: torch.Tensor) -> float:
        logits = model(moved[None])[0]
        return float(logits[label] - torch.cat([logits[:label], logits[label + 1 :]]).max())

    channels, height, width = image.shape
    stripes = torch.randint(0, 2, (channels, 1, width), generator=draw) * 2.0 - 1
    best = (image + eps * stripes).clamp(0, 1)
    lowest = margin_of(best)
    for query in range(1, queries):
        if lowest < 0:
            return True
        side = square_side(query, 0.8, height, width)
        top = int(torch.randint(0, height - side + 1, (1,), generator=draw))
        left = int(torch.randint(0, width - side + 1, (1,), generator=draw))
        tried = best.clone()
        for channel in range(channels):
            sign = 1 if torch.rand((), generator=draw) < 0.5 else -1
            window = (channel, slice(top, top + side), slice(left, left + side))
            tried[window] = (image[window] + sign * eps).clamp(0, 1)
        reached = margin_of(tried)
        if reached < lowest:
            best, lowest = tried, reached
    return lowest < 0


@torch.no_grad()
def test_square_written_as_the_paper_has_it_is_as_strong(network: nn.Sequential, many: ImageSet) -> None:
    queries, eps = 60, 0.05
    ours = robust(Square(eps=eps, queries=queries), network, many)
    pixels, labels = torch.from_numpy(many.images).float() / 255, torch.from_numpy(many.labels)
    clean = network(pixels).argmax(1) == labels
    draw = torch.Generator().manual_seed(0)
    plain = torch.tensor(
        [
            bool(right) and not plain_square(network, image, int(label), eps, queries, draw)
            for image, label, right in zip(pixels, labels, clean, strict=True)
        ]
    )
    # Two random searches, not the same draws: discordant images are compared, not only the accuracies.
    discordant = int((ours != plain).sum())
    assert abs(int(ours.sum()) - int(plain.sum())) <= max(4, 2 * discordant**0.5)
    assert abs(share(ours) - share(plain)) <= 0.03
    assert 0.5 < share(plain) < 0.85


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_autoattack_leaves_no_image_that_a_part_breaks(network: nn.Sequential, many: ImageSet, norm: str) -> None:
    kind, eps = RADII[norm]
    whole = AutoAttack(norm=kind, eps=eps)
    small = WorstCase(
        norm=kind,
        eps=eps,
        attacks=(
            APGD(norm=kind, eps=eps, steps=20),
            TargetedAPGD(norm=kind, eps=eps, steps=20),
            TargetedFAB(norm=kind, eps=eps, steps=20),
            Square(norm=kind, eps=eps, queries=100),
        ),
    )
    assert [type(part) for part in whole.members] == [type(part) for part in small.members]
    assert whole.parts[0] == whole.members[0].title
    pixels, labels = torch.from_numpy(many.images[:80]).float() / 255, torch.from_numpy(many.labels[:80])
    streams = RandomStreams.of(0, 80)
    found = small(network, pixels, labels, streams=streams)
    alone = [part(network, pixels, labels, streams=streams).success for part in small.attacks]
    assert torch.equal(found.success, torch.stack(alone).any(dim=0))
    assert found.part is not None
    with torch.no_grad():
        clean = network(pixels).argmax(1) == labels
    for number, success in enumerate(alone):
        mine = found.part == number
        assert bool(success[mine].all())
        assert not any(bool(earlier[mine].any()) for earlier in alone[:number])
    assert torch.equal(found.part >= 0, found.success & clean)
    weaker = PGD(norm=kind, eps=eps)(network, pixels, labels, streams=streams).success
    assert int(found.success.sum()) >= int(weaker.sum())


def test_an_image_draws_the_same_numbers_in_any_batch(network: nn.Sequential, many: ImageSet) -> None:
    pixels, labels = torch.from_numpy(many.images[:24]).double() / 255, torch.from_numpy(many.labels[:24])
    double = network.double()
    try:
        for attack in (
            APGD(eps=0.05, steps=10),
            TargetedAPGD(eps=0.05, steps=8),
            TargetedFAB(eps=0.05, steps=8, restarts=2),
            Square(eps=0.05, queries=40, restarts=2),
            Square(norm=L2(), eps=0.4, queries=40),
        ):
            whole = attack(double, pixels, labels, streams=RandomStreams.of(0, 24))
            pieces = [
                attack(double, pixels[low:high], labels[low:high], streams=RandomStreams.of(0, high - low, low))
                for low, high in ((0, 5), (5, 24))
            ]
            assert torch.equal(whole.success, torch.cat([piece.success for piece in pieces])), attack
            assert torch.allclose(whole.images, torch.cat([piece.images for piece in pieces]), atol=1e-6), attack
    finally:
        network.float()


def test_checkpoints_of_the_paper() -> None:
    # Figure 1 of arXiv 2003.01690: p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99.
    assert checkpoints(100) == (22, 41, 57, 70, 80, 87, 93, 99)
    assert checkpoints(1) == (1,)


def test_squares_of_the_paper() -> None:
    sides = [square_side(query, 0.8, 32, 32) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert sides == [29, 29, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert square_side(9999, 0.8, 32, 32, least=3) == 3
    assert square_side(0, 1.0, 4, 9) == 4


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_the_way_to_a_hyperplane_is_the_shortest_in_the_box(norm: Norm) -> None:
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(64, 1, 3, 4, generator=draw, dtype=torch.float64)
    points[:16].round_()  # corners, where half of the directions are closed
    slope = torch.randn(points.shape, generator=draw, dtype=torch.float64)
    slope[::3, :, 0] = 0
    level = (slope * torch.rand(points.shape, generator=draw, dtype=torch.float64)).sum(dim=(1, 2, 3))  # inside the box
    change = to_hyperplane(points, slope, level, norm)
    moved = points + change
    assert float(moved.min()) >= -1e-12
    assert float(moved.max()) <= 1 + 1e-12
    left = (slope * moved).sum(dim=(1, 2, 3)) - level
    gap = (slope * points).sum(dim=(1, 2, 3)) - level
    assert bool((left.abs() <= 1e-3 * gap.abs()).all())
    # No shorter: by bisection over the length of the move, clipped to the box, which is optimal for each length in
    # Linf and, with the pixel's share proportional to the slope, in L2 (the conditions of Karush, Kuhn and Tucker).
    towards = -torch.sign(gap)[:, None, None, None] * (slope.sign() if norm.name == "Linf" else slope)
    low, high = torch.zeros(64, dtype=torch.float64), torch.full((64,), 1e6, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        there = (points + middle[:, None, None, None] * towards).clamp(0, 1)
        short = ((slope * there).sum(dim=(1, 2, 3)) - level).sign() == gap.sign()
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    best = norm.size((points + high[:, None, None, None] * towards).clamp(0, 1) - points)
    assert torch.allclose(norm.size(change), best, rtol=1e-2, atol=1e-9)


def test_a_hyperplane_that_misses_the_box_is_approached_as_far_as_it_goes() -> None:
    points = torch.full((1, 1, 2, 2), 0.5)
    slope = torch.tensor([[[[1.0, -2.0], [0.0, 3.0]]]])
    moved = points + to_hyperplane(points, slope, torch.tensor([100.0]), Linf())
    assert moved.flatten().tolist() == [1.0, 0.0, 0.5, 1.0]


def test_targets_need_four_classes(network: nn.Sequential, many: ImageSet) -> None:
    three = nn.Sequential(network, nn.Linear(4, 3)).eval()
    pixels = torch.from_numpy(many.images[:8]).float() / 255
    with torch.no_grad():
        labels = three(pixels).argmax(1)
    with pytest.raises(InputError, match="at least four classes"):
        AutoAttack(eps=1e-6)(three, pixels, labels, streams=RandomStreams.of(0, 8))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: APGD(eps=-1), "eps must be a finite number >= 0"),
        (lambda: APGD(eps=0.1, steps=0), "steps must be an integer >= 1"),
        (lambda: APGD(eps=0.1, loss="cw"), "unknown loss"),  # type: ignore[arg-type]
        (lambda: APGD(eps=0.1, rho=1.5), "rho must be a finite number > 0 and <= 1"),
        (lambda: TargetedAPGD(eps=0.1, targets=0), "targets must be an integer >= 1"),
        (lambda: TargetedFAB(eps=0.1, back=float("nan")), "back must be"),
        (lambda: Square(eps=0.1, queries=1.5), "queries must be an integer"),  # type: ignore[arg-type]
        (lambda: AutoAttack(eps=0.1, version="plus"), "unknown version"),  # type: ignore[arg-type]
        (lambda: WorstCase(eps=0.1, attacks=()), "at least one Attack"),
        (lambda: WorstCase(eps=0.1, attacks=(APGD(eps=0.2),)), "one norm and radius"),
        (lambda: WorstCase(eps=0.1, attacks=(APGD(eps=0.1), APGD(eps=0.1))), "attacks must differ"),
    ],
)
def test_parameters_that_cannot_be(make: Callable[[], Attack], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
