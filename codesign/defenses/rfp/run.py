"""A whole pruning run: prune, fine-tune, attack before and after, and leave a network that loads on its own."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import codesign
from codesign.data.images import ImageSet
from codesign.data.sampling import sample
from codesign.defenses.rfp.config import PruningConfig
from codesign.defenses.rfp.criteria import Criterion
from codesign.defenses.rfp.device import check_device
from codesign.defenses.rfp.evidence import Labelled
from codesign.defenses.rfp.finetuning import FinetunedNetwork, FinetuningConfig, finetune
from codesign.defenses.rfp.pruning import Pruned, prune
from codesign.defenses.rfp.threats import DEFAULT_THREATS, Threat, measure
from codesign.errors import InputError
from codesign.models.loading import LoadedModel
from codesign.models.normalization import Normalized
from codesign.models.saved import NETWORK_FILE, save_network
from codesign.models.tracing import trace
from codesign.store import RunFolder, write_json
from codesign.training.loop import EpochReport

__all__ = ["RECORD_FILE", "Comparison", "PruningRun", "run_pruning"]

RECORD_FILE = "pruning.json"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the original and the pruned network are attacked.

    Args:
        images: the first test images, so many; 0 for no attack at all.
        threats: each is attacked on its own.
        steps: of PGD.
        autoattack: attack with AutoAttack standard too.
        batch_size: images attacked at a time.
        sanity_images: images that are attacked at other radii too, to check the attack.
    """

    images: int = 200
    threats: tuple[Threat, ...] = DEFAULT_THREATS
    steps: int = 20
    autoattack: bool = False
    batch_size: int = 100
    sanity_images: int = 16

    def record(self) -> dict[str, Any]:
        """The values as JSON types."""
        threats = [asdict(threat) for threat in self.threats]
        return {"images": self.images, "threats": threats, "steps": self.steps, "autoattack": self.autoattack}


@dataclass(frozen=True, eq=False, kw_only=True)
class PruningRun:
    """What a run needs.

    Args:
        model: the trained network.
        training_set: natural images; the criterion and natural or adversarial fine-tuning use them.
        test_set: for the comparison; needed unless that has 0 images.
        config: what is pruned.
        robust_set: the robust dataset, for fine-tuning on it or criteria that compare with it.
        criterion: in place of the one that ``config`` names.
        finetuning: None leaves the weights as pruning left them.
        finetune_on: natural (also for adversarial fine-tuning) or robust.
        comparison: attacks before and after.
        device: torch device.
    """

    model: LoadedModel
    training_set: ImageSet
    test_set: ImageSet | None
    config: PruningConfig
    robust_set: ImageSet | None = None
    criterion: Criterion | None = None
    finetuning: FinetuningConfig | None = None
    finetune_on: str = "natural"
    comparison: Comparison = field(default_factory=Comparison)
    device: str = "cpu"


def run_pruning(
    run: PruningRun,
    out: Path,
    *,
    progress: Progress = lambda _stage, _done, _total: None,
    on_epoch: Callable[[EpochReport], None] = lambda _report: None,
) -> dict[str, Any]:
    """Prune, fine-tune and compare; leaves network.json, network.safetensors and pruning.json in ``out``.

    A killed run that is started again with the same inputs goes on after its last epoch and its last attacked batch.
    Returns the record.

    Raises:
        InputError: bad settings or data; nothing is left in ``out`` then.
    """
    _check(run)
    with RunFolder(out, _key(run)) as folder:
        module = run.model.module.to(run.device)
        pruned = prune(
            module,
            run.model.input_shape,
            _labelled(run.training_set),
            run.config,
            robust=None if run.robust_set is None else _labelled(run.robust_set),
            criterion=run.criterion,
            progress=lambda done, total: progress("criterion", done, total),
        )
        tuned = _finetuned(run, pruned, folder.scratch("finetuning"), progress, on_epoch)
        networks = {"original": module, "pruned": pruned.module}
        if tuned is not None:
            networks["fine-tuned"] = tuned.module
        final = pruned.module if tuned is None else tuned.module
        record = _record(run, pruned, tuned)
        record["robustness"] = _compared(run, networks, folder.scratch("comparison"), progress)
        origin = {
            "original": record["original"],
            "original_macs": {name: macs["before"] for name, macs in record["layer_macs"].items()},
            "pruning": run.config.record(),
            "layers": record["pruning"]["layers"],
            "left_out": record["pruning"]["left_out"],
        }
        if run.finetuning is not None:
            origin["finetuning"] = run.finetuning.record() | {"on": run.finetune_on}
        save_network(folder.staging / NETWORK_FILE, final.cpu(), run.model.input_shape, origin=origin)
        write_json(folder.staging / RECORD_FILE, record)
        folder.publish()
    return record


def _check(run: PruningRun) -> None:
    check_device(run.device)
    if run.finetune_on not in {"natural", "robust"}:
        raise ValueError(f"PruningRun: finetune_on must be natural or robust (got {run.finetune_on!r})")
    if run.finetuning is not None and run.finetune_on == "robust" and run.robust_set is None:
        raise InputError(
            "fine-tuning on the robust dataset needs one",
            got="none",
            key="--robust-data",
            fix="make one with codesign make-robust-dataset and name its folder",
        )
    if run.comparison.images and run.test_set is None:
        raise ValueError("PruningRun: a comparison needs a test set")
    for images in (run.training_set, run.test_set, run.robust_set):
        if images is not None and images.images.shape[1:] != run.model.input_shape:
            raise InputError(
                f"{run.model.name} takes images of shape {run.model.input_shape}",
                got=f"{images.images.shape[1:]} in {images.name}",
                key="--data",
                fix="choose the data set that the network was trained on",
            )
        if images is not None and len(images.class_names) > run.model.num_classes:
            raise InputError(
                f"{run.model.name} has {run.model.num_classes} outputs",
                got=f"{len(images.class_names)} classes in {images.name}",
                key="--data",
                fix="choose the data set that the network was trained on",
            )


def _labelled(images: ImageSet) -> Labelled:
    return Labelled(torch.from_numpy(images.images.copy()), torch.from_numpy(images.labels.copy()))


def _finetuned(
    run: PruningRun, pruned: Pruned, folder: Path, progress: Progress, on_epoch: Callable[[EpochReport], None]
) -> FinetunedNetwork | None:
    if run.finetuning is None:
        return None
    images = run.robust_set if run.finetune_on == "robust" else run.training_set
    assert images is not None  # checked
    masks: dict[str, Tensor] = {}
    if run.config.granularity != "filters":
        prefix = "network." if isinstance(pruned.module, Normalized) else ""
        parameters = dict(pruned.module.named_parameters())
        for name in pruned.removed:
            key = f"{prefix}{name}.weight"
            masks[key] = parameters[key].detach() != 0
    return finetune(
        pruned.module,
        images,
        run.finetuning,
        folder,
        masks=masks,
        device=run.device,
        progress=progress,
        on_epoch=on_epoch,
    )


def _compared(
    run: PruningRun, networks: dict[str, nn.Module], folder: Path, progress: Progress
) -> dict[str, Any] | None:
    if not run.comparison.images or run.test_set is None:
        return None
    images = sample(run.test_set, min(run.comparison.images, len(run.test_set)))
    return measure(
        networks,
        images,
        run.comparison.threats,
        steps=run.comparison.steps,
        autoattack=run.comparison.autoattack,
        batch_size=run.comparison.batch_size,
        sanity_images=run.comparison.sanity_images,
        seed=run.config.seed,
        device=run.device,
        folder=folder,
        progress=progress,
    )


def _record(run: PruningRun, pruned: Pruned, tuned: FinetunedNetwork | None) -> dict[str, Any]:
    before, after = _macs(run.model.module, run), _macs(pruned.module, run)
    finetuning = None
    if tuned is not None and run.finetuning is not None:
        finetuning = {
            "config": run.finetuning.record(),
            "on": run.finetune_on,
            "selected_epoch": tuned.selected_epoch,
            "history": list(tuned.history),
        }
    return {
        "format": "codesign-pruning",
        "version": 1,
        "original": run.model.source | {"name": run.model.name},
        "pruning": {
            "config": run.config.record(),
            "layers": [change.record() for change in pruned.layers],
            "removed": {name: indices.tolist() for name, indices in pruned.removed.items()}
            if run.config.granularity == "filters"
            else {name: len(indices) for name, indices in pruned.removed.items()},
            "left_out": pruned.left_out,
            "difference_to_zeroed": pruned.difference,
        },
        "finetuning": finetuning,
        "comparison": run.comparison.record(),
        "parameters": {"before": _nonzero(run.model.module), "after": _nonzero(pruned.module)},
        "macs": {"before": sum(before.values()), "after": sum(after.values())},
        "layer_macs": {name: {"before": count, "after": after[name]} for name, count in before.items()},
        "data": {images.name: images.source for images in (run.training_set, run.test_set, run.robust_set) if images},
        "versions": {
            "codesign": codesign.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }


def _macs(module: nn.Module, run: PruningRun) -> dict[str, int]:
    return {layer.name: layer.macs for layer in trace(module, run.model.input_shape).layers}


def _nonzero(module: nn.Module) -> int:
    """Parameters that are not zero: what a sparse network has to keep."""
    return sum(int(torch.count_nonzero(parameter)) for parameter in module.parameters())


def _key(run: PruningRun) -> str:
    """Hash of all that decides the result."""
    digest = hashlib.sha256()
    content = {
        "config": run.config.record(),
        "finetuning": None if run.finetuning is None else run.finetuning.record(),
        "on": run.finetune_on,
        "comparison": run.comparison.record(),
        "model": run.model.source,
        "criterion": getattr(run.criterion, "__qualname__", None),
        "versions": [codesign.__version__, str(torch.__version__)],
    }
    digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    for images in (run.training_set, run.test_set, run.robust_set):
        if images is not None:
            digest.update(np.ascontiguousarray(images.images).tobytes())
            digest.update(images.labels.tobytes())
    return digest.hexdigest()
