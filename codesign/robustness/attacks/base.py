"""The seam through which every attack comes in, a user's own as well as ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self

import torch

from codesign.errors import InputError
from codesign.robustness.attacks.norms import Norm
from codesign.robustness.inference import Model, check_images, check_labels, logits_of, training_submodules
from codesign.robustness.inference_copy import inference_copy
from codesign.robustness.streams import RandomStreams

__all__ = ["Attack", "AttackResult"]


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found.

    Args:
        images: (n, c, h, w) in [0, 1], within eps of the originals: for an image in ``success`` the first one found
            that fools the model (the original, where the model is wrong already), else the one that came nearest.
        success: bool (n,), whether the model was seen to be wrong on it; for an attack on a random model, in more than
            half of the draws.
        part: of an attack made of ``parts``, int64 (n,), the number of the part that each success comes from, -1 where
            there is none; else None.
    """

    images: torch.Tensor
    success: torch.Tensor
    part: torch.Tensor | None = None


@dataclass(frozen=True)
class Attack(ABC):
    """An attack is its keyword parameters; model, images and labels come with the call.

    A subclass is a frozen dataclass with ``kw_only=True``, and has ``norm`` and ``eps`` among its fields.
    ``repr`` gives the full configuration: it is the attack's key in caches and its name in reports, so every parameter
    that changes the result must be a field.
    """

    norm: Norm
    eps: float

    @property
    def title(self) -> str:
        """A short name for tables, such as "PGD-20 Linf 8/255"."""
        return f"{type(self).__name__} {self.norm.name} {eps_text(self.eps)}"

    @property
    def repeats(self) -> int:
        """How many draws of a random model each decision of this attack rests on; 1 takes the model's word once."""
        return 1

    @property
    def gradient_free(self) -> bool:
        """Whether the attack only looks at the model's answers, which masked gradients cannot mislead."""
        return False

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the attacks that this one is made of, in order; none if it is not made of others."""
        return ()

    @property
    def gradient_free_parts(self) -> tuple[bool, ...]:
        """``gradient_free`` of each of ``parts``."""
        return (self.gradient_free,) * len(self.parts)

    @property
    def sanity_member(self) -> Attack:
        """The attack that stands for this one where many runs are needed to check it; itself, or the first of many."""
        return self

    def longer(self) -> Attack | None:
        """The same with ten times the steps; None for an attack that has none."""
        return None

    def restarted(self) -> Attack | None:
        """The same with five times the restarts; None for an attack that always does the same."""
        return None

    def configuration(self) -> dict[str, Any]:
        """The parameters as plain values, with the class's name under ``attack``, for a record in JSON."""
        plain: dict[str, Any] = {"attack": type(self).__name__}
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            plain[parameter.name] = value.name if isinstance(value, Norm) else _plain(value)
        return plain

    def with_eps(self, eps: float) -> Self:
        """The same attack with another radius; a subclass scales what is measured in units of ``eps`` along with it."""
        return replace(self, eps=eps)

    def __call__(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor, *, streams: RandomStreams
    ) -> AttackResult:
        """Attack each image that the model has right; the others are returned as they are, as successes.

        Args:
            model: logits (n, classes) from pixels (n, c, h, w) in [0, 1]; in eval mode, as are all its submodules.
                Its parameters are not touched, whether they require gradients or not.
            images: float (n, c, h, w) in [0, 1].
            labels: int64 (n,).
            streams: the images' random numbers.

        Raises InputError for a model in train mode, images outside [0, 1], labels out of range, logits that are not
        finite, or an ``eps`` that is larger than the norm allows for such images.
        """
        # A caller's inference_mode would forbid every gradient.
        with torch.inference_mode(False), torch.enable_grad():
            images, labels = images.detach().clone(), labels.clone()
            right = self._check(model, images, labels, streams)
            adversarial, success = images.clone(), ~right
            part = torch.full_like(labels, -1) if self.parts else None
            if bool(right.any()):
                found = self._perturb_copy(model, images, labels, streams, right)
                adversarial[right], success[right] = found.images, found.success
                if part is not None and found.part is not None:
                    part[right] = found.part
        return AttackResult(adversarial, success, part)

    @abstractmethod
    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        """Attack images that the model has right; called with checked arguments, gradients enabled."""

    def perturb_within(
        self,
        model: Model,
        images: torch.Tensor,
        labels: torch.Tensor,
        streams: RandomStreams,
        room: int,  # noqa: ARG002
    ) -> AttackResult:
        """As ``perturb``, for an attack that can run more rows than it is given images: ``room`` of them fit memory."""
        return self.perturb(model, images, labels, streams)

    def _perturb_copy(
        self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams, right: torch.Tensor
    ) -> AttackResult:
        """``perturb`` the images that are ``right`` on a faster copy of the model, if there is one; it has the say."""
        room, images, labels, streams = len(images), images[right], labels[right], streams.select(right)
        copy = model if self.repeats > 1 else inference_copy(model, images)
        found = self.perturb_within(copy, images, labels, streams, room)
        rows = torch.nonzero(found.success).flatten()
        if copy is model or not len(rows):
            return found
        with torch.no_grad():
            stands = rows[logits_of(model, found.images[rows]).argmax(dim=1) == labels[rows]]
            # Where the copy is not fooled either, the attack has claimed too much: that is for others to notice.
            if len(stands):
                stands = stands[logits_of(copy, found.images[stands]).argmax(dim=1) != labels[stands]]
        found.success[stands] = False
        if found.part is not None:
            found.part[stands] = -1
        return found

    def _check(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> torch.Tensor:
        """Refuse what cannot be attacked; returns bool (n,), where the model is right (in any of ``repeats`` draws)."""
        check_images(images)
        self.norm.check_eps(self.eps, tuple(images.shape[1:]))
        if len(streams) != len(images):
            raise ValueError(f"{type(self).__name__}: one stream per image (got {len(streams)} for {len(images)})")
        training = training_submodules(model)
        if training:
            raise InputError(
                "a model must be in eval mode to be attacked",
                got=f"in train mode: {', '.join(training[:5])}",
                key="model",
                fix="call model.eval()",
            )
        with torch.no_grad():
            logits = logits_of(model, images)
            check_labels(labels, len(images), logits.shape[1])
            right = logits.argmax(dim=1) == labels
            for _ in range(self.repeats - 1):
                right |= logits_of(model, images).argmax(dim=1) == labels
        return right


def eps_text(eps: float) -> str:
    """A radius as it is written in papers: "8/255" where it is a whole multiple of 1/255, else the number."""
    steps = eps * 255
    whole = round(steps)
    return f"{whole}/255" if whole and abs(steps - whole) < 1e-6 and whole <= 64 else f"{eps:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Attack):
        return value.configuration()
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value):
        return repr(value)
    raise TypeError(f"Attack: a parameter must be a plain value, a dataclass or an attack (got {value!r})")
