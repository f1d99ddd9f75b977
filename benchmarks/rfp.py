"""Times the two long parts of robustness-aware filter pruning on random images and weights.

    python benchmarks/rfp.py [--threads 2] [--images 1000] [--steps 100]

Targets: pruning ResNet-56 with gradients from 1,000 images under 120 s, and a robust dataset of 1,000 CIFAR-10-size
images with 100 steps on ResNet-20 under 600 s, both on 2 cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from codesign.data.images import ImageSet
from codesign.defenses.rfp.config import make_pruning_config
from codesign.defenses.rfp.evidence import Labelled
from codesign.defenses.rfp.pruning import prune
from codesign.defenses.rfp.robust_dataset import RobustDatasetConfig, make_robust_dataset
from codesign.models.loading import load_model


class Silent:
    """Takes progress and shows none of it."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        pass


def random_images(count: int) -> ImageSet:
    """Uniform noise of CIFAR-10's shape."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return ImageSet("noise", images, rng.integers(0, 10, count), tuple(map(str, range(10))))


def main() -> None:
    """Run both and write their wall times to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = random_images(given.images)

    model = load_model("resnet56", checkpoint="random:0")
    labelled = Labelled(torch.from_numpy(images.images), torch.from_numpy(images.labels))
    begin = time.perf_counter()
    pruned = prune(model.module, model.input_shape, labelled, make_pruning_config({"images": given.images}))
    seconds = time.perf_counter() - begin
    sys.stdout.write(
        f"prune resnet56, activation gradients of {given.images} images, {len(pruned.layers)} layers: {seconds:.1f} s; "
        f"logits differ from the zeroed network's by {pruned.difference:.1e}\n"
    )
    sys.stdout.flush()

    teacher = load_model("resnet20", checkpoint="random:0")
    config = RobustDatasetConfig(steps=given.steps, check_images=100)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        made = make_robust_dataset(
            teacher.module, teacher.source, images, Path(folder) / "robust", config, progress=Silent()
        )
        seconds = time.perf_counter() - begin
    sys.stdout.write(
        f"robust dataset, resnet20, {given.images} images, {given.steps} steps, teacher's attack included: "
        f"{seconds:.1f} s; distance {made.manifest['distance']['before']['mean']:.3f} -> "
        f"{made.manifest['distance']['after']['mean']:.3f}\n"
    )


if __name__ == "__main__":
    main()
