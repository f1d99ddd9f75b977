"""``codesign init``: copy the shipped architectures and a configuration into a folder, to be edited there."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from codesign.cli.options import QuietOption, UnusedSeedOption, check_output_file
from codesign.errors import InputError
from codesign.resources import arch_specs_dir, examples_dir

__all__ = ["init"]


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to fill; made if it is missing.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are already there.")] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the list of files as JSON.")
    ] = None,
    quiet: QuietOption = False,
    seed: UnusedSeedOption = 0,
) -> None:
    """Copy the architecture specs and an example configuration into a folder, to edit them.

    Example: codesign init study && cd study && codesign evaluate --config run.yaml
    """
    del seed
    check_output_file(json_path, "--json")
    _check_folder(folder)
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
        if not quiet:
            typer.echo(f"wrote {target}")
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, {"files": [str(target) for target in copies.values()]})
    if not quiet:
        into = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
        typer.echo(f"next: {into}codesign evaluate --config run.yaml")


def _check_folder(folder: Path) -> None:
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise InputError("files are copied into a folder", got=f"{above} is a file", path=folder, key="FOLDER")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError("the folder must be writable", got=f"{above} is not", path=folder, key="FOLDER")
