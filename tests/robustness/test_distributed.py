"""Two processes give the record of one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from codesign.data.images import ImageSet
from codesign.errors import InputError
from codesign.robustness.attacks import PGD, Square
from codesign.robustness.distributed import Ranks, joined
from codesign.robustness.protocol import evaluate_robustness

ATTACKS = (PGD(eps=0.05, steps=4), Square(eps=0.05, queries=20))

SCRIPT = """
import json, os, sys
from pathlib import Path

import numpy as np
import torch

from codesign.data.images import ImageSet
from codesign.robustness.attacks import PGD, Square
from codesign.robustness.distributed import joined
from codesign.robustness.protocol import evaluate_robustness

folder = Path(sys.argv[1])
torch.set_num_threads(1)
network = torch.load(folder / "network.pt", weights_only=False)
with np.load(folder / "bars.npz") as arrays:
    bars = ImageSet("bars", arrays["images"], arrays["labels"], tuple("abcd"))
events = []
attacks = (PGD(eps=0.05, steps=4), Square(eps=0.05, queries=20))
for _ in range(10):  # a group after another: none may look for the addresses of the one before
    with joined() as ranks:
        assert ranks.gather({"rank": ranks.rank, "some": bytes(100_000)})[1]["rank"] == 1
evaluate_robustness(network, bars.take(np.arange(30)), attacks[0], batch_size=25, seed=1)  # one after the other
result = evaluate_robustness(
    network, bars, attacks, batch_size=25, seed=0, sanity_images=4, folder=folder / "run", progress=events.append
)
moved = np.concatenate([batch.images for batch in result.adversarial_batches()])
rank = os.environ["RANK"]
(folder / f"rank{rank}.json").write_text(json.dumps({"record": result.to_json(), "events": len(events)}))
np.save(folder / f"rank{rank}.npy", moved)
"""


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """The record without its times."""
    record = {key: value for key, value in record.items() if key != "clean_seconds"}
    attacks = [{key: value for key, value in one.items() if key != "seconds"} for one in record["attacks"]]
    return {**record, "attacks": attacks}


def test_two_processes_give_the_record_of_one_and_resume(
    network: nn.Sequential, bars: ImageSet, tmp_path: Path
) -> None:
    torch.save(network, tmp_path / "network.pt")
    np.savez(tmp_path / "bars.npz", images=bars.images, labels=bars.labels)
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    images = ImageSet("bars", bars.images, bars.labels, tuple("abcd"))
    alone = evaluate_robustness(
        network, images, ATTACKS, batch_size=25, seed=0, sanity_images=4, folder=tmp_path / "run"
    )
    moved = np.concatenate([batch.images for batch in alone.adversarial_batches()])
    # One batch of five is there already, as after a run that was killed.
    for number in (0, 1, 3, 4):
        (tmp_path / "run" / f"batch_{number:05d}.npz").unlink()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in (0, 1):
        seen = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert plain(seen["record"]) == plain(alone.to_json())
        assert (seen["events"] > 0) == (rank == 0)
        np.testing.assert_array_equal(np.load(tmp_path / f"rank{rank}.npy"), moved)
    assert len(list((tmp_path / "run").glob("batch_*.npz"))) == 5


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as ranks:
        assert ranks == Ranks(0, 1, 0)
        assert ranks.gather("mine") == ["mine"]
        assert ranks.device("cuda") == "cuda"
    assert Ranks(3, 4, 1).device("cuda") == torch.device("cuda:1")
    assert Ranks(3, 4, 1).device("cuda:0") == "cuda:0"
    assert Ranks(3, 4, 1).device("cpu") == "cpu"


def test_an_environment_that_names_processes_it_does_not_say_how_to_find(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="must be started by torchrun"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "many")
    with pytest.raises(InputError, match="WORLD_SIZE must be a whole number"), joined():
        pass


@pytest.mark.parametrize(("rank", "kept"), [("0", True), ("1", False)])
def test_of_a_command_only_the_first_process_writes_to_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: str, kept: bool
) -> None:
    command = importlib.import_module("codesign.cli.evaluate")
    seen: list[tuple[Path, bool, bool]] = []

    def run(settings: object, out: Path, *, force: bool, json_path: Path | None, quiet: bool) -> int:
        assert out.parent.exists()
        seen.append((out, json_path is None, quiet))
        return 0

    monkeypatch.setattr(command, "_run_here", run)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    out = tmp_path / "out"
    assert command._run(None, out, force=False, json_path=tmp_path / "record.json", quiet=False) == 0
    ((where, no_record, quiet),) = seen
    assert (where == out) == kept
    assert no_record == quiet == (not kept)
    assert kept or not where.parent.exists()
