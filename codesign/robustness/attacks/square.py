"""Square attack: random search over squares of pixels, without gradients.

M. Andriushchenko, F. Croce, N. Flammarion and M. Hein, ECCV 2020, arXiv 1912.00049, algorithms 1 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import final

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.checks import check_counts, check_numbers
from codesign.robustness.attacks.gradients import Estimate, Found, estimate, wrong_share
from codesign.robustness.attacks.losses import margin
from codesign.robustness.attacks.norms import L2, LINF, Linf, Norm
from codesign.robustness.attacks.square_moves import L2Moves, LinfMoves, Moves
from codesign.robustness.inference import Model
from codesign.robustness.streams import RandomStreams

__all__ = ["Square", "square_side"]

_BLOCK = 250  # queries whose random numbers are drawn together: memory against calls
# Of 10,000 queries, those after which the share of changed pixels is halved (section 4 of the paper).
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square_side(query: int, share: float, height: int, width: int, least: int = 1) -> int:
    """The side of the square at a query: the root of the number of pixels that the paper's schedule changes then."""
    part = share / 2 ** sum(query > limit for limit in _HALVINGS)
    return min(max(round(sqrt(part * height * width)), least), height, width)


@final
@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search: change one square of the image, keep the change if the margin moves towards an error.

    For a random model (``draws`` > 1) margins are means over draws, no image is left out on the way, and the outcome
    is judged on fresh draws.

    Args:
        norm: of the perturbation, Linf or L2.
        eps: radius, in units of the pixel range [0, 1].
        queries: images that the model is shown in each run, each ``draws`` times.
        restarts: runs from different stripes.
        share: of the pixels that the first squares cover; halved along the way.
        stretched: fit the schedule of the squares, written for 10,000 queries, to ``queries`` (AutoAttack does not).
        draws: of a random model for each query; 1 for a deterministic one.
        chunk: draws that are run together, a matter of memory and speed only.
    """

    norm: Norm = LINF
    eps: float
    queries: int = 5000
    restarts: int = 1
    share: float = 0.8
    stretched: bool = False
    draws: int = 1
    chunk: int = 1

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        check_counts({"queries": self.queries, "restarts": self.restarts, "draws": self.draws, "chunk": self.chunk})
        check_numbers({"share": self.share}, 0.0, 1.0)
        if not isinstance(self.norm, Linf | L2):
            raise InputError("Square knows the norms Linf and L2", got=self.norm.name, key="norm")
        object.__setattr__(self, "eps", float(self.eps))

    @property
    def title(self) -> str:
        parts = [f"Square-{self.queries}", self.norm.name, eps_text(self.eps)]
        parts += [f"x{self.restarts}"] if self.restarts > 1 else []
        parts += [f"EoT-{self.draws}"] if self.draws > 1 else []
        return " ".join(parts)

    @property
    def gradient_free(self) -> bool:
        return True

    @property
    def repeats(self) -> int:
        return self.draws

    def restarted(self) -> Attack:
        return replace(self, restarts=5 * self.restarts)

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        found = Found(images)
        moves = LinfMoves(self.eps) if isinstance(self.norm, Linf) else L2Moves(self.eps)
        with torch.no_grad():
            for restart in range(self.restarts):
                rows = torch.nonzero(~found.success if self.draws == 1 else torch.ones_like(found.success)).flatten()
                if not len(rows):
                    break
                self._search(model, images, labels, rows, streams, restart, moves, found)
        if self.draws > 1:
            found.success = found.shares > 0.5
        return AttackResult(found.images, found.success)

    def _search(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        streams: RandomStreams,
        restart: int,
        moves: Moves,
        found: Found,
    ) -> None:
        """One run for the images at ``rows``; what it finds goes to ``found``."""
        height, width = images.shape[2:]
        clean, drawn = images[rows], torch.empty(0)
        best, best_margin = clean, torch.full((len(rows),), -torch.inf, device=images.device)
        for query in range(self.queries):
            if query % _BLOCK == 0:
                count = min(_BLOCK, self.queries - query)
                drawn = _draws(streams.select(rows), restart, query, count, moves.numbers(images)).to(images.device)
            if query == 0:
                tried = moves.start(clean, streams.select(rows), restart)
            else:
                side = square_side(
                    query * 10_000 // self.queries if self.stretched else query,
                    self.share,
                    height,
                    width,
                    moves.least_side,
                )
                tried = moves.propose(clean, best, drawn[:, query % _BLOCK], side)
            seen = self._look(model, tried, labels[rows])
            better = seen.margins > best_margin
            best = torch.where(better[:, None, None, None], tried, best)
            best_margin = torch.where(better, seen.margins, best_margin)
            if self.draws > 1:
                continue
            fooled = seen.wrong > 0
            if bool(fooled.any()):
                found.update(rows[fooled], tried[fooled], seen.margins[fooled], fooled[fooled])
                left = ~fooled
                rows, clean, drawn, best, best_margin = (part[left] for part in (rows, clean, drawn, best, best_margin))
                if not len(rows):
                    return
        if self.draws > 1:
            share = wrong_share(model, best, labels[rows], draws=2 * self.draws, chunk=self.chunk)
            found.compare(rows, best, share)
        else:
            found.update(rows, best, best_margin, torch.zeros_like(rows, dtype=torch.bool))

    def _look(self, model: Model, images: torch.Tensor, labels: torch.Tensor) -> Estimate:
        return estimate(
            model,
            images,
            labels,
            lambda logits: margin(logits, labels),
            draws=self.draws,
            chunk=self.chunk,
            gradient=False,
        )


def _draws(streams: RandomStreams, restart: int, query: int, count: int, numbers: int) -> torch.Tensor:
    """Uniform numbers for ``count`` queries of each image, (n, count, numbers)."""
    return torch.stack(
        [torch.rand((count, numbers), generator=one) for one in streams.generators("square", restart, query)]
    )
