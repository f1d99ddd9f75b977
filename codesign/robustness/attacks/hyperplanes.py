"""The shortest way from a point of the box [0, 1] to a hyperplane, staying in the box."""

from __future__ import annotations

import torch

from codesign.robustness.attacks.norms import Linf, Norm

__all__ = ["to_hyperplane"]

# Newton ends after as many rounds as there are kinks on its way, which are a handful in practice. What it may leave of
# the gap is far below the overshoot of the attacks that use it, and above the rounding of a sum in float32.
_ROUNDS = 50
_LEFT = 1e-4


def to_hyperplane(points: torch.Tensor, slope: torch.Tensor, level: torch.Tensor, norm: Norm) -> torch.Tensor:
    """The smallest changes d, (n, c, h, w), for which slope * (x + d) = level and x + d is in [0, 1].

    In Linf every pixel moves by min(t, room), in L2 by min(t |slope|, room), each in the direction that closes the gap
    and as far as the box leaves room; the gap closed is concave in t and piecewise linear, so Newton's method from
    t = 0 comes up to the solution from below in finitely many steps. Where the box holds no point of the hyperplane
    the change goes as far as the box allows.

    Args:
        points: (n, c, h, w) in [0, 1].
        slope: normal of each hyperplane, of the same shape.
        level: (n,).
        norm: Linf or L2.
    """
    x, w = points.flatten(1), slope.flatten(1)
    # Scaled, so that squares of faint gradients do not underflow; the hyperplane stays the same.
    scale = w.abs().amax(dim=1).clamp_min(torch.finfo(w.dtype).tiny)
    w = w / scale[:, None]
    gap = level / scale - torch.linalg.vecdot(w, x)
    direction = torch.sign(w) * torch.sign(gap)[:, None]
    room = torch.where(direction > 0, 1 - x, x)
    flat = isinstance(norm, Linf)
    weight = w.abs()
    time = _reach(weight, room, gap.abs(), flat)[:, None]
    change = direction * torch.minimum(time if flat else time * weight, room)
    return change.reshape(points.shape)


def _reach(weight: torch.Tensor, room: torch.Tensor, gap: torch.Tensor, flat: bool) -> torch.Tensor:
    """The t, (n,), at which the moves of all pixels close the gap; each pixel moves by t, or by t * weight."""
    gain = weight if flat else weight * weight
    time = torch.zeros_like(gap)
    rows = torch.nonzero(gap > 0).flatten()
    if len(rows) < len(gap):
        weight, room, gain = weight[rows], room[rows], gain[rows]
    now, aim = time[rows], gap[rows]
    missing, rate = aim, gain.sum(dim=1)
    for _ in range(_ROUNDS):
        open_ = (missing > _LEFT * aim) & (rate > 0)
        if not bool(open_.all()):
            rows, now, aim, missing, rate, weight, room, gain = (
                part[open_] for part in (rows, now, aim, missing, rate, weight, room, gain)
            )
        if not len(rows):
            break
        now = now + missing / rate
        time[rows] = now
        way = torch.minimum(now[:, None] if flat else now[:, None] * weight, room)
        missing = aim - torch.linalg.vecdot(weight, way)
        rate = torch.where(way < room, gain, 0.0).sum(dim=1)
    return time
