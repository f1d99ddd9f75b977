"""The robust dataset of Ilyas et al. (NeurIPS 2019, arXiv:1905.02175): images that hold robust features only.

For every training image x another one is moved until the teacher's penultimate representation of it matches that of
x; it keeps the label of x. Training naturally on such images gives a network that is somewhat robust, if the teacher
is robust.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from codesign.config import Pixels
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.rfp.device import check_device
from codesign.defenses.rfp.representation import Representation, match, relative_distance
from codesign.defenses.rfp.shards import Shard, ShardFolder, load_robust_dataset
from codesign.errors import InputError
from codesign.robustness.attacks.norms import norm_from_name
from codesign.robustness.attacks.pgd import PGD
from codesign.robustness.protocol import evaluate_robustness
from codesign.training.loop import generator_for

__all__ = ["ProgressSink", "RobustDataset", "RobustDatasetConfig", "make_robust_dataset"]

_START = 6


class ProgressSink(Protocol):
    """Where long work says how far it is."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None: ...

    def note(self, text: str) -> None:
        """Something the user should read."""


class RobustDatasetConfig(BaseModel):
    """Everything that determines a robust dataset, besides the teacher and the images."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(1000, ge=1, description="gradient steps for every image")
    step_size: float = Field(0.1, gt=0, description="L2 length of a step, pixels in [0, 1]")
    batch_size: int = Field(250, ge=1, description="images at a time; one shard each")
    images: int | None = Field(None, ge=2, description="number of training images, the first ones; all where absent")
    representation: str | None = Field(None, description="layer whose input is matched; the last linear where absent")
    seed: int = Field(0, ge=0, description="of the start images and the attack on the teacher")
    check_eps: Pixels = Field(0.5, gt=0, description="L2 radius of the PGD attack that the teacher is measured with")
    check_steps: int = Field(20, ge=1, description="steps of that attack")
    check_images: int = Field(200, ge=1, description="images that the teacher is measured on, the first ones")
    check_share: float = Field(
        0.5, ge=0, le=1, description="warn where less than this share of the clean accuracy is left under attack"
    )


@dataclass(frozen=True, eq=False)
class RobustDataset:
    """A finished robust dataset.

    Args:
        folder: with the shards and manifest.json.
        images: the images, uint8, with the labels of their targets.
        manifest: the content of manifest.json.
    """

    folder: Path
    images: ImageSet
    manifest: dict[str, Any]


def make_robust_dataset(
    module: nn.Module,
    teacher: dict[str, Any],
    images: ImageSet,
    out: Path,
    config: RobustDatasetConfig,
    *,
    device: str = "cpu",
    progress: ProgressSink,
) -> RobustDataset:
    """Make a robust dataset in ``out``; a killed run that is started again goes on at the first unfinished batch.

    Args:
        module: the teacher: logits from pixels in [0, 1].
        teacher: what the manifest says of it.
        images: training images.
        out: folder of the shards, made if needed.
        config: how.
        device: torch device.
        progress: told of every batch, and of a teacher that is not robust.

    Raises:
        InputError: images of another shape than the teacher's, a folder of another run or with a finished dataset.
    """
    chosen = images if config.images is None else sample(images, config.images)
    if len(chosen) < 2:
        raise InputError("a robust dataset needs at least two images", got=len(chosen), key="--images")
    check_device(device)
    # On a copy, without parameter gradients: only those of the pixels are wanted.
    network = deepcopy(module).to(device).eval().requires_grad_(False)
    _check_shape(network, chosen, device)
    identity = {
        "config": config.model_dump(mode="json"),
        "teacher": teacher | {"state_sha256": _state_hash(network)},
        "data": {"name": images.name, "sha256": _data_hash(chosen), "source": images.source},
    }
    with ShardFolder(out, identity) as folder:
        checked = folder.stage("teacher")
        if checked is None:
            checked = _teacher_accuracy(network, chosen, config, device, progress)
            folder.save_stage("teacher", checked)
        if checked["warning"]:
            progress.note(f"warning: {checked['warning']}")
        example = _pixels(chosen, np.arange(2), device)
        with Representation(network, example, config.representation) as representation:
            _make_shards(folder, representation, chosen, config, device, progress)
            manifest = folder.finish({"teacher_check": checked, "representation": representation.layer}, chosen)
    return RobustDataset(out, load_robust_dataset(out), manifest)


def _make_shards(
    folder: ShardFolder,
    representation: Representation,
    images: ImageSet,
    config: RobustDatasetConfig,
    device: str,
    progress: ProgressSink,
) -> None:
    total = len(images)
    for number, start in enumerate(range(0, total, config.batch_size)):
        stop = min(start + config.batch_size, total)
        shard = folder.load(number)
        if shard is None:
            shard = _make_shard(representation, images, start, stop, number, config, device)
            folder.save(number, shard)
        detail = f"distance {shard.before.mean():.3f} -> {shard.after.mean():.3f}"
        progress("robust images", stop, total, detail)


def _make_shard(
    representation: Representation,
    images: ImageSet,
    start: int,
    stop: int,
    number: int,
    config: RobustDatasetConfig,
    device: str,
) -> Shard:
    generator = generator_for(config.seed, _START, number)
    targets = np.arange(start, stop)
    # Another image than the target: an offset of 1 .. n - 1 around the set.
    offsets = torch.randint(1, len(images), (stop - start,), generator=generator).numpy()
    starts = (targets + offsets) % len(images)
    begin = _pixels(images, starts, device)
    with torch.no_grad():
        target = representation(_pixels(images, targets, device))
        before = relative_distance(representation(begin), target)
    found = match(representation, begin, target, steps=config.steps, step_size=config.step_size)
    stored = (found * 255).round().to(torch.uint8)
    with torch.no_grad():
        reached = relative_distance(representation(found), target)
        after = relative_distance(representation(stored.float() / 255), target)
    return Shard(
        images=stored.cpu().numpy(),
        labels=images.labels[start:stop],
        starts=starts,
        before=before.cpu().numpy(),
        reached=reached.cpu().numpy(),
        after=after.cpu().numpy(),
    )


def _pixels(images: ImageSet, indices: np.ndarray[Any, Any], device: str) -> Tensor:
    return torch.from_numpy(images.images[indices]).to(device).float() / 255


def _check_shape(network: nn.Module, images: ImageSet, device: str) -> None:
    try:
        with torch.no_grad():
            logits: Tensor = network(_pixels(images, np.arange(2), device))
    except RuntimeError as error:
        raise InputError(
            "the images must have the teacher's input shape",
            got=f"{images.images.shape[1:]} in {images.name} ({(str(error).splitlines() or [''])[0]})",
            key="--data",
            fix="choose the data set that the teacher was trained on",
        ) from error
    if logits.shape[1] < len(images.class_names):
        raise InputError(
            f"the teacher has {logits.shape[1]} outputs",
            got=f"{len(images.class_names)} classes in {images.name}",
            key="--data",
            fix="choose the data set that the teacher was trained on",
        )


def _teacher_accuracy(
    network: nn.Module, images: ImageSet, config: RobustDatasetConfig, device: str, progress: ProgressSink
) -> dict[str, Any]:
    """The teacher's accuracy, clean and under L2 PGD, and a warning if the dataset would not carry robustness."""
    some = sample(images, min(config.check_images, len(images)))
    attack = PGD(norm=norm_from_name("l2"), eps=config.check_eps, steps=config.check_steps)
    result = evaluate_robustness(
        network,
        some,
        attack,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        progress=lambda event: progress("teacher under attack", event.done, event.total),
        sanity_images=0,
    )
    assert result.robust is not None  # there was an attack
    clean, robust = result.clean, result.robust
    warning = None
    if robust.value < config.check_share * clean.value:
        warning = (
            f"the teacher is not robust: {clean.value:.1%} clean, {robust.value:.1%} under {attack!r}; images matched "
            f"to its representation will not carry robustness. Take an adversarially trained teacher"
        )
    return {"attack": repr(attack), "clean": clean.to_json(), "robust": robust.to_json(), "warning": warning}


def _state_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _data_hash(images: ImageSet) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images.images).tobytes())
    digest.update(images.labels.tobytes())
    return digest.hexdigest()
