"""The attack on the executed work: within its ball, counted by true masks, and it finds more than chance does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codesign.defenses.neni import NeniSettings, defend, record_essential
from codesign.defenses.neni.work_attack import raise_work
from codesign.errors import InputError
from codesign.masks.reading import MaskSet
from codesign.masks.writing import MaskWriter
from codesign.models.layers import TracedModel


def test_it_raises_the_work_that_masks_count(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator, tmp_path: Path
) -> None:
    settings = NeniSettings(dimension=6, share=0.3, selection="threshold", exact_layers=("stem", "hidden", "head"))
    defended = defend(network, traced, images, settings, generator)
    found = raise_work(defended, images[:12], eps=0.1, steps=10, step_size=0.025, generator=generator)
    assert bool(((found.images - images[:12]).abs() <= 0.1 + 1e-6).all())
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert bool((found.attacked_share >= found.clean_share).all())
    # Random images of the same ball, as many as there were steps.
    chance = max(
        raise_work(defended, images[:12], eps=0.1, steps=0, step_size=0.025, generator=generator).attacked_share.mean()
        for _ in range(10)
    )
    assert found.attacked_share.mean() > chance + 0.01
    with MaskWriter(tmp_path / "masks") as writer:
        record_essential(defended, [found.images], writer, input_kind="adversarial")
    masks = MaskSet(tmp_path / "masks")
    macs = {layer.name: layer.macs for layer in traced.layers}
    names = [layer.name for layer in defended.layers]
    executed = sum(
        macs[name] * masks.tensor(name, "outputs", "adversarial").read().reshape(12, -1).mean(axis=1) for name in names
    )
    expected = torch.tensor(executed / sum(macs[name] for name in names))
    assert torch.allclose(found.attacked_share.double(), expected, atol=2e-3)


def test_a_fixed_share_cannot_be_attacked(
    network: nn.Module, traced: TracedModel, images: Tensor, generator: torch.Generator
) -> None:
    defended = defend(network, traced, images, NeniSettings(dimension=6), generator)
    with pytest.raises(InputError, match="thresholds"):
        raise_work(defended, images, eps=0.1, steps=1, step_size=0.1, generator=generator)
