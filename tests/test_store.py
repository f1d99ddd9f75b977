"""A run is there whole or not at all, and a killed one is taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.store import RunFolder, check_destination, write_json


class KilledError(Exception):
    """Stands for whatever ends a run that is not the user's mistake."""


def finish(out: Path, key: str = "k", *, force: bool = False) -> None:
    with RunFolder(out, key, force=force) as run:
        write_json(run.staging / "results.json", {"key": key})
        run.publish()


def test_nothing_at_the_destination_until_published(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunFolder(out, "k") as run:
        write_json(run.staging / "results.json", {})
        run.save_stage("one", [1])
        run.scratch("images").joinpath("x").touch()
        assert not out.exists()
        run.publish()
    assert sorted(path.name for path in out.iterdir()) == ["results.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_killed_run_is_resumed_by_the_same_key_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KilledError), RunFolder(out, "a") as run:
        run.save_stage("robustness", {"correct": 3})
        raise KilledError
    with pytest.raises(KilledError), RunFolder(out, "a") as run:
        assert run.resumed
        assert run.stage("robustness") == {"correct": 3}
        assert run.stage("masks") is None
        raise KilledError
    with RunFolder(out, "b") as run:
        assert not run.resumed
        assert run.stage("robustness") is None


def test_what_a_killed_run_had_half_written_is_not_published(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KilledError), RunFolder(out, "a") as run:
        run.scratch("batches").joinpath("0.npz").touch()
        (run.staging / ".report-x1").mkdir()
        (run.staging / ".report-x1" / "figure.png").touch()
        (run.staging / "results.json").write_text("{")
        raise KilledError
    with RunFolder(out, "a") as run:
        assert run.scratch("batches").joinpath("0.npz").is_file()
        run.publish()
    assert list(out.iterdir()) == []


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError), RunFolder(out, "a") as run:
        run.save_stage("one", 1)
        raise InputError("bad")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(out, "a")
    with pytest.raises(InputError, match="already there"):
        finish(out, "b")
    assert json.loads((out / "results.json").read_text()) == {"key": "a"}
    finish(out, "b", force=True)
    assert json.loads((out / "results.json").read_text()) == {"key": "b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_force_never_replaces_a_folder_that_is_no_run(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("precious")
    with pytest.raises(InputError, match="only a finished run is replaced"):
        finish(out, force=True)
    assert (out / "chapter1.tex").read_text() == "precious"


def test_destination_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="must be a folder"):
        finish(tmp_path / "run")


@pytest.mark.parametrize("name", ["file/run", "a" * 300, ".", "..", "sub/.."])
def test_destinations_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--out"):
        finish(Path(name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sub"]


def test_the_check_alone_makes_nothing(tmp_path: Path) -> None:
    check_destination(tmp_path / "a" / "b", force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "run"
    link.symlink_to(tmp_path / "disk" / "there")
    finish(link)
    finish(link, force=True)
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["there"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "run"]


def test_files_that_are_no_run_are_not_called_one(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("")
    with pytest.raises(InputError, match=r"no results\.json"):
        finish(tmp_path / "thesis")


def test_two_runs_on_one_destination(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunFolder(out, "a"), pytest.raises(InputError, match="another run is writing"):
        RunFolder(out, "a").__enter__()


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
