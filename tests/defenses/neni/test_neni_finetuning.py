"""Training through the approximation: what learns, what stays, and that it helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.data.images import ImageSet
from codesign.defenses.neni import NeniSettings, defend
from codesign.defenses.neni.finetuning import finetune_defended
from codesign.defenses.neni.wrapping import defended_layers
from codesign.defenses.rfp.finetuning import FinetuningConfig
from codesign.models.layers import TracedModel


def test_it_trains_everything_but_the_projection(network: nn.Module, traced: TracedModel, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(200) % 5
    pixels = (random.random((200, 3, 12, 12)) * 60 + 40 * labels[:, None, None, None]).astype(np.uint8)
    images = ImageSet("shades", pixels, labels, tuple("abcde"), {})
    settings = NeniSettings(dimension=6, share=0.5)
    defended = defend(network, traced, torch.from_numpy(pixels), settings, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in defended.module.state_dict().items()}
    config = FinetuningConfig(
        model="small", data="shades", epochs=4, batch_size=20, validation_images=20, crop_padding=0, lr=0.02
    )
    tuned = finetune_defended(defended, images, config, tmp_path)

    def loss(module: nn.Module) -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(module(torch.from_numpy(pixels).float() / 255), torch.from_numpy(labels))

    assert loss(tuned.defended.module) < loss(defended.module)
    assert len(tuned.history) == 4
    assert all(torch.equal(before[name], value) for name, value in defended.module.state_dict().items())
    after = tuned.defended.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {name for name in before if name.rpartition(".")[2] in {"projection", "scales", "noise_std"}}
    assert changed == set(before) - kept
    assert all(layer.gradient.mode == "as_coded" for layer in defended_layers(tuned.defended.module))
    assert all(report.quality is not None for report in tuned.defended.layers)
