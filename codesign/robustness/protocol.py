"""Clean and robust accuracy of a model, with what is needed to judge whether the numbers hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks.base import Attack
from codesign.robustness.blackbox import blackbox_wins
from codesign.robustness.chunks import Chunk, ChunkStore, FolderChunks, MemoryChunks, fingerprint
from codesign.robustness.distributed import Ranks, joined
from codesign.robustness.inference import check_labels, eval_mode, first_call
from codesign.robustness.preflight import Flag, FlagId, preflight
from codesign.robustness.progress import Progress, ProgressCallback, Stage
from codesign.robustness.result import AttackOutcome, RobustnessResult
from codesign.robustness.runner import Attacked, Runner
from codesign.robustness.sanity import Check, check_attack, check_effort, check_outcomes, check_per_image
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
    draws: int = 20,
) -> RobustnessResult:
    """Measure a classifier on images as they are and under each attack.

    The model is run in eval mode and gets its own modes back; it is left on ``device``; its parameters and PyTorch's
    global random state are not changed. The same seed gives the same record, in one go or resumed.

    Started by ``torchrun``, the processes share the batches, and each returns the record of the whole; rank 0 writes.

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
        draws: runs of each image over which the accuracies of a random model (flag RANDOMISED) are means.

    Raises InputError for bad arguments, labels the model has no output for, an output that is not finite logits, a
    model without any gradient for a gradient attack, a folder of another run, or an image that does not fit memory.
    """
    chosen = (attacks,) if isinstance(attacks, Attack) else tuple(attacks)
    _check_arguments(images, chosen, batch_size=batch_size, seed=seed, sanity_images=sanity_images, draws=draws)
    Accuracy.from_counts(1, 1, method=interval)  # refuses an unknown method now, not after the work
    with joined() as ranks:
        where = _device(ranks.device(device))
        module.to(where)
        identity = fingerprint(module, images, chosen, batch_size=batch_size, seed=seed, device=where, draws=draws)
        first = ranks.rank == 0  # the only one that writes and reports
        store: ChunkStore = FolderChunks(folder, identity) if folder is not None and first else MemoryChunks()
        report = progress if first else None
        evaluation = _Evaluation(module, images, chosen, store, batch_size, seed, where, report, draws, ranks)
        return evaluation.run(sanity_images, interval)


def _check_arguments(
    images: ImageSet, attacks: tuple[Attack, ...], *, batch_size: int, seed: int, sanity_images: int, draws: int
) -> None:
    if not len(images):
        raise InputError("an evaluation needs at least one image", got=f"0 images in {images.name}", key="images")
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("sanity_images", sanity_images, 0),
        ("draws", draws, 2),
    ):
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
        draws: int,
        ranks: Ranks,
    ) -> None:
        self.ranks = ranks
        self.module = module
        self.images = images
        self.attacks = attacks
        self.store = store
        self.batch_size = batch_size
        self.seed = seed
        self.progress = progress
        self.asked_draws = draws
        self.draws = 1  # until the preflight says that the model is random
        self.notes: list[str] = []
        self.chunks: list[Chunk] = []  # without the images
        self.seconds = np.zeros(1 + len(attacks))
        self.done = self.seen = self.right = self.robust = 0
        self.runner = Runner(module, images, seed=seed, device=device, batch_size=batch_size, note=self._remark)

    def run(self, sanity_images: int, interval: IntervalMethod) -> RobustnessResult:
        self._say("preflight")
        flags = self._preflight()
        if any(flag.id is FlagId.RANDOMISED and flag.state == "raised" for flag in flags):
            self.draws = self.asked_draws
            self.notes.append(f"the model is random: accuracies are means over {self.draws} draws")
        with torch.inference_mode(False), eval_mode(self.module):
            batches = range(-(-len(self.images) // self.batch_size))
            for first in range(0, len(batches), self.ranks.count):
                self._batches(batches[first : first + self.ranks.count])
            self._say("sanity")
            count = min(sanity_images, len(self.images))
            checks = self._sanity(count)
            flags = self._with_blackbox(flags, count)
        # A batch that was halved is remarked on where it was.
        self.notes = list(dict.fromkeys(note for notes in self.ranks.gather(self.notes) for note in notes))
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

    def _batches(self, numbers: range) -> None:
        """As many batches as there are ranks: those stored already, and the others, one for each rank."""
        stored = {number: chunk for number in numbers if (chunk := self.store.load(number)) is not None}
        known = self.ranks.gather(stored)[0]
        missing = [number for number in numbers if number not in known]
        mine = {number: self._compute(*self._range(number)) for number in missing[self.ranks.rank :: self.ranks.count]}
        made = {number: chunk for part in self.ranks.gather(mine) for number, chunk in part.items()}
        for number in numbers:
            chunk = made[number] if number in made else known[number]
            if number not in stored:
                self.store.save(number, chunk)
            if number not in mine:
                start, stop = self._range(number)
                self.done += (stop - start) * max(len(self.attacks), 1)
            self._take(chunk)

    def _range(self, number: int) -> tuple[int, int]:
        return number * self.batch_size, min((number + 1) * self.batch_size, len(self.images))

    def _take(self, chunk: Chunk) -> None:
        self.chunks.append(replace(chunk, adversarial=chunk.adversarial[:, :0]))
        self.seconds += chunk.seconds
        self.seen += len(chunk.clean)
        self.right += int((chunk.shares[0] >= 0.5).sum())
        self.robust += int((chunk.shares[-1] >= 0.5).sum())
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
        shape = (len(results), stop - start)
        chunk = Chunk(
            clean=clean,
            attacked=np.array([one.predictions for one in results], np.int64).reshape(shape),
            claimed=np.array([one.claimed for one in results], np.bool_).reshape(shape),
            part=np.array([one.part for one in results], np.int64).reshape(shape),
            shares=np.empty((0, stop - start)),
            adversarial=np.array([one.images for one in results], np.float32).reshape(
                *shape, *self.images.images.shape[1:]
            ),
            seconds=np.diff(seconds),
        )
        return replace(chunk, shares=self._shares(chunk, start, stop))

    def _shares(self, chunk: Chunk, start: int, stop: int) -> npt.NDArray[np.float64]:
        """How often the model is right on each version of the images, and on the worst of them, (2 + a, b)."""
        if self.draws == 1:
            right = np.stack([chunk.clean, *chunk.attacked]) == self.images.labels[start:stop]
            return np.concatenate([right, right.all(axis=0, keepdims=True)]).astype(np.float64)
        versions = np.concatenate([self.runner.inputs(start, stop)[0].cpu().numpy()[None], chunk.adversarial])
        shares = np.stack([self.runner.right_share(version, start, self.draws) for version in versions])
        # The worst version is chosen on some draws and judged on others: the least of noisy numbers is too low.
        worst = versions[shares.argmin(axis=0), np.arange(stop - start)]
        return np.concatenate([shares, self.runner.right_share(worst, start, self.draws)[None]])

    def _sanity(self, count: int) -> tuple[Check, ...]:
        clean = np.concatenate([chunk.clean for chunk in self.chunks])
        attacked = np.concatenate([chunk.attacked for chunk in self.chunks], axis=1)
        claimed = np.concatenate([chunk.claimed for chunk in self.chunks], axis=1)
        checks = [check_per_image(self.runner, count)]
        for number, attack in enumerate(self.attacks):
            checks += check_outcomes(attack, self.images.labels, clean, attacked[number], claimed[number])
            checks += check_attack(self.runner, attack, clean[:count], attacked[number, :count])
            checks += check_effort(self.runner, attack, attacked[number, :count])
        return tuple(checks)

    def _with_blackbox(self, flags: tuple[Flag, ...], count: int) -> tuple[Flag, ...]:
        """The flags, with what is now known of attacks with and without gradients."""
        right = np.concatenate([chunk.shares[0] for chunk in self.chunks]) >= 0.5
        correct = np.concatenate([chunk.shares[1:-1] for chunk in self.chunks], axis=1) >= 0.5
        parts = np.concatenate([chunk.part for chunk in self.chunks], axis=1)
        found = blackbox_wins(self.runner, self.attacks, right, correct, parts, probe=count, draws=self.draws)
        return tuple(found if flag.id is FlagId.BLACKBOX_WINS else flag for flag in flags)

    def _result(self, flags: tuple[Flag, ...], checks: tuple[Check, ...], interval: IntervalMethod) -> RobustnessResult:
        shares = np.concatenate([chunk.shares for chunk in self.chunks], axis=1)
        parts = np.concatenate([chunk.part for chunk in self.chunks], axis=1)
        clean, *attacked, worst = shares

        def accuracy(right: npt.NDArray[np.float64]) -> Accuracy:
            return Accuracy.from_shares(right, method=interval)

        return RobustnessResult(
            name=self.images.name,
            seed=self.seed,
            batch_size=self.batch_size,
            draws=self.draws,
            clean=accuracy(clean),
            clean_correct=clean >= 0.5,
            attacks=tuple(
                AttackOutcome(
                    attack=attack,
                    accuracy=accuracy(row),
                    correct=row >= 0.5,
                    seconds=float(seconds),
                    shares=row,
                    broken_by=tuple((name, int((part == place).sum())) for place, name in enumerate(attack.parts)),
                )
                for attack, row, part, seconds in zip(self.attacks, attacked, parts, self.seconds[1:], strict=True)
            ),
            robust=accuracy(worst) if self.attacks else None,
            robust_correct=worst >= 0.5,
            flags=flags,
            checks=checks,
            notes=tuple(self.notes),
            clean_seconds=float(self.seconds[0]),
            store=self.store,
        )
