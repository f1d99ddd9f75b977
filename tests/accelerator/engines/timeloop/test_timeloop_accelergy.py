"""Accelergy's tables through the wrapper, with stand-ins: cache, and the ways in which it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from timeloop_cases import ARCHITECTURE, tables, write_files
from timeloop_stand_ins import StandIns

from codesign.accelerator.engines.timeloop.accelergy import Accelergy
from codesign.accelerator.engines.timeloop.errors import ProgramError
from codesign.errors import InputError


@pytest.fixture
def arch(tmp_path: Path) -> Path:
    path = tmp_path / "arch.yaml"
    path.write_text(ARCHITECTURE)
    return path


def install(stand_ins: StandIns, tmp_path: Path, text: str | None = None, after: str = "") -> Path:
    """An accelergy that writes the tables of the small case and counts its runs."""
    ert, _, art = (tables() if text is None else text).partition("ART:\n")
    sources = {"ERT.yaml": ert, "ART.yaml": f"ART:\n{art}"}
    lines = [f"echo run >> '{tmp_path}/runs'", f"cp \"$2\" '{tmp_path}/given.yaml'"]
    for name, content in sources.items():
        (stand_ins.folder / name).write_text(content)
        lines.append(f"cp '{stand_ins.folder}/{name}' \"$4\"")
    stand_ins.program("accelergy", "\n".join([*lines, after]))
    return tmp_path / "runs"


def runs(counter: Path) -> int:
    return len(counter.read_text().splitlines()) if counter.exists() else 0


def test_tables_are_made_once_for_a_design(stand_ins: StandIns, tmp_path: Path, arch: Path) -> None:
    counter = install(stand_ins, tmp_path)
    accelergy = Accelergy.found(cache=tmp_path / "cache")
    first = accelergy.tables((arch,))
    assert first.actions("spad") == {"read": 0.75, "write": 0.5, "update": 0.5, "leak": 0.0625}
    assert first.area_um2("mac") == 100.5
    assert all("Accelergy" in entry.provenance.source for entry in first)
    assert accelergy.tables((arch,)) == first
    assert runs(counter) == 1
    # The front end wants a problem; the energies do not depend on it.
    assert "name: any" in (tmp_path / "given.yaml").read_text()
    problem = write_files(tmp_path / "files")[1]
    assert accelergy.tables((arch, problem)) == first
    assert runs(counter) == 1
    arch.write_text(ARCHITECTURE.replace("depth: 512", "depth: 256"))
    accelergy.tables((arch,))
    assert runs(counter) == 2


def test_another_accelergy_makes_its_own_tables(stand_ins: StandIns, tmp_path: Path, arch: Path) -> None:
    counter = install(stand_ins, tmp_path)
    Accelergy.found(cache=tmp_path / "cache").tables((arch,))
    install(stand_ins, tmp_path, after="# another version")
    Accelergy.found(cache=tmp_path / "cache").tables((arch,))
    assert runs(counter) == 2


def test_exit_0_without_tables_is_no_success_and_is_not_kept(stand_ins: StandIns, tmp_path: Path, arch: Path) -> None:
    stand_ins.program("accelergy", "echo 'ERROR: no estimator for class smartbuffer'")
    accelergy = Accelergy.found(cache=tmp_path / "cache")
    with pytest.raises(ProgramError, match=r"wrote no ERT\.yaml and no ART\.yaml") as caught:
        accelergy.tables((arch,))
    assert "no estimator for class smartbuffer" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_nan_in_a_table_is_an_error_and_is_not_kept(stand_ins: StandIns, tmp_path: Path, arch: Path) -> None:
    install(stand_ins, tmp_path, tables().replace("energy: 0.75", "energy: .nan"))
    with pytest.raises(InputError, match=r"finite|number"):
        Accelergy.found(cache=tmp_path / "cache").tables((arch,))
    assert not (tmp_path / "cache").exists()


def test_a_hang_is_ended(stand_ins: StandIns, tmp_path: Path, arch: Path) -> None:
    stand_ins.program("accelergy", "echo 'running CACTI'; sleep 60")
    with pytest.raises(ProgramError, match="stopped after") as caught:
        replace(Accelergy.found(cache=tmp_path / "cache"), timeout_seconds=1.0).tables((arch,))
    assert "running CACTI" in str(caught.value)


def test_without_accelergy_the_message_says_what_else_gives_tables(
    stand_ins: StandIns, tmp_path: Path, arch: Path
) -> None:
    with pytest.raises(ProgramError, match="accelergy, which would make one, is not installed") as caught:
        Accelergy.found(cache=tmp_path / "cache").tables((arch,))
    assert "codesign energy" in str(caught.value)
