"""``codesign prune``: robustness-aware pruning of filters or weights, fine-tuning, and attacks before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from codesign.data.images import ImageSet
    from codesign.defenses.rfp.criteria import Criterion
    from codesign.defenses.rfp.finetuning import FinetuningConfig
    from codesign.defenses.rfp.run import Comparison, PruningRun

__all__ = ["prune"]

_PRUNING, _TUNING, _ATTACK, _RUN = "Pruning", "Fine-tuning", "Comparison under attack", "Run"


def prune(
    model: Annotated[str, typer.Argument(help="Zoo name, module:factory, or network file (.json).")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights (.safetensors, .pt, .pth, .th).")] = None,
    data: Annotated[
        str, typer.Option(help="Data set: name or npz:PATH; training split for criterion and fine-tuning.")
    ] = "fashion_mnist",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's files.")] = None,
    robust_data: Annotated[
        Path | None, typer.Option(help="Folder that codesign make-robust-dataset made.", rich_help_panel=_PRUNING)
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(help="filters, weights, or N:M such as 2:4. (default filters)", rich_help_panel=_PRUNING),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="Name or file.py:function. (default activation_gradient; l1_norm for weights)",
            rich_help_panel=_PRUNING,
        ),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Share that is removed. (default 0.3)", rich_help_panel=_PRUNING)
    ] = None,
    layer_ratio: Annotated[
        list[str] | None,
        typer.Option(help="LAYER=RATIO, a name or pattern; repeat.", metavar="LAYER=RATIO", rich_help_panel=_PRUNING),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="layer or global. (default layer)", rich_help_panel=_PRUNING)
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Layer name or pattern that stays as it is; repeat.", rich_help_panel=_PRUNING),
    ] = None,
    coupled: Annotated[
        bool | None,
        typer.Option("--coupled", help="Also prune channels that a sum ties together.", rich_help_panel=_PRUNING),
    ] = None,
    max_layer_ratio: Annotated[
        float | None, typer.Option(help="Largest share of a layer, global scope. (default 1)", rich_help_panel=_PRUNING)
    ] = None,
    multiple: Annotated[
        int | None,
        typer.Option(
            help="Every layer keeps a multiple of so many filters, e.g. the lanes of a PE. (default 1)",
            rich_help_panel=_PRUNING,
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Training images of the criterion. (default 1000)", rich_help_panel=_PRUNING)
    ] = None,
    finetune: Annotated[
        str, typer.Option(help="none, robust (data), natural or adversarial.", rich_help_panel=_TUNING)
    ] = "none",
    epochs: Annotated[int | None, typer.Option(help="Epochs. (default 20)", rich_help_panel=_TUNING)] = None,
    lr: Annotated[
        float | None, typer.Option(help="First learning rate. (default 0.01)", rich_help_panel=_TUNING)
    ] = None,
    final_lr: Annotated[
        float | None, typer.Option(help="Last learning rate. (default 0.001)", rich_help_panel=_TUNING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images of an optimizer step. (default 128)", rich_help_panel=_TUNING)
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="L-infinity radius of adversarial. (default 8/255)", rich_help_panel=_TUNING)
    ] = None,
    validation_images: Annotated[
        int | None, typer.Option(help="Held out to select the epoch. (default 500)", rich_help_panel=_TUNING)
    ] = None,
    compare_images: Annotated[
        int, typer.Option(help="Test images attacked before and after; 0 for none.", rich_help_panel=_ATTACK)
    ] = 200,
    threat: Annotated[
        list[str] | None,
        typer.Option(
            help="norm:radius[:attacks]; repeat. (default l2:0.25 l2:0.5 linf:8/255)", rich_help_panel=_ATTACK
        ),
    ] = None,
    attack_steps: Annotated[int, typer.Option(help="PGD steps.", rich_help_panel=_ATTACK)] = 20,
    autoattack: Annotated[
        bool, typer.Option("--autoattack", help="AutoAttack standard too (slow).", rich_help_panel=_ATTACK)
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.", rich_help_panel=_RUN)] = 0,
    device: Annotated[str, typer.Option(help="torch device.", rich_help_panel=_RUN)] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="torch threads.", rich_help_panel=_RUN)] = None,
    out: Annotated[Path, typer.Option(help="Folder of the finished run.", rich_help_panel=_RUN)] = Path("runs/pruned"),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the record (pruning.json) here too.", rich_help_panel=_RUN)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.", rich_help_panel=_RUN)] = False,
) -> None:
    """Prune a trained network; leaves network.json, which codesign evaluate takes as a model, in --out.

    Example: codesign prune fmnist_resnet8_adversarial --data fashion_mnist --ratio 0.3 --finetune adversarial
    --eps 0.1 --epochs 5 --threat l2:0.5 --threat linf:0.1 --out runs/pruned
    """
    given = {
        "granularity": granularity, "criterion": criterion, "ratio": ratio, "layer_ratios": _ratios(layer_ratio),
        "scope": scope, "exclude": exclude, "coupled": coupled, "max_layer_ratio": max_layer_ratio,
        "multiple": multiple, "images": images, "seed": seed,
    }  # fmt: skip
    tuning = {
        "epochs": epochs, "lr": lr, "final_lr": final_lr, "batch_size": batch_size, "eps": eps,
        "validation_images": validation_images,
    }  # fmt: skip
    record = _run(
        {key: value for key, value in given.items() if value is not None},
        {key: value for key, value in tuning.items() if value is not None},
        _Choices(model, checkpoint, data, data_dir, robust_data, finetune, device, threads, seed),
        _comparison(compare_images, threat, attack_steps, autoattack),
        out,
        quiet,
    )
    if json_file is not None:
        from codesign.store import write_json

        write_json(json_file, record)


@dataclass(frozen=True, slots=True)
class _Choices:
    """What is loaded, and where it runs."""

    model: str
    checkpoint: Path | None
    data: str
    data_dir: Path | None
    robust_data: Path | None
    finetune: str
    device: str
    threads: int | None
    seed: int


def _ratios(given: list[str] | None) -> dict[str, float] | None:
    if given is None:
        return None
    found: dict[str, float] = {}
    for text in given:
        layer, _, value = text.rpartition("=")
        try:
            found[layer] = float(value)
        except ValueError as error:
            raise InputError("a layer's ratio is LAYER=RATIO", got=text, key="--layer-ratio") from error
        if not layer:
            raise InputError("a layer's ratio is LAYER=RATIO", got=text, key="--layer-ratio")
    return found


def _comparison(images: int, threats: list[str] | None, steps: int, autoattack: bool) -> Comparison:
    from codesign.defenses.rfp.run import Comparison
    from codesign.defenses.rfp.threats import DEFAULT_THREATS, parse_threat

    if images < 0 or steps < 1:
        key = "--compare-images" if images < 0 else "--attack-steps"
        raise InputError("a number of images is at least 0, of steps at least 1", got=min(images, steps), key=key)
    chosen = DEFAULT_THREATS if threats is None else tuple(parse_threat(text) for text in threats)
    return Comparison(images, chosen, steps, autoattack)


def _finetuning(choice: _Choices, values: dict[str, Any], name: str) -> FinetuningConfig | None:
    from pydantic import ValidationError

    from codesign.defenses.rfp.finetuning import FinetuningConfig

    if choice.finetune not in {"none", "robust", "natural", "adversarial"}:
        raise InputError("fine-tuning is none, robust, natural or adversarial", got=choice.finetune, key="--finetune")
    if choice.finetune == "none":
        if values:
            raise InputError(
                "this goes with fine-tuning",
                key=", ".join(f"--{key.replace('_', '-')}" for key in values),
                fix="add --finetune robust, natural or adversarial",
            )
        return None
    method = "adversarial" if choice.finetune == "adversarial" else "natural"
    try:
        return FinetuningConfig.model_validate(
            {"model": name, "data": choice.data, "method": method, "seed": choice.seed} | values
        )
    except ValidationError as error:
        detail = error.errors()[0]
        key = f"--{str(detail['loc'][0]).replace('_', '-')}"
        raise InputError(detail["msg"].removeprefix("Value error, "), got=detail["input"], key=key) from error


def _run(
    pruning: dict[str, Any],
    tuning: dict[str, Any],
    choice: _Choices,
    comparison: Comparison,
    out: Path,
    quiet: bool,
) -> dict[str, Any]:
    import torch
    from rich.console import Console

    from codesign.cli.progress import RichProgress
    from codesign.cli.pruning_tables import show_pruning
    from codesign.data.datasets import load_dataset
    from codesign.defenses.rfp.config import make_pruning_config
    from codesign.defenses.rfp.run import PruningRun, run_pruning
    from codesign.defenses.rfp.shards import load_robust_dataset
    from codesign.models.loading import load_model

    config = make_pruning_config(pruning)
    if choice.threads is not None:
        torch.set_num_threads(choice.threads)
    finetuning = _finetuning(choice, tuning, choice.model)
    criterion = _own_criterion(config.criterion)
    loaded = load_model(choice.model, checkpoint=choice.checkpoint)
    training_set = load_dataset(choice.data, data_dir=choice.data_dir, split="train")
    test_set: ImageSet | None = None
    if comparison.images:
        test_set = load_dataset(choice.data, data_dir=choice.data_dir, split="test")
    run: PruningRun = PruningRun(
        model=loaded,
        training_set=training_set,
        test_set=test_set,
        config=config,
        robust_set=None if choice.robust_data is None else load_robust_dataset(choice.robust_data),
        criterion=criterion,
        finetuning=finetuning,
        finetune_on="robust" if choice.finetune == "robust" else "natural",
        comparison=comparison,
        device=choice.device,
    )
    console = Console(quiet=quiet)
    with RichProgress(enabled=not quiet) as progress:
        record = run_pruning(run, out, progress=progress, on_epoch=_epoch_note(progress.note))
    show_pruning(console, record)
    console.print(f"network: {out / 'network.json'} (codesign evaluate takes it as a model)", highlight=False)
    return record


def _epoch_note(note: Callable[[str], None]) -> Callable[[Any], None]:
    def show(report: Any) -> None:
        attacked = report.validation_adversarial
        under_attack = "" if attacked is None else f", {attacked.fraction:.1%} under attack"
        note(
            f"epoch {report.epoch + 1}: loss {report.loss:.3f}, held-out images "
            f"{report.validation_clean.fraction:.1%} clean{under_attack}, {report.seconds:.0f} s"
        )

    return show


def _own_criterion(name: str | None) -> Criterion | None:
    """A user's function from ``file.py:function``; None where a name of the table is meant."""
    if name is None or ":" not in name:
        return None
    import runpy

    place, _, function = name.rpartition(":")
    if not Path(place).is_file():
        raise InputError("the file with the criterion must exist", got="no such file", path=place, key="--criterion")
    try:
        found = runpy.run_path(place).get(function)
    except Exception as error:  # whatever a user's file does while it runs
        raise InputError(
            "the file with the criterion must run without an error",
            got=f"{type(error).__name__}: {error}",
            path=place,
            key="--criterion",
        ) from error
    if not callable(found):
        raise InputError("the file must hold a function of that name", got=function, path=place, key="--criterion")
    return found  # type: ignore[no-any-return]
