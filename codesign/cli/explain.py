"""``codesign explain KEY``: what a key of the architecture, problem, mapping and table files means."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from codesign.cli.options import QuietOption, UnusedSeedOption, check_output_file
from codesign.errors import InputError, did_you_mean

__all__ = ["explain"]


def explain(
    key: Annotated[str, typer.Argument(help="A key of a v0.4 file, e.g. meshX, or a section, e.g. attributes.")],
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the entries as JSON.")] = None,
    quiet: QuietOption = False,
    seed: UnusedSeedOption = 0,
) -> None:
    """Say what a key of a Timeloop v0.4 file means, its unit and its default.

    Example: codesign explain multiple_buffering
    """
    from codesign.accelerator.spec.glossary import GLOSSARY, explain_key

    del seed
    check_output_file(json_path, "--json")
    entries = explain_key(key) + tuple(entry for entry in GLOSSARY if entry.section == key)
    if not entries:
        known = {entry.key for entry in GLOSSARY}
        raise InputError("no reader knows this key", got=key, key="KEY", fix=did_you_mean(key, known))
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, [asdict(entry) for entry in entries])
    if quiet:
        return
    for entry in entries:
        typer.secho(f"{entry.key} (in: {entry.section})", bold=True)
        typer.echo(f"  {entry.meaning}\n  value: {entry.unit}; default: {entry.default}")
