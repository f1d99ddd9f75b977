"""The ball an attacker may move in: how it is measured, projected on, stepped in and drawn from.

Every ball is meant together with the box [0, 1] of pixels. Images are float (n, c, h, w).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite, prod, sqrt

import torch

from codesign.errors import InputError, did_you_mean

__all__ = ["L2", "LINF", "Linf", "Norm", "norm_from_name"]


def _per_image(values: torch.Tensor) -> torch.Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return values[:, None, None, None]


class Norm(ABC):
    """A norm on perturbations. A user's own norm subclasses this."""

    name: str

    @abstractmethod
    def size(self, perturbation: torch.Tensor) -> torch.Tensor:
        """The norm of each perturbation, (n,)."""

    @abstractmethod
    def project(self, moved: torch.Tensor, images: torch.Tensor, eps: float) -> torch.Tensor:
        """``moved`` brought into the ball of radius ``eps`` around ``images`` and into [0, 1].

        The result is in both, up to the rounding of its dtype; eps = 0 gives ``images`` exactly.
        """

    def bounds(self, images: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor] | None:  # noqa: ARG002
        """The ball with the box as one interval for each pixel, if it is that: clamping to it is then ``project``."""
        return None

    @abstractmethod
    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The step of size 1 along which a linear function with this gradient rises most; 0 where the gradient is 0."""

    @abstractmethod
    def random_start(self, shape: tuple[int, ...], eps: float, generator: torch.Generator) -> torch.Tensor:
        """A perturbation of one image drawn uniformly from the ball, float32 on the CPU."""

    @abstractmethod
    def full_range(self, shape: tuple[int, ...]) -> float:
        """The eps at which the ball holds every image of this shape: nothing is left to defend."""

    @abstractmethod
    def advice(self, eps: float, shape: tuple[int, ...]) -> str | None:
        """A remark if ``eps`` has the scale of another norm, else None."""

    def check_eps(self, eps: float, shape: tuple[int, ...] | None = None) -> None:
        """Raise InputError unless ``eps`` is finite, not negative and, if a shape is given, within ``full_range``."""
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not isfinite(eps) or eps < 0:
            raise InputError("eps must be a finite number >= 0", got=eps, key="eps")
        if shape is not None and eps > self.full_range(shape):
            raise InputError(
                f"eps must be at most {self.full_range(shape):g} in {self.name}: pixels lie in [0, 1]",
                got=eps,
                key="eps",
                fix=f"did you mean {eps:g}/255 = {eps / 255:.4g}, or another norm?",
            )


@dataclass(frozen=True)
class Linf(Norm):
    """The largest change of any pixel."""

    name = "Linf"

    def size(self, perturbation: torch.Tensor) -> torch.Tensor:
        return perturbation.abs().flatten(1).amax(dim=1)

    def project(self, moved: torch.Tensor, images: torch.Tensor, eps: float) -> torch.Tensor:
        return torch.clamp(moved, images - eps, images + eps).clamp_(0.0, 1.0)

    def bounds(self, images: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
        return (images - eps).clamp_(min=0.0), (images + eps).clamp_(max=1.0)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.sign()

    def random_start(self, shape: tuple[int, ...], eps: float, generator: torch.Generator) -> torch.Tensor:
        return (2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1) * eps

    def full_range(self, shape: tuple[int, ...]) -> float:  # noqa: ARG002
        return 1.0

    def advice(self, eps: float, shape: tuple[int, ...]) -> str | None:  # noqa: ARG002
        if eps < 0.35:  # MNIST is judged at 0.3, the largest in common use
            return None
        return f"eps = {eps:g} in Linf changes every pixel by up to {eps:.0%} of its range: a radius meant for L2?"


@dataclass(frozen=True)
class L2(Norm):
    """The Euclidean length of the change of all pixels and channels."""

    name = "L2"

    def size(self, perturbation: torch.Tensor) -> torch.Tensor:
        length: torch.Tensor = torch.linalg.vector_norm(perturbation.flatten(1), dim=1)
        return length

    def project(self, moved: torch.Tensor, images: torch.Tensor, eps: float) -> torch.Tensor:
        # Clipping to the box moves every pixel towards the image, which is in the box: the ball is not left again.
        perturbation = moved - images
        size = self.size(perturbation)
        inside = size <= eps
        scale = torch.where(inside, torch.ones_like(size), eps / torch.where(inside, torch.ones_like(size), size))
        return (images + perturbation * _per_image(scale)).clamp_(0.0, 1.0)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        # Scaled by the largest entry first: the squares of a faint gradient would underflow to a zero length.
        largest = gradient.abs().flatten(1).amax(dim=1)
        scaled = gradient / _per_image(torch.where(largest > 0, largest, torch.ones_like(largest)))
        length = self.size(scaled)
        return scaled / _per_image(torch.where(length > 0, length, torch.ones_like(length)))

    def random_start(self, shape: tuple[int, ...], eps: float, generator: torch.Generator) -> torch.Tensor:
        # A normal draw has a uniform direction; the volume inside radius r grows with r to the dimension.
        drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
        radius = torch.rand((), generator=generator, dtype=torch.float32) ** (1 / prod(shape))
        unit: torch.Tensor = drawn / torch.linalg.vector_norm(drawn)
        return unit * radius * eps

    def full_range(self, shape: tuple[int, ...]) -> float:
        return sqrt(prod(shape))

    def advice(self, eps: float, shape: tuple[int, ...]) -> str | None:
        # The smallest L2 radius in common use on images is 36/255 = 0.14 (certified CIFAR-10).
        if eps == 0 or eps >= 0.1 or prod(shape) < 256:
            return None
        spread = eps / sqrt(prod(shape)) * 255
        return f"eps = {eps:g} in L2, spread evenly, changes a value by {spread:.2g}/255: a radius meant for Linf?"


LINF = Linf()
_NORMS: dict[str, Norm] = {"linf": LINF, "l2": L2()}


def norm_from_name(name: str) -> Norm:
    """ "linf" or "l2", in any case. Raises InputError."""
    if name.lower() not in _NORMS:
        raise InputError("unknown norm", got=name, key="norm", fix=did_you_mean(name.lower(), _NORMS))
    return _NORMS[name.lower()]
