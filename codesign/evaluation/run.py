"""``codesign evaluate`` from settings to a finished run: the one place where software and hardware meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from codesign.config import EvaluateConfig
from codesign.evaluation.dual_record import dual_architecture
from codesign.evaluation.inputs import read_inputs, with_defenses
from codesign.evaluation.notes import notes
from codesign.evaluation.one_model import evaluate_subject, map_subject
from codesign.evaluation.paired import compare_models
from codesign.evaluation.pruning import with_pruning
from codesign.evaluation.record import Record
from codesign.evaluation.software import ProgressSink
from codesign.report import write_report
from codesign.store import RunFolder, check_destination, write_json

__all__ = ["run_evaluation"]


def run_evaluation(config: EvaluateConfig, out: Path, *, force: bool, progress: ProgressSink) -> Record:
    """Evaluate every model on every architecture and leave the finished run at ``out``.

    Raises:
        InputError: bad settings or files; nothing is written then.
        InfeasibleLayerError: a layer has no legal mapping on an architecture; nothing is written either.
    """
    check_destination(out, force=force)
    with _threads(config.threads):
        inputs = with_defenses(read_inputs(config), progress)
        # Before the attacks, which take longest: a design that cannot run a layer is known at once.
        mapped = [map_subject(inputs, subject, progress) for subject in inputs.subjects]
        with RunFolder(out, inputs.key, force=force) as run:
            if run.resumed:
                progress.note("taking up the interrupted run")
            models = with_pruning(
                [evaluate_subject(inputs, number, layers, run, progress) for number, layers in enumerate(mapped)]
            )
            record = Record(
                config=config.model_dump(mode="json"),
                seed=config.seed,
                versions=inputs.versions,
                inputs=inputs.files,
                models=models,
                architectures=tuple(
                    dual_architecture(accelerator, inputs.dual[accelerator.name])
                    if accelerator.name in inputs.dual
                    else accelerator.record()
                    for accelerator in inputs.accelerators
                ),
                notes=notes(
                    config, inputs.images, defended=any(subject.defended is not None for subject in inputs.subjects)
                ),
                comparisons=compare_models(models),
                data={
                    "name": inputs.images.name,
                    "images": len(inputs.images),
                    "classes": list(inputs.images.class_names),
                    "source": inputs.images.source,
                },
            )
            write_json(run.staging / "results.json", record.to_json())
            write_report(record, run.staging)
            run.publish()
    return record


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    former = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)
