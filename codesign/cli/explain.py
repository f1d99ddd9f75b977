"""``codesign explain KEY``: what a key of the architecture, problem, mapping and table files means."""

from __future__ import annotations

from typing import Annotated

import typer

from codesign.errors import InputError, did_you_mean

__all__ = ["explain"]


def explain(
    key: Annotated[str, typer.Argument(help="A key of a v0.4 file, e.g. meshX, or a section, e.g. attributes.")],
) -> None:
    """Say what a key of a Timeloop v0.4 file means, its unit and its default.

    Example: codesign explain multiple_buffering
    """
    from codesign.accelerator.spec.glossary import GLOSSARY, explain_key

    entries = explain_key(key) + tuple(entry for entry in GLOSSARY if entry.section == key)
    if not entries:
        known = {entry.key for entry in GLOSSARY}
        raise InputError("no reader knows this key", got=key, key="KEY", fix=did_you_mean(key, known))
    for entry in entries:
        typer.secho(f"{entry.key} (in: {entry.section})", bold=True)
        typer.echo(f"  {entry.meaning}\n  value: {entry.unit}; default: {entry.default}")
