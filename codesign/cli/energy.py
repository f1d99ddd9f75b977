"""``codesign energy ARCH.yaml``: energy per action and area of every component, each with source and scaling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codesign.cli.options import QuietOption, UnusedSeedOption, check_output_file
from codesign.errors import InputError, did_you_mean
from codesign.resources import arch_specs_dir

if TYPE_CHECKING:
    from codesign.accelerator.spec.architecture import Architecture
    from codesign.accelerator.spec.energy_table import EnergyTable

__all__ = ["energy"]


def energy(
    arch: Annotated[list[str], typer.Argument(help="Timeloop v0.4 files of one design, or a shipped design's name.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write ERT and ART as YAML, sources as comments.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the same as JSON.")] = None,
    tables: Annotated[
        list[Path] | None,
        typer.Option("--table", metavar="CSV", help="Your own figures: class, attributes, action, energy with unit."),
    ] = None,
    quiet: QuietOption = False,
    seed: UnusedSeedOption = 0,
) -> None:
    """Estimate the energy of every action and the area of every component of a design, with sources.

    Example: codesign energy eyeriss_row_stationary --out ert.yaml
    """
    from codesign.accelerator.energy import BUILTIN, estimate, read_user_table
    from codesign.accelerator.spec.loader import load_design

    del seed
    check_output_file(out, "--out")
    check_output_file(json_path, "--json")
    files = [_path(name) for name in arch]
    design = load_design(files)
    estimators = dict(BUILTIN)
    for path in tables or []:
        estimators |= read_user_table(path)
    try:
        table = estimate(
            design.architecture, design.sparse, compound_classes=design.compound_classes, estimators=estimators
        )
    except InputError as error:
        raise error.within(files[0]) from error
    if out is not None:
        from codesign.accelerator.spec.writer import energy_table_to_yaml

        _write(out, energy_table_to_yaml(table, design.architecture))
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, _as_json(table, design.architecture))
    if not quiet:
        _show(table)


def _path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = arch_specs_dir() / f"{name}.yaml"
    if not path.is_file():
        known = [spec.stem for spec in arch_specs_dir().glob("*.yaml")]
        raise InputError("no such architecture", got=name, key="ARCH", fix=did_you_mean(name, known))
    return path


def _write(path: Path, text: str) -> None:
    """Write a whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _as_json(table: EnergyTable, architecture: Architecture) -> dict[str, Any]:
    def told(entry: Any) -> dict[str, str]:
        origin = entry.provenance
        return {"source": origin.source, "scaling": origin.scaling, "confidence": origin.confidence}

    return {
        "architecture": architecture.name,
        "energies": [
            {"component": entry.component, "action": entry.action, "energy_pJ": entry.energy_pJ, **told(entry)}
            for entry in table
        ],
        "areas": [{"component": entry.component, "area_um2": entry.area_um2, **told(entry)} for entry in table.areas],
    }


def _show(table: EnergyTable) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    origins = [entry.provenance for entry in table.energies] + [entry.provenance for entry in table.areas]
    numbers = {source: n for n, source in enumerate(dict.fromkeys(origin.source for origin in origins), start=1)}
    energies = Table("component", "action", "pJ", "confidence", "source", "scaling", box=None)
    for entry in table:
        origin = entry.provenance
        figure, source = f"{entry.energy_pJ:.5g}", f"({numbers[origin.source]})"
        energies.add_row(entry.component, entry.action, figure, origin.confidence, source, origin.scaling)
    areas = Table("component", "um2 an instance", "confidence", "source", "scaling", box=None)
    for area in table.areas:
        origin = area.provenance
        figure, source = f"{area.area_um2:.6g}", f"({numbers[origin.source]})"
        areas.add_row(area.component, figure, origin.confidence, source, origin.scaling)
    for shown in (energies, areas):
        console.print(shown)
        console.print()
    for source, number in numbers.items():
        console.print(f"({number}) {source}", highlight=False, markup=False)
