"""``codesign init``: copy the shipped architectures and a configuration into a folder, to be edited there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from codesign.errors import InputError
from codesign.resources import arch_specs_dir, examples_dir

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to fill; made if it is missing.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are already there.")] = False,
) -> None:
    """Copy the architecture specs and an example configuration into a folder, to edit them.

    Example: codesign init study && cd study && codesign evaluate --config run.yaml
    """
    specs = sorted(arch_specs_dir().glob("*.yaml"))
    copies = {spec: folder / "arch_specs" / spec.name for spec in specs}
    copies[examples_dir() / "run.yaml"] = folder / "run.yaml"
    present = [target for target in copies.values() if target.exists()]
    if present and not force:
        raise InputError(
            "init never overwrites an edited file",
            got=", ".join(str(target) for target in present),
            path=folder,
            fix="choose another folder, or --force to replace them",
        )
    for source, target in copies.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        typer.echo(f"wrote {target}")
    typer.echo("next: codesign evaluate --config run.yaml")
