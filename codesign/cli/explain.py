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
    from rich.console import Console
    from rich.table import Table

    from codesign.accelerator.spec.glossary import GLOSSARY, explain_key

    entries = explain_key(key) + tuple(entry for entry in GLOSSARY if entry.section == key)
    if not entries:
        known = {entry.key for entry in GLOSSARY}
        raise InputError("no reader knows this key", got=key, key="KEY", fix=did_you_mean(key, known))
    table = Table("key", "where", "meaning", "unit or value", "default", box=None)
    for entry in entries:
        table.add_row(entry.key, entry.section, entry.meaning, entry.unit, entry.default)
    Console().print(table)
