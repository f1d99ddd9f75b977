"""``codesign train``: natural or PGD-adversarial training of a zoo network, or of a trained one with a defence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import check_output_file
from codesign.cli.train_defense import DEFENSE_KEYS, defended_run, summary
from codesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as RichProgress

    from codesign.accelerator.spec.nodes import Node
    from codesign.data.images import ImageSet
    from codesign.training.config import TrainingConfig
    from codesign.training.loop import EpochReport

    _Start = Callable[..., str]

__all__ = ["train"]

# What a config file may hold besides the keys of TrainingConfig: where to read and write, not what is computed.
_RUN_KEYS = ("data_dir", "out", "device", "threads", "resume")
# Flags of the terminal, which have no key in a config file.
_NO_KEYS = frozenset({"config", "quiet", "json_file"})


def train(
    model: Annotated[
        str | None, typer.Option(help="Zoo name of the network; with --defense any trained network.")
    ] = None,
    defense: Annotated[
        str | None,
        typer.Option(
            help="Distil a defence and train the network on through it: neni, or neni:share=0.2,precision=int8 with "
            "the settings of docs/neni.md."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="With --defense: weights of the trained network (.safetensors, .pt, .pth, .th).")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data set; its training split is trained on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's files. (default data)")] = None,
    method: Annotated[str | None, typer.Option(help="natural or adversarial (PGD, Madry et al. 2018).")] = None,
    eps: Annotated[str | None, typer.Option(help="L-infinity radius, pixels in [0, 1]: 0.1, 8/255.")] = None,
    steps: Annotated[int | None, typer.Option(help="PGD steps of the inner loop. (default 7)")] = None,
    step_size: Annotated[str | None, typer.Option(help="PGD step size. (default 2.5 * eps / steps)")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training images. (with --defense default 20; 0 only distils)"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of an optimizer step. (default 256; with --defense 128)")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate. (default 0.1; with --defense 0.01)")] = None,
    final_lr: Annotated[
        float | None, typer.Option(help="With --defense: learning rate at the end. (default 0.001)")
    ] = None,
    warmup_fraction: Annotated[
        float | None,
        typer.Option(help="Share of all steps in which the learning rate rises. (default 0.2; with --defense 0)"),
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Nesterov momentum of SGD. (default 0.9)")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay. (default 5e-4)")] = None,
    crop_padding: Annotated[int | None, typer.Option(help="Pixels of padding before a crop. (default 2)")] = None,
    flip: Annotated[bool | None, typer.Option(help="Mirror images at random. (default flip)")] = None,
    validation_images: Annotated[
        int | None,
        typer.Option(help="Training images held out to select the best epoch. (default 3000; with --defense 500)"),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16, in training. (default float32)")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw. (default 0)")] = None,
    evaluation_steps: Annotated[
        int | None, typer.Option(help="PGD steps of the final evaluation. (default 20)")
    ] = None,
    evaluation_step_size: Annotated[
        str | None, typer.Option(help="PGD step size there. (default 2.5 * eps / evaluation steps)")
    ] = None,
    evaluation_images: Annotated[
        int | None, typer.Option(help="With --defense: test images of the final evaluation. (default 1000)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoint, record and state.")] = None,
    device: Annotated[str | None, typer.Option(help="torch device. (default cpu)")] = None,
    threads: Annotated[int | None, typer.Option(help="torch threads. (default torch's own choice)")] = None,
    resume: Annotated[bool | None, typer.Option(help="Continue the run in --out if there is one.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file; every flag has its key, a flag wins.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record (model.json) here too.")] = None,
) -> None:
    """Train a zoo network; leaves model.safetensors and model.json with the measured accuracies in --out.

    Example: codesign train --model resnet8_fmnist --data fashion_mnist --method adversarial --eps 0.1 --epochs 20
    --out runs/robust

    With --defense a trained network is defended and trained on; codesign evaluate takes neni.json in --out as a model.

    Example: codesign train --defense neni:share=0.5,dimension=16 --model fmnist_resnet8_natural --data fashion_mnist
    --method adversarial --eps 0.1 --epochs 5 --out runs/neni
    """
    arguments = dict(locals())  # before any other name is bound here: exactly the flags
    check_output_file(json_file, "--json")
    flags = {key: value for key, value in arguments.items() if key not in _NO_KEYS and value is not None}
    values, lines = _read(config) if config is not None else ({}, {})
    # A flag is no longer at the line where the file has the key.
    lines = {key: line for key, line in lines.items() if key not in flags}
    values |= {key: str(value) if isinstance(value, Path) else value for key, value in flags.items()}
    run = _Run.from_values({key: values.pop(key) for key in _RUN_KEYS if key in values}, lines, config)
    record_file = _train(values, lines, run, config, quiet)
    if json_file is not None:
        from codesign.training.state import write_atomically

        write_atomically(json_file, lambda path: path.write_bytes(record_file.read_bytes()))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The values of a config file and the line of each."""
    from codesign.accelerator.spec.yaml_reader import read_yaml
    from codesign.training.config import TrainingConfig

    nodes = read_yaml(path).only((*TrainingConfig.model_fields, *DEFENSE_KEYS, *_RUN_KEYS), "a training config")
    for key, node in nodes.items():
        if (node.is_mapping or node.is_list) and not (key == "defense" and node.is_mapping):
            raise node.error("a value of a training config is a number, a word, true or false", got=node.describe())
    return {key: _plain(node) for key, node in nodes.items()}, {key: node.line for key, node in nodes.items()}


def _plain(node: Node) -> Any:
    """The value of a YAML node without its tags."""
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    return [_plain(child) for child in node.value] if isinstance(node.value, list) else node.value


def _train(values: dict[str, Any], lines: dict[str, int], run: _Run, config_path: Path | None, quiet: bool) -> Path:
    """Run, show the outcome, and return the path of the record."""
    import torch
    from rich.console import Console

    from codesign.data.datasets import load_dataset
    from codesign.training.run import RECORD_FILE

    if run.threads is not None:
        torch.set_num_threads(run.threads)
    job = _plain_job if "defense" not in values else _defended_job
    config, start = job(values, lines, config_path)
    training_set = load_dataset(config.data, data_dir=run.data_dir, split="train")
    test_set = load_dataset(config.data, data_dir=run.data_dir, split="test")
    device = _device(run.device)
    console = Console(stderr=True, quiet=quiet)
    with _progress(console) as bars:
        display = _Display(bars, console, config.epochs)
        options = {"device": device, "resume": run.resume, "progress": display.step, "on_epoch": display.epoch}
        try:
            said = start(training_set, test_set, run.out, **options)
        except KeyboardInterrupt:
            console.print("stopped; --resume continues after the last finished epoch")
            raise
    console.print(said, soft_wrap=True)
    return run.out / RECORD_FILE


def _plain_job(values: dict[str, Any], lines: dict[str, int], path: Path | None) -> tuple[TrainingConfig, _Start]:
    """Training of a zoo network: its config, and what runs it."""
    from codesign.training.config import make_training_config
    from codesign.training.run import train as run_training

    alone = [key for key in DEFENSE_KEYS if key in values]
    if alone:
        flag = f"--{alone[0].replace('_', '-')}"
        raise InputError("this goes with a defence", path=path, line=lines.get(alone[0]), key=flag, fix="add --defense")
    config = make_training_config(values, path=path, lines=lines)

    def start(training_set: ImageSet, test_set: ImageSet, out: Path, **options: Any) -> str:
        result = run_training(config, training_set, test_set, out, **options)
        test, pgd = result.record["test"], result.record["test"]["pgd"]
        attacked = f"{pgd['accuracy']:.2%} under PGD-{pgd['steps']} at eps {pgd['eps']:.4g}"
        return (
            f"{result.checkpoint}: epoch {result.record['selected_epoch'] + 1}; on {test['clean']['images']} test "
            f"images {test['clean']['accuracy']:.2%} clean, {attacked}"
        )

    return config, start


def _defended_job(values: dict[str, Any], lines: dict[str, int], path: Path | None) -> tuple[TrainingConfig, _Start]:
    """Training of a trained network with a defence."""
    job = defended_run(values, path, lines)

    def start(training_set: ImageSet, test_set: ImageSet, out: Path, **options: Any) -> str:
        return summary(job.train(training_set, test_set, out, **options), out)

    return job.config, start


@dataclass(frozen=True, slots=True)
class _Run:
    """Where a run reads and writes and what it runs on: nothing that changes its result."""

    out: Path
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int | None = None
    resume: bool = False

    @classmethod
    def from_values(cls, values: dict[str, Any], lines: dict[str, int], config: Path | None) -> _Run:
        """Check the values that a config file may have given with any type."""
        kinds: dict[str, tuple[type, str]] = {
            "out": (str, "a path"),
            "data_dir": (str, "a path"),
            "device": (str, "the name of a torch device"),
            "threads": (int, "an integer of at least 1"),
            "resume": (bool, "true or false"),
        }
        for key, value in values.items():
            kind, words = kinds[key]
            if type(value) is not kind or (key == "threads" and values["threads"] < 1):
                flag = f"--{key.replace('_', '-')}"
                raise InputError(f"{key} must be {words}", got=value, path=config, line=lines.get(key), key=flag)
        if "out" not in values:
            raise InputError("train needs a folder for its results", key="--out", fix="give --out FOLDER")
        places: dict[str, Any] = {key: Path(values[key]) for key in ("out", "data_dir") if key in values}
        return cls(**(values | places))


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            "the device must be one that torch can use here",
            got=f"{name}: {str(error).splitlines()[0]}",
            key="--device",
            fix="--device cpu always works",
        ) from error
    return name


def _progress(console: Any) -> RichProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


class _Display:
    """One bar for the work at hand and one line for every finished epoch."""

    def __init__(self, bars: RichProgress, console: Any, epochs: int) -> None:
        self._bars = bars
        self._console = console
        self._epochs = epochs
        self._task = bars.add_task("train", total=None)

    def step(self, stage: str, done: int, total: int) -> None:
        self._bars.update(self._task, description=stage, completed=done, total=total)

    def epoch(self, report: EpochReport) -> None:
        adversarial = report.validation_adversarial
        under_attack = "" if adversarial is None else f", {adversarial.fraction:.2%} under attack"
        self._console.print(
            f"epoch {report.epoch + 1}/{self._epochs}: loss {report.loss:.3f}, held-out images "
            f"{report.validation_clean.fraction:.2%} clean{under_attack}, {report.seconds:.0f} s",
            soft_wrap=True,
        )
