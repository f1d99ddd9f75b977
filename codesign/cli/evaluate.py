"""``codesign evaluate``: trained models to a joined record of robustness, energy and latency."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import check_output_file

if TYPE_CHECKING:
    from codesign.config import EvaluateConfig

__all__ = ["evaluate"]

_WHAT = "What is evaluated"
_ATTACK = "Attack"
_RUN = "Run"


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Zoo names, module:factory, file.py:factory, or torch.export programs (.pt2).", rich_help_panel=_WHAT
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights (.safetensors, .pt, .pth, .th) of a single model, or random:SEED.", rich_help_panel=_WHAT
        ),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Classes of a single model that takes them.", rich_help_panel=_WHAT)
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="C,H,W", help="Images of a single model. (default: those of the data)", rich_help_panel=_WHAT
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set: name, npz:PATH or imagefolder:PATH. (default fashion_mnist_1k)", rich_help_panel=_WHAT
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with its files.", rich_help_panel=_WHAT)] = None,
    images: Annotated[
        int | None, typer.Option(help="Number of images, the first ones. (default all)", rich_help_panel=_WHAT)
    ] = None,
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            help="Shipped architecture or YAML file; repeat for several. (default the shipped ones)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Unsupported operator to leave out of the hardware model; repeat.", rich_help_panel=_WHAT),
    ] = None,
    fusion: Annotated[
        str | None, typer.Option(help="fused or unfused norms and activations. (default fused)", rich_help_panel=_WHAT)
    ] = None,
    mask_images: Annotated[
        int | None, typer.Option(help="Number of images whose masks are recorded. (default all)", rich_help_panel=_WHAT)
    ] = None,
    density: Annotated[
        str | None,
        typer.Option(
            help="expected, or actual: simulate the recorded masks themselves. (default expected)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    mappings: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own mappings; new ones are kept there. (default none)", rich_help_panel=_WHAT
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="embedded, or timeloop where it is installed. (default embedded)", rich_help_panel=_WHAT),
    ] = None,
    defenses: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            metavar="neni[:KEY=VALUE,...]",
            help="Also evaluate every model with this defence around it; repeat. E.g. neni:share=0.2 (default none)",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf or l2. (default linf)", rich_help_panel=_ATTACK)] = None,
    eps: Annotated[
        str | None, typer.Option(help="Radius, pixels in [0, 1], e.g. 8/255. (default 8/255)", rich_help_panel=_ATTACK)
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            help='Attacks, e.g. autoattack-standard, or "pgd:steps=50; square:queries=1000". (default PGD as below)',
            rich_help_panel=_ATTACK,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="PGD steps. (default 20)", rich_help_panel=_ATTACK)] = None,
    step_size: Annotated[
        str | None, typer.Option(help="PGD step size. (default max(2.5 / steps, 1 / 4) * eps)", rich_help_panel=_ATTACK)
    ] = None,
    restarts: Annotated[
        int | None, typer.Option(help="PGD restarts; the worst counts. (default 1)", rich_help_panel=_ATTACK)
    ] = None,
    threats: Annotated[
        list[str] | None,
        typer.Option(
            "--threat",
            metavar="NORM:EPS[:ATTACKS]",
            help="A further threat, e.g. l2:0.25 or linf:8/255:autoattack-standard; repeat. (default none)",
            rich_help_panel=_ATTACK,
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images attacked at a time. (default 250)", rich_help_panel=_RUN)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of every random draw. (default 0)", rich_help_panel=_RUN)
    ] = None,
    device: Annotated[str | None, typer.Option(help="torch device. (default cpu)", rich_help_panel=_RUN)] = None,
    threads: Annotated[
        int | None, typer.Option(help="torch threads. (default torch's choice)", rich_help_panel=_RUN)
    ] = None,
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
        "models": models, "defenses": defenses, "data": data, "data_dir": data_dir, "images": images,
        "architectures": architectures,
        "ignore": ignore, "fusion": fusion, "mask_images": mask_images, "mappings": mappings, "density": density,
        "engine": engine, "norm": norm, "eps": eps,
        "attacks": attacks, "steps": steps,
        "step_size": step_size, "restarts": restarts, "threats": threats, "batch_size": batch_size, "seed": seed,
        "device": device, "threads": threads,
    }  # fmt: skip
    check_output_file(json_path, "--json")
    of_the_model = {"checkpoint": checkpoint, "num_classes": num_classes, "input_shape": _shape(input_shape)}
    settings = _settings(
        {key: value for key, value in given.items() if value is not None},
        {key: value for key, value in of_the_model.items() if value is not None},
        config,
    )
    raise typer.Exit(_run(settings, out, force=force, json_path=json_path, quiet=quiet))


def _shape(text: str | None) -> tuple[int, ...] | None:
    from codesign.errors import InputError

    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InputError(
            "an input shape is three positive integers: channels, height, width",
            got=text,
            key="--input-shape",
            fix="for example --input-shape 3,32,32",
        )
    return tuple(int(part) for part in parts)


def _settings(flags: dict[str, Any], of_the_model: dict[str, Any], config: Path | None) -> EvaluateConfig:
    from codesign.config import load_config, make_config
    from codesign.errors import InputError

    if of_the_model:
        chosen = flags.get("models", [])
        if len(chosen) != 1:
            flag = "--" + next(iter(of_the_model)).replace("_", "-")
            raise InputError(
                f"{flag} goes with exactly one model on the command line",
                got=f"{len(chosen)} models",
                key=flag,
                fix="use a YAML file with `models: [{model: ..., checkpoint: ...}, ...]`",
            )
        flags["models"] = [{"model": chosen[0], **of_the_model}]
    if config is None and "models" not in flags:
        raise InputError(
            "name at least one model, or give --config",
            key="MODELS",
            fix="for example: codesign evaluate fmnist_resnet8_adversarial",
        )
    return make_config(flags) if config is None else load_config(config, flags)


def _run(settings: EvaluateConfig, out: Path, *, force: bool, json_path: Path | None, quiet: bool) -> int:
    from codesign.robustness.distributed import environment_rank

    if environment_rank() == 0:
        return _run_here(settings, out, force=force, json_path=json_path, quiet=quiet)
    # Under torchrun the processes share the attacks; whatever else a process but the first writes is thrown away.
    with TemporaryDirectory(prefix="codesign-") as scratch:
        return _run_here(settings, Path(scratch) / "run", force=False, json_path=None, quiet=True)


def _run_here(settings: EvaluateConfig, out: Path, *, force: bool, json_path: Path | None, quiet: bool) -> int:
    from rich.console import Console

    from codesign.cli.progress import RichProgress
    from codesign.evaluation.hardware import InfeasibleLayerError
    from codesign.evaluation.run import run_evaluation
    from codesign.report.defenses import show_defenses
    from codesign.report.pruning import show_pruning
    from codesign.report.realised import show_realised
    from codesign.report.robustness import show_robustness
    from codesign.report.tables import footnotes, terminal_table
    from codesign.report.waterfall import show_waterfall
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
    console.print(terminal_table(record, console.width))
    show_robustness(console, record)
    show_pruning(console, record)
    show_defenses(console, record)
    show_waterfall(console, record)
    show_realised(console, record)
    for note in footnotes(record):
        console.print(note, style="dim", markup=False, highlight=False)
    console.print(f"report: {out / 'report.html'}", highlight=False)
    return 0
