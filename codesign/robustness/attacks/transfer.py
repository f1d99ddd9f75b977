"""Transfer: adversarial images made on other models, tried on this one.

N. Papernot, P. McDaniel and I. Goodfellow, arXiv 1605.07277. What gradients hide in a defended model they often show
in its undefended base, or in a model that does the same work.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Self, final

import torch
from torch import nn

from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack, AttackResult, eps_text
from codesign.robustness.attacks.norms import LINF, Norm
from codesign.robustness.attacks.worst import pointwise_worst
from codesign.robustness.inference import Model, eval_mode
from codesign.robustness.streams import RandomStreams

__all__ = ["SourceModel", "Transfer"]


@dataclass(frozen=True)
class SourceModel:
    """A model that adversarial images are made on.

    Args:
        name: for the report.
        module: of the same inputs and classes as the model under attack, on the same device.
        sha256: of its weights; worked out here, and part of the attack's ``repr``.
    """

    name: str
    module: nn.Module = field(repr=False, compare=False)
    sha256: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise InputError("a source must be a module", got=self.module, key=self.name)
        digest = hashlib.sha256()
        for key, tensor in self.module.state_dict().items():
            if isinstance(tensor, torch.Tensor):
                digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())


@final
@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """An attack run on each of some other models; every image that stands is tried on the model under attack.

    Args:
        norm, eps: those of ``attack``.
        attack: what runs on the sources. It should go on until a source is surely wrong: PGD and APGD stop at the
            first error and transfer poorly, ``EOTPGD`` with ``draws=1`` does not stop.
        sources: at least one, of different names.
    """

    norm: Norm = LINF
    eps: float
    attack: Attack
    sources: tuple[SourceModel, ...]

    def __post_init__(self) -> None:
        self.norm.check_eps(self.eps)
        object.__setattr__(self, "eps", float(self.eps))
        object.__setattr__(self, "sources", tuple(self.sources))
        if not isinstance(self.attack, Attack) or self.attack.norm != self.norm or self.attack.eps != self.eps:
            raise InputError("a transfer needs an attack of its norm and eps", got=self.attack, key="attack")
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise InputError("a transfer needs sources of different names", got=", ".join(names), key="sources")

    @property
    def title(self) -> str:
        return f"transfer from {len(self.sources)} {self.norm.name} {eps_text(self.eps)}"

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    @property
    def gradient_free(self) -> bool:
        return True  # of the model under attack

    def with_eps(self, eps: float) -> Self:
        return replace(self, eps=eps, attack=self.attack.with_eps(eps))

    def perturb(self, model: Model, images: torch.Tensor, labels: torch.Tensor, streams: RandomStreams) -> AttackResult:
        def run(source: SourceModel, rows: torch.Tensor) -> AttackResult:
            with eval_mode(source.module):
                made = self.attack(source.module, images[rows], labels[rows], streams=streams.select(rows)).images
            with torch.no_grad():
                return AttackResult(made, model(made).argmax(dim=1) != labels[rows])

        runs = [(number, lambda rows, source=source: run(source, rows)) for number, source in enumerate(self.sources)]
        return pointwise_worst(runs, model, images, labels, repeats=1)
