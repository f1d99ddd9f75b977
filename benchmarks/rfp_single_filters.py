"""What each filter is worth by itself, and whether a criterion knows: one filter at a time is set to zero.

    python benchmarks/rfp_single_filters.py --data-dir DATA [--images 100]

For every prunable filter of the shipped networks: cross entropy on clean images and on PGD examples made anew for the
network without it, minus that of the whole network. Spearman's rank correlation of both with a criterion's score says
what the criterion removes first: a positive one, filters that the network needs. Writes a Markdown table to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from torch import Tensor, nn

from codesign.data.datasets import load_dataset
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.rfp.config import make_pruning_config
from codesign.defenses.rfp.evidence import Labelled
from codesign.defenses.rfp.filters import FilterGraph
from codesign.defenses.rfp.pruning import prune
from codesign.defenses.rfp.threats import Threat
from codesign.models.loading import load_model
from codesign.robustness.attacks.base import Attack
from codesign.robustness.streams import RandomStreams

CRITERIA = ("activation_gradient", "weight_gradient", "weight_times_gradient", "l1_norm", "fpgm", "slimming")
NETWORKS = {"fmnist_resnet8_adversarial": Threat("linf", 0.1), "fmnist_resnet8_natural": Threat("l2", 0.25)}


def losses(module: nn.Module, images: ImageSet, attack: Attack) -> tuple[float, float]:
    """Mean cross entropy, clean and under attack."""
    pixels = torch.from_numpy(images.images.copy()).float() / 255
    labels = torch.from_numpy(images.labels.copy())
    moved = attack(module, pixels, labels, streams=RandomStreams.of(0, len(labels), 0)).images
    with torch.no_grad():
        return float(F.cross_entropy(module(pixels), labels)), float(F.cross_entropy(module(moved), labels))


def without_one(module: nn.Module, shape: tuple[int, int, int], widths: dict[str, int]) -> Iterator[nn.Module]:
    """The network without each filter in turn, layer by layer."""
    for name, width in widths.items():
        for number in range(width):
            cut = deepcopy(module)
            FilterGraph(cut.network, shape).zero({name: torch.tensor([number])})  # type: ignore[arg-type]
            yield cut


def main() -> None:
    """Measure both networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    test = sample(load_dataset("fashion_mnist", data_dir=given.data_dir, split="test"), given.images)
    training = sample(load_dataset("fashion_mnist", data_dir=given.data_dir, split="train"), 1000)
    natural = Labelled(torch.from_numpy(training.images.copy()), torch.from_numpy(training.labels.copy()))
    sys.stdout.write(
        "| network | criterion | rank correlation with clean loss | with loss under attack |\n|---|---|---|---|\n"
    )
    for name, threat in NETWORKS.items():
        loaded = load_model(name)
        (attack,) = threat.attacks(given.steps, autoattack=False)
        scores = {
            criterion: prune(
                loaded.module, loaded.input_shape, natural, make_pruning_config({"criterion": criterion, "ratio": 0.05})
            ).scores
            for criterion in CRITERIA
        }
        widths = {layer: values.numel() for layer, values in scores[CRITERIA[0]].items()}
        whole = losses(loaded.module, test, attack)
        rises = np.array([losses(cut, test, attack) for cut in without_one(loaded.module, loaded.input_shape, widths)])
        rises -= np.array(whole)
        for criterion in CRITERIA:
            # Within each layer, where filters compete; the mean over the layers.
            ranks = [_ranks(scores[criterion], rises[:, kind], widths) for kind in (0, 1)]
            sys.stdout.write(f"| `{name}` | `{criterion}` | {ranks[0]:+.2f} | {ranks[1]:+.2f} |\n")
        lower = int((rises[:, 1] < 0).sum())
        sys.stdout.write(f"\n{name}: {lower} of {len(rises)} filters lower the loss under attack when they go\n\n")
        sys.stdout.flush()


def _ranks(scores: dict[str, Tensor], rises: np.ndarray, widths: dict[str, int]) -> float:
    found, start = [], 0
    for layer, width in widths.items():
        found.append(float(spearmanr(scores[layer].numpy(), rises[start : start + width]).statistic))
        start += width
    return float(np.mean(found))


if __name__ == "__main__":
    main()
