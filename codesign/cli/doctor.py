"""``codesign doctor``: what is installed, which engines work, and what to do about the rest."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from codesign.cli.options import QuietOption, UnusedSeedOption, check_output_file
from codesign.resources import arch_specs_dir, bundled_dir

if TYPE_CHECKING:
    from codesign.accelerator.engines.timeloop import Installation

__all__ = ["doctor"]

State = Literal["ok", "absent", "broken"]
_PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "safetensors", "pydantic", "ruamel.yaml", "rich")
_TIMELOOP_SECONDS = 60.0
_MARKS = {"ok": "[green]ok[/green]", "absent": "[yellow]absent[/yellow]", "broken": "[red]broken[/red]"}


class Finding(NamedTuple):
    """One line of the report; ``required`` findings that are not ok make the command fail."""

    what: str
    state: State
    detail: str
    required: bool = True


def doctor(
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write the findings as JSON.")] = None,
    quiet: QuietOption = False,
    seed: UnusedSeedOption = 0,
) -> None:
    """Say what is installed, which engines work, and what to do about the rest.

    Example: codesign doctor
    """
    from rich.console import Console
    from rich.table import Table

    del seed
    check_output_file(json_path, "--json")
    findings = [*_python(), *_devices(), *_shipped_files(), _embedded_engine(), *_timeloop()]
    table = Table("what", "state", "detail", box=None)
    for finding in findings:
        table.add_row(finding.what, _MARKS[finding.state], finding.detail)
    Console(quiet=quiet).print(table)
    if json_path is not None:
        from codesign.store import write_json

        write_json(json_path, [finding._asdict() for finding in findings])
    if any(finding.required and finding.state != "ok" for finding in findings):
        raise typer.Exit(1)


def _python() -> list[Finding]:
    from codesign import __version__

    found = [Finding("codesign", "ok", __version__)]
    version = platform.python_version()
    found.append(Finding("python", "ok" if sys.version_info >= (3, 11) else "broken", f"{version} (3.11 or newer)"))
    for package in _PACKAGES:
        try:
            found.append(Finding(package, "ok", metadata.version(package)))
        except metadata.PackageNotFoundError:
            found.append(Finding(package, "absent", f"pip install {package}"))
    return found


def _devices() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("device", "broken", f"torch does not import: {error}")]
    found = [Finding("device cpu", "ok", f"{torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        found.append(Finding("device cuda", "ok", torch.cuda.get_device_name(0), required=False))
    else:
        found.append(Finding("device cuda", "absent", "not needed; --device cuda would use one", required=False))
    return found


def _shipped_files() -> list[Finding]:
    from codesign.data.datasets import load_dataset
    from codesign.errors import InputError
    from codesign.models.zoo.registry import ZOO

    found = []
    specs = sorted(path.stem for path in arch_specs_dir().glob("*.yaml"))
    found.append(
        Finding("architectures", "ok" if specs else "broken", ", ".join(specs) or f"none in {arch_specs_dir()}")
    )
    try:
        images = load_dataset("fashion_mnist_1k")
        found.append(Finding("bundled data", "ok", f"fashion_mnist_1k, {len(images)} images"))
    except InputError as error:
        found.append(Finding("bundled data", "broken", str(error)))
    folder = bundled_dir() / "checkpoints"
    shipped = {name: entry.checkpoint for name, entry in ZOO.items() if entry.checkpoint is not None}
    missing = [file for file in shipped.values() if not (folder / file).is_file()]
    detail = f"missing in {folder}: {', '.join(missing)}" if missing else ", ".join(shipped)
    found.append(Finding("bundled models", "broken" if missing else "ok", detail))
    return found


def _embedded_engine() -> Finding:
    """Simulate a two-level 2x2x2 matrix product whose answer is known in closed form."""
    from codesign.accelerator.engines.selftest import known_answer

    got, want = known_answer()
    if got == want:
        return Finding("engine embedded", "ok", f"a known case gives its known {want} accesses")
    return Finding("engine embedded", "broken", f"a known case gives {got} accesses instead of {want}")


def _timeloop() -> list[Finding]:
    """The real programs: what was found, its version, whether a known case comes out right, how to get the rest."""
    from codesign.accelerator.engines.timeloop import find_installation

    found = find_installation()
    versions = found.versions()
    places = {"timeloop-model": found.model, "timeloop-mapper": found.mapper, "accelergy": found.accelergy}
    if found.front_end is not None:
        places["pytimeloop"] = found.front_end.python
    rows = [
        Finding(name, "ok", f"{versions[name]}, {place}", required=False)
        for name, place in places.items()
        if place is not None and not (name == "pytimeloop" and found.problems)
    ]
    rows += [Finding("pytimeloop", "broken", problem, required=False) for problem in found.problems]
    return [*rows, _timeloop_engine(found)]


def _timeloop_engine(found: Installation) -> Finding:
    from codesign.accelerator.engines.selftest import known_answer
    from codesign.accelerator.engines.timeloop import TimeloopEngine
    from codesign.accelerator.engines.timeloop.installation import KNOWN
    from codesign.errors import InputError

    if found.missing:
        detail = f"not found: {', '.join(found.missing)}. Not needed. Upstream's routes: {'; or '.join(found.routes)}"
        return Finding("engine timeloop", "absent", detail, required=False)
    try:
        got, want = known_answer(TimeloopEngine(found, timeout_seconds=_TIMELOOP_SECONDS))
    except InputError as error:
        return Finding("engine timeloop", "broken", f"{error}; it was written for {KNOWN}", required=False)
    if got != want:
        detail = f"a known case gives {got} accesses instead of {want}; it was written for {KNOWN}"
        return Finding("engine timeloop", "broken", detail, required=False)
    use = "simulate --engine timeloop, crosscheck"
    accelergy = "" if found.accelergy else "; without accelergy, designs need their own ERT"
    return Finding("engine timeloop", "ok", f"a known case gives its known {want} accesses ({use}){accelergy}", False)
