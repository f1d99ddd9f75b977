"""``codesign make-robust-dataset``: the robust dataset of Ilyas et al. (2019) from an adversarially trained teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codesign.errors import InputError

__all__ = ["make_robust_dataset"]


def make_robust_dataset(
    teacher: Annotated[str, typer.Argument(help="Zoo name, module:factory, or network file (.json).")],
    checkpoint: Annotated[Path | None, typer.Option(help="The teacher's weights.")] = None,
    data: Annotated[
        str, typer.Option(help="Data set: name or npz:PATH; its training split is used.")
    ] = "fashion_mnist",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the data set's files.")] = None,
    images: Annotated[int | None, typer.Option(help="Number of images, the first ones. (default all)")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps for every image. (default 1000)")] = None,
    step_size: Annotated[float | None, typer.Option(help="L2 length of a step. (default 0.1)")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images at a time, one shard each. (default 250)")] = None,
    representation: Annotated[
        str | None, typer.Option(help="Layer whose input is matched. (default the last linear layer)")
    ] = None,
    check_eps: Annotated[
        str | None, typer.Option(help="L2 radius that the teacher is measured at. (default 0.5)")
    ] = None,
    check_images: Annotated[
        int | None, typer.Option(help="Images that the teacher is measured on. (default 200)")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw. (default 0)")] = None,
    device: Annotated[str, typer.Option(help="torch device.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="torch threads.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the shards and manifest.json.")] = Path("runs/robust_dataset"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the manifest here too.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Make images that hold what the teacher sees only. The same command goes on where a killed run stopped.

    Example: codesign make-robust-dataset fmnist_resnet8_adversarial --data fashion_mnist --images 5000 --steps 100
    --out runs/robust_dataset
    """
    given = {
        "images": images, "steps": steps, "step_size": step_size, "batch_size": batch_size, "seed": seed,
        "representation": representation, "check_eps": check_eps, "check_images": check_images,
    }  # fmt: skip
    manifest = _make(
        {key: value for key, value in given.items() if value is not None},
        (teacher, checkpoint),
        (data, data_dir),
        out,
        device,
        threads,
        quiet,
    )
    if json_file is not None:
        from codesign.store import write_json

        write_json(json_file, manifest)


def _make(
    values: dict[str, Any],
    teacher: tuple[str, Path | None],
    data: tuple[str, Path | None],
    out: Path,
    device: str,
    threads: int | None,
    quiet: bool,
) -> dict[str, Any]:
    import torch
    from pydantic import ValidationError
    from rich.console import Console

    from codesign.cli.progress import RichProgress
    from codesign.data.datasets import load_dataset
    from codesign.defenses.rfp.robust_dataset import RobustDatasetConfig
    from codesign.defenses.rfp.robust_dataset import make_robust_dataset as make
    from codesign.models.loading import load_model

    try:
        config = RobustDatasetConfig.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        key = f"--{str(detail['loc'][0]).replace('_', '-')}"
        raise InputError(detail["msg"].removeprefix("Value error, "), got=detail["input"], key=key) from error
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(teacher[0], checkpoint=teacher[1])
    images = load_dataset(data[0], data_dir=data[1], split="train")
    with RichProgress(enabled=not quiet) as progress:
        made = make(loaded.module, loaded.source, images, out, config, device=device, progress=progress)
    console = Console(quiet=quiet)
    check, distance = made.manifest["teacher_check"], made.manifest["distance"]
    if check["warning"]:
        # Not hidden by --quiet: it decides what the dataset is worth.
        Console(stderr=True).print(f"codesign: warning: {check['warning']}", markup=False, highlight=False)
    console.print(
        f"{out}: {made.manifest['images']} images; teacher {check['clean']['value']:.1%} clean, "
        f"{check['robust']['value']:.1%} under {check['attack']}",
        highlight=False,
        soft_wrap=True,
    )
    before, after = distance["before"], distance["after"]
    console.print(
        f"relative distance {before['mean']:.3f} -> {after['mean']:.3f} (95 % of the images below {after['p95']:.3f})",
        highlight=False,
        soft_wrap=True,
    )
    return made.manifest
