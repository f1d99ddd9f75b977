"""Clean and robust accuracy of a model, with what is needed to judge whether the numbers hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack
from codesign.robustness.chunks import Chunk, ChunkStore, FolderChunks, MemoryChunks, fingerprint
from codesign.robustness.inference import check_labels, eval_mode, first_call
from codesign.robustness.preflight import Flag, preflight
from codesign.robustness.progress import Progress, ProgressCallback, Stage
from codesign.robustness.result import AttackOutcome, RobustnessResult
from codesign.robustness.runner import Attacked, Runner
from codesign.robustness.sanity import Check, check_attack, check_outcomes, check_per_image
from codesign.robustness.statistics import Accuracy, IntervalMethod
from codesign.robustness.streams import derived_seed

__all__ = ["evaluate_robustness"]

_PREFLIGHT_IMAGES = 32


def evaluate_robustness(
    module: nn.Module,
    images: ImageSet,
    attacks: Attack | Sequence[Attack],
    *,
    batch_size: int,
    seed: int,
    device: str | torch.device = "cpu",
    progress: ProgressCallback | None = None,
    folder: Path | None = None,
    sanity_images: int = 16,
    interval: IntervalMethod = "wilson",
) -> RobustnessResult:
    """Measure a classifier on images as they are and under each attack.

    The model is run in eval mode and gets its own modes back; it is left on ``device``; its parameters and PyTorch's
    global random state are not changed. The same seed gives the same record, in one go or resumed.

    Args:
        module: logits (n, classes) from float32 pixels (n, c, h, w) in [0, 1].
        images: at least one image.
        attacks: one attack or several, all different; none gives clean accuracy only.
        batch_size: images at a time; halved where that does not fit memory.
        seed: of every random draw, >= 0.
        device: where to compute, "cpu", "cuda" or "cuda:1".
        progress: called after each piece of work.
        folder: keeps outcomes and perturbed images of each finished batch, so that a killed run goes on from there
            (4 bytes for each pixel and attack on disk). None keeps them in memory.
        sanity_images: how many images, the first of the set, are attacked at other radii too; 0 leaves that out.
        interval: of the accuracies, at 95 %.

    Raises InputError for bad arguments, labels the model has no output for, an output that is not finite logits, a
    model without any gradient for a gradient attack, a folder of another run, or an image that does not fit memory.
    """
    chosen = (attacks,) if isinstance(attacks, Attack) else tuple(attacks)
    _check_arguments(images, chosen, batch_size, seed, sanity_images)
    Accuracy.from_counts(1, 1, method=interval)  # refuses an unknown method now, not after the work
    where = _device(device)
    module.to(where)
    identity = fingerprint(module, images, chosen, batch_size=batch_size, seed=seed, device=where)
    store: ChunkStore = MemoryChunks() if folder is None else FolderChunks(folder, identity)
    evaluation = _Evaluation(module, images, chosen, store, batch_size, seed, where, progress)
    return evaluation.run(sanity_images, interval)


def _check_arguments(
    images: ImageSet, attacks: tuple[Attack, ...], batch_size: int, seed: int, sanity_images: int
) -> None:
    if not len(images):
        raise InputError("an evaluation needs at least one image", got=f"0 images in {images.name}", key="images")
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("sanity_images", sanity_images, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer >= {least}", got=value, key=name)
    for attack in attacks:
        if not isinstance(attack, Attack):
            raise InputError(
                "attacks must be Attack objects", got=attack, key="attacks", fix="such as PGD(eps=8 / 255)"
            )
        attack.norm.check_eps(attack.eps, images.images.shape[1:])
    names = [repr(attack) for attack in attacks]
    if len(set(names)) < len(names):
        raise InputError("attacks must differ", got=", ".join(names), key="attacks")


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # the meta device holds no numbers
    except (RuntimeError, AssertionError) as error:  # AssertionError: a PyTorch built without CUDA
        reason = str(error).strip().splitlines()[0]
        raise InputError("the device must be usable", got=f"{name}: {reason}", key="device", fix='use "cpu"') from error
    return device


class _Evaluation:
    """One call of ``evaluate_robustness``, its arguments checked."""

    def __init__(
        self,
        module: nn.Module,
        images: ImageSet,
        attacks: tuple[Attack, ...],
        store: ChunkStore,
        batch_size: int,
        seed: int,
        device: torch.device,
        progress: ProgressCallback | None,
    ) -> None:
        self.module = module
        self.images = images
        self.attacks = attacks
        self.store = store
        self.batch_size = batch_size
        self.seed = seed
        self.progress = progress
        self.notes: list[str] = []
        self.clean: list[npt.NDArray[np.int64]] = []
        self.attacked: list[npt.NDArray[np.int64]] = []
        self.claimed: list[npt.NDArray[np.bool_]] = []
        self.seconds = np.zeros(1 + len(attacks))
        self.done = self.seen = self.right = self.robust = 0
        self.runner = Runner(module, images, seed=seed, device=device, batch_size=batch_size, note=self._remark)

    def run(self, sanity_images: int, interval: IntervalMethod) -> RobustnessResult:
        self._say("preflight")
        flags = self._preflight()
        with torch.inference_mode(False), eval_mode(self.module):
            for number, start in enumerate(range(0, len(self.images), self.batch_size)):
                self._batch(number, start, min(start + self.batch_size, len(self.images)))
            self._say("sanity")
            checks = self._sanity(min(sanity_images, len(self.images)))
        self._say("finished")
        return self._result(flags, checks, interval)

    def _say(self, stage: Stage, note: str | None = None) -> None:
        if self.progress is None:
            return
        total = len(self.images) * max(len(self.attacks), 1)
        self.progress(Progress(stage, self.done, total, self.seen, self.right, self.robust, note))

    def _remark(self, note: str) -> None:
        self.notes.append(note)
        self._say("attack", note)

    def _preflight(self) -> tuple[Flag, ...]:
        count = min(_PREFLIGHT_IMAGES, self.batch_size, len(self.images))
        extremes = int(self.images.images.min()) / 255, int(self.images.images.max()) / 255

        def work(low: int, high: int) -> tuple[tuple[Flag, ...], int]:
            inputs, labels = self.runner.inputs(low, high)
            with eval_mode(self.module), torch.no_grad():
                first_call(self.module, inputs[:1])  # attacks drop images, down to a single one
                classes = first_call(self.module, inputs).shape[1]
            check_labels(torch.from_numpy(self.images.labels), len(self.images), classes)
            seed = derived_seed(self.seed, "preflight")
            return preflight(self.module, inputs, labels, seed=seed, image_range=extremes), classes

        # If the images do not fit memory together, the first piece that does is looked at.
        flags, classes = self.runner.in_pieces(0, count, work)[0]
        named = len(self.images.class_names)
        if classes != named:
            self.notes.append(f"the model has {classes} outputs, {self.images.name} has {named} classes")
        shape = self.images.images.shape[1:]
        self.notes += [note for attack in self.attacks if (note := attack.norm.advice(attack.eps, shape))]
        return flags

    def _batch(self, number: int, start: int, stop: int) -> None:
        chunk = self.store.load(number)
        if chunk is None:
            chunk = self._compute(start, stop)
            self.store.save(number, chunk)
        else:
            self.done += (stop - start) * max(len(self.attacks), 1)
        self.clean.append(chunk.clean)
        self.attacked.append(chunk.attacked)
        self.claimed.append(chunk.claimed)
        self.seconds += chunk.seconds
        right = chunk.clean == self.images.labels[start:stop]
        self.seen += len(right)
        self.right += int(right.sum())
        self.robust += int((right & (chunk.attacked == self.images.labels[start:stop]).all(axis=0)).sum())
        self._say("attack")

    def _compute(self, start: int, stop: int) -> Chunk:
        seconds = [perf_counter()]
        clean = self.runner.clean(start, stop)
        seconds.append(perf_counter())
        results: list[Attacked] = []
        for attack in self.attacks:
            results.append(self.runner.attack(attack, start, stop))
            seconds.append(perf_counter())
            self.done += stop - start
            self._say("attack")
        if not self.attacks:
            self.done += stop - start
        shape = (0, stop - start)
        return Chunk(
            clean=clean,
            attacked=np.stack([one.predictions for one in results]) if results else np.empty(shape, np.int64),
            claimed=np.stack([one.claimed for one in results]) if results else np.empty(shape, np.bool_),
            adversarial=np.stack([one.images for one in results])
            if results
            else np.empty((*shape, *self.images.images.shape[1:]), np.float32),
            seconds=np.diff(seconds),
        )

    def _sanity(self, count: int) -> tuple[Check, ...]:
        clean = np.concatenate(self.clean)
        attacked = np.concatenate(self.attacked, axis=1)
        claimed = np.concatenate(self.claimed, axis=1)
        checks = [check_per_image(self.runner, count)]
        for number, attack in enumerate(self.attacks):
            checks += check_outcomes(attack, self.images.labels, clean, attacked[number], claimed[number])
            checks += check_attack(self.runner, attack, clean[:count], attacked[number, :count])
        return tuple(checks)

    def _result(self, flags: tuple[Flag, ...], checks: tuple[Check, ...], interval: IntervalMethod) -> RobustnessResult:
        right = np.concatenate(self.clean) == self.images.labels
        under = np.concatenate(self.attacked, axis=1) == self.images.labels
        robust = right & under.all(axis=0)
        outcomes = tuple(
            AttackOutcome(attack, Accuracy.from_outcomes(row, method=interval), row, float(seconds))
            for attack, row, seconds in zip(self.attacks, under, self.seconds[1:], strict=True)
        )
        return RobustnessResult(
            name=self.images.name,
            seed=self.seed,
            batch_size=self.batch_size,
            clean=Accuracy.from_outcomes(right, method=interval),
            clean_correct=right,
            attacks=outcomes,
            robust=Accuracy.from_outcomes(robust, method=interval) if self.attacks else None,
            robust_correct=robust,
            flags=flags,
            checks=checks,
            notes=tuple(self.notes),
            clean_seconds=float(self.seconds[0]),
            store=self.store,
        )
