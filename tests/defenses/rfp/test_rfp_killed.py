"""A run that is really killed (SIGKILL) goes on where it stood, and ends as one that was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_rfp_run import run_pruning, whole

HERE = Path(__file__).parent

# Runs as far as the first line that it prints, then waits to be killed.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_rfp_run import run_pruning, whole

def halt(*_):
    print("there", flush=True)
    time.sleep(600)

def progress(stage, done, total):
    if {stage!r} and stage == {stage!r} and done >= {done}:
        halt()

def on_epoch(report):
    if report.epoch == {epoch}:
        halt()

run_pruning(whole(), Path({out!r}), progress=progress, on_epoch=on_epoch)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    run_pruning(whole(), out)
    return out


def killed(out: Path, **where: object) -> None:
    """Start a run in another process and kill it there: at the end of ``epoch``, or ``done`` into ``stage``."""
    code = SCRIPT.format(here=str(HERE), out=str(out), **where)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "there\n"
        finally:
            process.kill()


def test_killed_while_training(finished: Path, tmp_path: Path) -> None:
    killed(tmp_path / "run", epoch=1, stage="", done=0)
    assert not (tmp_path / "run").exists()
    epochs: list[int] = []
    run_pruning(whole(), tmp_path / "run", on_epoch=lambda report: epochs.append(report.epoch))
    assert epochs == [1]
    same(tmp_path / "run", finished)


def test_killed_while_attacking(finished: Path, tmp_path: Path) -> None:
    # 12 images, in batches of 6, under two attacks: after 18 the second batch of the pruned network is half done.
    killed(tmp_path / "run", epoch=99, stage="attack pruned", done=18)
    assert len(list(tmp_path.rglob("batch_*.npz"))) == 3  # two of the original, one of the pruned network
    attacked: list[tuple[str, int]] = []
    run_pruning(whole(), tmp_path / "run", progress=lambda stage, done, _total: attacked.append((stage, done)))
    assert min(done for stage, done in attacked if stage == "attack pruned" and done) == 12
    same(tmp_path / "run", finished)


def same(one: Path, other: Path) -> None:
    for file in ("network.safetensors", "network.json"):
        assert (one / file).read_bytes() == (other / file).read_bytes()
