"""``codesign evaluate``: trained models to a joined record of robustness, energy and latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from codesign.config import EvaluateConfig

__all__ = ["evaluate"]

_WHAT = "What is evaluated"
_ATTACK = "Attack"
_RUN = "Run"


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Zoo names, module:factory, or torch.export programs (.pt2).", rich_help_panel=_WHAT),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights (.safetensors, .pt, .pth, .th) of a single model.", rich_help_panel=_WHAT),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set: name, npz:PATH or imagefolder:PATH. [fashion_mnist_1k]", rich_help_panel=_WHAT),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with its files.", rich_help_panel=_WHAT)] = None,
    images: Annotated[
        int | None, typer.Option(help="Number of images, the first ones. [all]", rich_help_panel=_WHAT)
    ] = None,
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            help="Shipped architecture or YAML file; repeat for several. [the shipped ones]",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Unsupported operator to leave out of the hardware model; repeat.", rich_help_panel=_WHAT),
    ] = None,
    fusion: Annotated[
        str | None, typer.Option(help="fused or unfused norms and activations. [fused]", rich_help_panel=_WHAT)
    ] = None,
    mask_images: Annotated[
        int | None, typer.Option(help="Number of images whose masks are recorded. [all]", rich_help_panel=_WHAT)
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf or l2. [linf]", rich_help_panel=_ATTACK)] = None,
    eps: Annotated[
        str | None, typer.Option(help="Radius, pixels in [0, 1], e.g. 8/255. [8/255]", rich_help_panel=_ATTACK)
    ] = None,
    steps: Annotated[int | None, typer.Option(help="PGD steps. [20]", rich_help_panel=_ATTACK)] = None,
    step_size: Annotated[
        str | None, typer.Option(help="PGD step size. [max(2.5 / steps, 1 / 4) * eps]", rich_help_panel=_ATTACK)
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(help="PGD restarts; the worst counts. [1]", rich_help_panel=_ATTACK)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images attacked at a time. [250]", rich_help_panel=_RUN)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw. [0]", rich_help_panel=_RUN)] = None,
    device: Annotated[str | None, typer.Option(help="torch device. [cpu]", rich_help_panel=_RUN)] = None,
    threads: Annotated[int | None, typer.Option(help="torch threads. [torch's choice]", rich_help_panel=_RUN)] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any of these settings; flags win.", rich_help_panel=_RUN)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the finished run.", rich_help_panel=_RUN)] = Path("reports/run"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace a finished run in --out.", rich_help_panel=_RUN)
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the record to this file.", rich_help_panel=_RUN)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no table.", rich_help_panel=_RUN)
    ] = False,
) -> None:
    """Measure accuracy clean and under attack, record the masks, and simulate energy and latency for both.

    Example: codesign evaluate fmnist_resnet8_adversarial --images 200 --eps 0.1 --out reports/mine
    """
    given = {
        "models": models, "data": data, "data_dir": data_dir, "images": images, "architectures": architectures,
        "ignore": ignore, "fusion": fusion, "mask_images": mask_images, "norm": norm, "eps": eps, "steps": steps,
        "step_size": step_size, "restarts": restarts, "batch_size": batch_size, "seed": seed, "device": device,
        "threads": threads,
    }  # fmt: skip
    settings = _settings({key: value for key, value in given.items() if value is not None}, checkpoint, config)
    raise typer.Exit(_run(settings, out, force=force, json_path=json_path, quiet=quiet))


def _settings(flags: dict[str, Any], checkpoint: Path | None, config: Path | None) -> EvaluateConfig:
    from codesign.config import load_config, make_config
    from codesign.errors import InputError

    if checkpoint is not None:
        chosen = flags.get("models", [])
        if len(chosen) != 1:
            raise InputError(
                "--checkpoint goes with exactly one model on the command line",
                got=f"{len(chosen)} models",
                key="--checkpoint",
                fix="use a YAML file with `models: [{model: ..., checkpoint: ...}, ...]`",
            )
        flags["models"] = [{"model": chosen[0], "checkpoint": checkpoint}]
    if config is None and "models" not in flags:
        raise InputError(
            "name at least one model, or give --config",
            key="MODELS",
            fix="for example: codesign evaluate fmnist_resnet8_adversarial",
        )
    return make_config(flags) if config is None else load_config(config, flags)


def _run(settings: EvaluateConfig, out: Path, *, force: bool, json_path: Path | None, quiet: bool) -> int:
    from rich.console import Console

    from codesign.cli.progress import RichProgress
    from codesign.evaluation.hardware import InfeasibleLayerError
    from codesign.evaluation.run import run_evaluation
    from codesign.report.tables import footnotes, terminal_table
    from codesign.store import write_json

    console = Console(quiet=quiet)
    try:
        with RichProgress(enabled=not quiet) as progress:
            record = run_evaluation(settings, out, force=force, progress=progress)
    except InfeasibleLayerError as error:
        Console(stderr=True).print(f"codesign: infeasible: {error}", markup=False)
        if json_path is not None:
            write_json(json_path, error.answer.to_json())
        return 3
    if json_path is not None:
        write_json(json_path, record.to_json())
    console.print(terminal_table(record))
    for note in footnotes(record):
        console.print(note, style="dim", markup=False, highlight=False)
    console.print(f"report: {out / 'report.html'}", highlight=False)
    return 0
